use taper_core::{Digest, Identity, Precision, Preprocessing};

use crate::{Graph, WeightSource};

/// Raise this when the same settings come to give different features.
const FEATURES_VERSION: u64 = 3;

/// A digest of a network's weights: the names, shapes and bits of all tensors that the graph needs,
/// in its order, wherever they came from. A missing tensor counts as empty.
pub fn weights_identity(graph: &Graph, weights: &dyn WeightSource) -> Digest {
    let mut identity = Identity::new("taper/weights", 1);
    for parameter in graph.parameters() {
        let shape: Vec<u8> =
            parameter.shape.iter().flat_map(|side| (*side as u64).to_le_bytes()).collect();
        let values = weights.values(&parameter.name).unwrap_or_default();
        identity =
            identity.text("name", &parameter.name).bytes("shape", &shape).floats("values", &values);
    }
    identity.finish()
}

/// Everything that determines a frozen network's output besides the picture itself: architecture,
/// weights, preprocessing, precision, and what computes it, since each implementation sums in its
/// own order.
pub fn features_identity(
    graph: &Graph,
    weights: &dyn WeightSource,
    preprocessing: &Preprocessing,
    precision: Precision,
    computed_by: &str,
) -> Digest {
    Identity::new("taper/features", FEATURES_VERSION)
        .structure("graph", graph)
        .bytes("weights", &weights_identity(graph, weights))
        .structure("preprocessing", preprocessing)
        .text("precision", precision.name())
        .text("computed by", computed_by)
        .finish()
}
