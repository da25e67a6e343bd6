use taper_graph::{Graph, NodeId};

use crate::{Error, Result};

/// How much of a network is trained, besides its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfreeze {
    /// The layer of this name, or the group of layers of this name, and everything after it.
    From(String),
    /// The last so many layers that have weights of their own, normalisations not counted.
    Last(usize),
    /// All of it.
    All,
}

/// Where training begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// The first layer that is trained; all later ones are trained too.
    pub first: NodeId,
    /// The layer whose output is all that the trained part needs from what lies below it. Layers
    /// between it and `first` are computed in each step, but keep their weights: they belong to a
    /// block that is trained in part.
    pub cut: NodeId,
}

impl Boundary {
    /// Finds it in a network whose classifier has been removed.
    ///
    /// # Errors
    /// [`taper_graph::Error::UnknownLayer`] suggests the nearest names; [`Error::Layer`] if nothing
    /// that could be trained comes after the boundary, or the network does not have that many
    /// layers.
    pub fn find(graph: &Graph, unfreeze: &Unfreeze) -> Result<Self> {
        let nodes = graph.nodes();
        let tensors = graph.parameters();
        let weighted = |id: NodeId| tensors.iter().any(|p| p.node == id && p.kind.is_learnable());
        let refuse = |layer: &str, problem: String| Error::Layer {
            network: graph.name().into(),
            layer: layer.into(),
            problem,
        };
        let first = match unfreeze {
            Unfreeze::All => 1,
            Unfreeze::From(layer) => {
                let group = format!("{layer}.");
                let is_it = |name: &str| name == layer || name.starts_with(&group);
                let first = nodes.iter().position(|node| is_it(&node.name));
                // For the error's suggestions.
                let first = first.map_or_else(|| graph.cut(layer).map(|_| 1), Ok)?;
                if !(first..nodes.len()).any(weighted) {
                    let problem = "it has no weights, nor has any layer after it: unfreeze an \
                                   earlier one, or none";
                    return Err(refuse(layer, problem.into()));
                }
                first.max(1)
            }
            Unfreeze::Last(count) => {
                let matrices: Vec<NodeId> = tensors
                    .iter()
                    .filter(|p| p.shape.len() > 1 && p.kind.is_learnable())
                    .map(|p| p.node)
                    .collect();
                if *count == 0 || *count > matrices.len() {
                    let problem = format!(
                        "the network has {} layers with weights, not counting normalisations: \
                         unfreeze 1 to {0} of them",
                        matrices.len()
                    );
                    return Err(refuse(&nodes[graph.features()].name, problem));
                }
                matrices[matrices.len() - count]
            }
        };
        // Nothing after the cut may read what comes before it.
        let is_cut = |cut: &NodeId| {
            let above = nodes.iter().skip(cut + 1);
            above.flat_map(|node| &node.inputs).all(|input| input >= cut)
        };
        let cut = (0..first).rev().find(is_cut).unwrap_or(0);
        Ok(Self { first, cut })
    }
}

#[cfg(test)]
mod tests {
    use taper_networks as networks;

    use super::*;

    #[test]
    fn a_boundary_is_found_by_layer_by_group_and_by_count() {
        let graph = networks::resnet50(10).without_classifier();
        let name = |id: NodeId| graph.nodes()[id].name.as_str();
        let find = |unfreeze: &Unfreeze| Boundary::find(&graph, unfreeze).unwrap();
        let whole = find(&Unfreeze::All);
        assert_eq!((whole.first, whole.cut), (1, 0));
        let stage = find(&Unfreeze::From("layer4".into()));
        assert_eq!((name(stage.first), name(stage.cut)), ("layer4.0.conv1", "layer3.5.act3"));
        // Inside of a block: its input is where the frozen part ends.
        let inner = find(&Unfreeze::From("layer4.2.conv3".into()));
        assert_eq!((name(inner.first), name(inner.cut)), ("layer4.2.conv3", "layer4.1.act3"));
        assert_eq!(find(&Unfreeze::Last(1)), inner);
        assert_eq!(name(find(&Unfreeze::Last(53)).first), "conv1");
    }

    #[test]
    fn what_cannot_be_unfrozen_is_named() {
        let graph = networks::resnet50(10).without_classifier();
        let error = |unfreeze: Unfreeze| Boundary::find(&graph, &unfreeze).unwrap_err().to_string();
        let unknown = error(Unfreeze::From("layer5".into()));
        assert!(unknown.contains("did you mean layer1"), "{unknown}");
        assert!(error(Unfreeze::From("global_pool".into())).contains("no weights"));
        assert!(error(Unfreeze::Last(54)).contains("1 to 53"));
        assert!(error(Unfreeze::Last(0)).contains("1 to 53"));
    }
}
