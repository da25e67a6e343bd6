use taper_core::Interpolation::{Bicubic, Bilinear};

use crate::inverted_residual::{Family, Stage};
use crate::published::{Origin, Published, tensorflow};
use taper_graph::Graph;

const LITE: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv:1905.11946",
    source: "TensorFlow TPU repository (efficientnet/lite), ported for timm",
};

pub(crate) const NETWORKS: &[Published] = &[
    LITE.network(
        "efficientnet-lite0",
        "timm/tf_efficientnet_lite0.in1k",
        tensorflow(224, 0.875, Bicubic),
        efficientnet_lite0,
    ),
    LITE.network(
        "efficientnet-lite1",
        "timm/tf_efficientnet_lite1.in1k",
        tensorflow(240, 0.882, Bicubic),
        efficientnet_lite1,
    ),
    LITE.network(
        "efficientnet-lite2",
        "timm/tf_efficientnet_lite2.in1k",
        tensorflow(260, 0.890, Bicubic),
        efficientnet_lite2,
    ),
    LITE.network(
        "efficientnet-lite3",
        "timm/tf_efficientnet_lite3.in1k",
        tensorflow(300, 0.904, Bilinear),
        efficientnet_lite3,
    ),
    LITE.network(
        "efficientnet-lite4",
        "timm/tf_efficientnet_lite4.in1k",
        tensorflow(380, 0.920, Bilinear),
        efficientnet_lite4,
    ),
];

/// EfficientNet-Lite0 (Tan & Le, *EfficientNet*, 2019; the "lite" variants of TensorFlow's TPU
/// repository: no squeeze and excitation, ReLU6). Features: 1280, total stride 32.
///
/// Names and numerics follow `timm/models/efficientnet.py` (`tf_efficientnet_lite0`): TensorFlow's
/// SAME padding, BatchNorm ε = 1e-3.
pub fn efficientnet_lite0(classes: usize) -> Graph {
    lite("efficientnet-lite0", 10, 10, classes)
}

/// EfficientNet-Lite1: as [`efficientnet_lite0`], 1.1 times as deep.
pub fn efficientnet_lite1(classes: usize) -> Graph {
    lite("efficientnet-lite1", 10, 11, classes)
}

/// EfficientNet-Lite2: as [`efficientnet_lite0`], 1.1 times as wide and 1.2 times as deep.
pub fn efficientnet_lite2(classes: usize) -> Graph {
    lite("efficientnet-lite2", 11, 12, classes)
}

/// EfficientNet-Lite3: as [`efficientnet_lite0`], 1.2 times as wide and 1.4 times as deep.
pub fn efficientnet_lite3(classes: usize) -> Graph {
    lite("efficientnet-lite3", 12, 14, classes)
}

/// EfficientNet-Lite4: as [`efficientnet_lite0`], 1.4 times as wide and 1.8 times as deep.
pub fn efficientnet_lite4(classes: usize) -> Graph {
    lite("efficientnet-lite4", 14, 18, classes)
}

/// Lite0's stages, `width` tenths as wide and `depth` tenths as deep. Stem, head and the depth of
/// the first and the last stage are the same in all of them.
fn lite(name: &str, width: usize, depth: usize, classes: usize) -> Graph {
    // kernel, stride, expansion, channels, repeats
    const LITE0: [[usize; 5]; 7] = [
        [3, 1, 1, 16, 1],
        [3, 2, 6, 24, 2],
        [5, 2, 6, 40, 2],
        [3, 2, 6, 80, 3],
        [5, 1, 6, 112, 3],
        [5, 2, 6, 192, 4],
        [3, 1, 6, 320, 1],
    ];
    let last = LITE0.len() - 1;
    let stages = LITE0.into_iter().enumerate().map(|(i, row)| {
        let [kernel, stride, expansion, channels, repeats] = row;
        let fixed = i == 0 || i == last;
        let repeats = if fixed { repeats } else { (repeats * depth).div_ceil(10) };
        Stage { kernel, stride, expansion, channels: rounded(channels, width), repeats }
    });
    Family { name, stages: stages.collect(), same: true, eps: 1e-3 }.graph(classes)
}

/// `channels · width / 10`, rounded to a multiple of 8 that is not more than a tenth smaller.
fn rounded(channels: usize, width: usize) -> usize {
    let tenths = channels * width;
    let near = ((tenths + 40) / 80 * 8).max(8);
    // 0.9 · tenths / 10, compared without rounding.
    if near * 100 < tenths * 9 { near + 8 } else { near }
}
