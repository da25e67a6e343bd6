use crate::{Error, Graph, Node, NodeId, Op, Result, op::Form};

/// The pooling that a cut adds after a feature map or tokens.
const POOL: &str = "cut_pool";

impl Graph {
    /// The network up to an earlier layer: its features are that layer's output, averaged over all
    /// positions if it is a feature map, and its class token if it is the tokens of a vision
    /// transformer. "As many layers as one likes may be replaced."
    ///
    /// `layer` is a layer's name, e.g. `layer3.5.act3`, or that of a group of layers, e.g.
    /// `layer3`, which means the last of them. Names are kept, so that the same weights fit.
    ///
    /// ```
    /// let network = taper_networks::resnet50(1000);
    /// let cut = network.cut("layer3")?;
    /// assert_eq!(cut.feature_width(), 1024);
    /// assert_eq!(cut.total_stride(), 16);
    /// # Ok::<(), taper_graph::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownLayer`] suggests the nearest names; [`Error::Layer`] if no layer with
    /// weights comes before the cut.
    pub fn cut(&self, layer: &str) -> Result<Graph> {
        let last = self.last_of(layer)?;
        let mut graph = self.up_to(last);
        if graph.parameters().is_empty() {
            return Err(Error::Layer {
                layer: layer.into(),
                kind: self.nodes()[last].op.kind(),
                problem: "no layer with weights comes before it: cut later".into(),
            });
        }
        let pool = match self.forms()[last] {
            Form::Map => Op::GlobalAvgPool,
            Form::Tokens if graph.first_token_stands_for_all() => Op::ClassToken,
            Form::Tokens => {
                return Err(Error::Layer {
                    layer: layer.into(),
                    kind: self.nodes()[last].op.kind(),
                    problem:
                        "this network has no class token that could stand for all tokens there: \
                              use it whole, without a cut"
                            .into(),
                });
            }
            Form::Vector => return Ok(graph),
        };
        let input = graph.nodes.len() - 1;
        graph.nodes.push(Node { name: POOL.into(), op: pool, inputs: vec![input] });
        graph.features = input + 1;
        graph.output = input + 1;
        Ok(graph)
    }

    /// Whether the output's first token speaks for the picture: a class token, or what attention
    /// made of all.
    fn first_token_stands_for_all(&self) -> bool {
        self.nodes().iter().any(|node| {
            matches!(node.op, Op::AttentionPool(_))
                || matches!(node.op, Op::PatchTokens(tokens) if tokens.prefix > 0)
        })
    }

    /// The layer of this name, or the last of the group of this name.
    fn last_of(&self, layer: &str) -> Result<NodeId> {
        let group = format!("{layer}.");
        let exact = self.nodes().iter().position(|node| node.name == layer);
        // A layer may have the name of the group that it is in.
        let last = self.nodes().iter().rposition(|node| node.name.starts_with(&group));
        exact.max(last).ok_or_else(|| {
            let mut names: Vec<&str> = Vec::new();
            for node in self.nodes() {
                let dots = node.name.match_indices('.').map(|(at, _)| &node.name[..at]);
                names.extend(dots.chain([node.name.as_str()]));
            }
            names.sort_unstable();
            names.dedup();
            let nearest = taper_core::nearest(layer, names, 3);
            Error::UnknownLayer {
                network: self.name().into(),
                layer: layer.into(),
                nearest: nearest.into_iter().map(str::to_owned).collect(),
            }
        })
    }
}
