//! Graphs as stored in saved artefacts, including those of earlier versions.

use serde::de::{
    Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
    value::EnumAccessDeserializer,
};
use serde::{Deserialize, de::DeserializeSeed};

use crate::{Graph, GraphBuilder, Node, NodeId, Op, VisionTransformer};

/// A graph as it was written, before any check.
#[derive(Deserialize)]
pub(crate) struct StoredGraph {
    name: String,
    nodes: Vec<StoredNode>,
    features: NodeId,
    output: NodeId,
}

#[derive(Deserialize)]
struct StoredNode {
    name: String,
    op: StoredOp,
    inputs: Vec<NodeId>,
}

enum StoredOp {
    Ordinary(Op),
    /// Until 2026 a whole vision transformer was one layer.
    VisionTransformer(WholeTransformer),
}

/// Such a layer as it was written.
#[derive(Debug, Deserialize)]
struct WholeTransformer {
    image: usize,
    patch: usize,
    width: usize,
    depth: usize,
    heads: usize,
    layer_scale: bool,
}

impl TryFrom<StoredGraph> for Graph {
    type Error = String;

    fn try_from(stored: StoredGraph) -> Result<Self, String> {
        let count = stored.nodes.len();
        let mut g = GraphBuilder { name: stored.name, nodes: Vec::new() };
        // Where the output of each stored layer is now.
        let mut places = Vec::with_capacity(count);
        for StoredNode { name, op, inputs } in stored.nodes {
            let inputs: Option<Vec<NodeId>> =
                inputs.iter().map(|&i| places.get(i).copied()).collect();
            let inputs = inputs.ok_or_else(|| format!("layer '{name}' precedes its input"))?;
            let arity = match &op {
                StoredOp::Ordinary(op) => op.arity(),
                StoredOp::VisionTransformer(_) => 1,
            };
            if inputs.len() != arity {
                return Err(format!("layer '{name}' has {} inputs, not {arity}", inputs.len()));
            }
            if (arity == 0) != places.is_empty() {
                return Err(format!("layer '{name}': the first layer, and only it, is the input"));
            }
            if g.nodes.iter().any(|node| node.name == name) {
                return Err(format!("two layers are named '{name}'"));
            }
            places.push(match op {
                StoredOp::Ordinary(op) => {
                    g.nodes.push(Node { name, op, inputs });
                    g.nodes.len() - 1
                }
                StoredOp::VisionTransformer(transformer) => {
                    let transformer = checked(&transformer)?;
                    if g.nodes.len() > 1 {
                        return Err(format!("layer '{name}' does not read the picture"));
                    }
                    transformer.add(&mut g, inputs[0])
                }
            });
        }
        let place = |id: NodeId| places.get(id).copied().ok_or(format!("there is no layer {id}"));
        let (features, output) = (place(stored.features)?, place(stored.output)?);
        Ok(Graph { name: g.name, nodes: g.nodes, features, output })
    }
}

fn checked(transformer: &WholeTransformer) -> Result<VisionTransformer, String> {
    let &WholeTransformer { image, patch, width, depth, heads, layer_scale } = transformer;
    let fits = patch > 0
        && heads > 0
        && width > 0
        && image.is_multiple_of(patch)
        && width.is_multiple_of(heads)
        && depth <= 1000;
    let whole = VisionTransformer {
        layer_scale,
        ..VisionTransformer::new(image, patch, [width, depth, heads])
    };
    fits.then_some(whole)
        .ok_or_else(|| format!("no vision transformer is like this: {transformer:?}"))
}

impl<'de> Deserialize<'de> for StoredOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Op", &[], StoredOpVisitor)
    }
}

struct StoredOpVisitor;

impl<'de> Visitor<'de> for StoredOpVisitor {
    type Value = StoredOp;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an operation")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<StoredOp, A::Error> {
        let (name, content) = data.variant::<String>()?;
        if name == "VisionTransformer" {
            return content.newtype_variant().map(StoredOp::VisionTransformer);
        }
        let again = EnumAccessDeserializer::new(Named { name, content });
        Op::deserialize(again).map(StoredOp::Ordinary).map_err(A::Error::custom)
    }
}

/// A variant whose name has been read already.
struct Named<V> {
    name: String,
    content: V,
}

impl<'de, V: VariantAccess<'de>> EnumAccess<'de> for Named<V> {
    type Error = V::Error;
    type Variant = V;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, V), V::Error> {
        Ok((seed.deserialize(self.name.into_deserializer())?, self.content))
    }
}
