use crate::inverted_residual::{Family, Stage};
use crate::published::{Origin, Published, imagenet};
use taper_graph::Graph;

const MOBILENET_V2: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, arXiv:1801.04381",
    source: "Ross Wightman (timm, RandAugment recipe)",
};

pub(crate) const NETWORKS: &[Published] = &[MOBILENET_V2.network(
    "mobilenet-v2",
    "timm/mobilenetv2_100.ra_in1k",
    imagenet(224, 0.875),
    mobilenet_v2,
)];

/// MobileNetV2 (Sandler et al., *MobileNetV2: Inverted residuals and linear bottlenecks*, 2018),
/// width 1. Features: 1280, total stride 32.
///
/// Names and numerics follow `timm/models/efficientnet.py` (`mobilenetv2_100`): equal zero padding
/// on all sides, BatchNorm ε = 1e-5.
pub fn mobilenet_v2(classes: usize) -> Graph {
    // stride, expansion, channels, repeats
    const STAGES: [[usize; 4]; 7] = [
        [1, 1, 16, 1],
        [2, 6, 24, 2],
        [2, 6, 32, 3],
        [2, 6, 64, 4],
        [1, 6, 96, 3],
        [2, 6, 160, 3],
        [1, 6, 320, 1],
    ];
    let stages = STAGES.into_iter().map(|[stride, expansion, channels, repeats]| Stage {
        kernel: 3,
        stride,
        expansion,
        channels,
        repeats,
    });
    Family { name: "mobilenet-v2", stages: stages.collect(), same: false, eps: 1e-5 }.graph(classes)
}
