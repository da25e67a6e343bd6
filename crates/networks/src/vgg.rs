use crate::published::{Origin, Published, TORCHVISION};
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, MaxPool, Op, Padding};

const VGG: Origin = Origin {
    licence: "BSD-3-Clause",
    paper: "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014, arXiv:1409.1556",
    source: "torchvision (IMAGENET1K_V1), in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    VGG.network("vgg11", "timm/vgg11.tv_in1k", TORCHVISION, vgg11),
    VGG.network("vgg11-bn", "timm/vgg11_bn.tv_in1k", TORCHVISION, vgg11_bn),
    VGG.network("vgg13", "timm/vgg13.tv_in1k", TORCHVISION, vgg13),
    VGG.network("vgg13-bn", "timm/vgg13_bn.tv_in1k", TORCHVISION, vgg13_bn),
    VGG.network("vgg16", "timm/vgg16.tv_in1k", TORCHVISION, vgg16),
    VGG.network("vgg16-bn", "timm/vgg16_bn.tv_in1k", TORCHVISION, vgg16_bn),
    VGG.network("vgg19", "timm/vgg19.tv_in1k", TORCHVISION, vgg19),
    VGG.network("vgg19-bn", "timm/vgg19_bn.tv_in1k", TORCHVISION, vgg19_bn),
];

/// Channels of the convolutions between two poolings.
type Stages = [&'static [usize]; 5];

const STAGES_11: Stages = [&[64], &[128], &[256; 2], &[512; 2], &[512; 2]];
const STAGES_13: Stages = [&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]];
const STAGES_16: Stages = [&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]];
const STAGES_19: Stages = [&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]];

/// VGG-11: as [`vgg16`], shallower.
pub fn vgg11(classes: usize) -> Graph {
    vgg("vgg11", &STAGES_11, false, classes)
}

/// VGG-11 with BatchNorm: as [`vgg16_bn`], shallower.
pub fn vgg11_bn(classes: usize) -> Graph {
    vgg("vgg11-bn", &STAGES_11, true, classes)
}

/// VGG-13: as [`vgg16`], shallower.
pub fn vgg13(classes: usize) -> Graph {
    vgg("vgg13", &STAGES_13, false, classes)
}

/// VGG-13 with BatchNorm: as [`vgg16_bn`], shallower.
pub fn vgg13_bn(classes: usize) -> Graph {
    vgg("vgg13-bn", &STAGES_13, true, classes)
}

/// VGG-16 (Simonyan & Zisserman, *Very deep convolutional networks for large-scale image
/// recognition*, 2014) without BatchNorm. Features: the mean of the last feature map, 512 (Keras's
/// `include_top=False, pooling="avg"`), total stride 32.
///
/// Names and numerics follow `timm/models/vgg.py` (`vgg16`, weights `tv_in1k`): the classifier's
/// first layer is a 7 × 7 convolution, so that inputs above 224 give several positions, which are
/// averaged. The classifier needs inputs of at least 224; the features do not.
pub fn vgg16(classes: usize) -> Graph {
    vgg("vgg16", &STAGES_16, false, classes)
}

/// VGG-16 with a BatchNorm after each convolution of the features (`vgg16_bn` of torchvision and
/// timm).
pub fn vgg16_bn(classes: usize) -> Graph {
    vgg("vgg16-bn", &STAGES_16, true, classes)
}

/// VGG-19: as [`vgg16`], deeper.
pub fn vgg19(classes: usize) -> Graph {
    vgg("vgg19", &STAGES_19, false, classes)
}

/// VGG-19 with BatchNorm: as [`vgg16_bn`], deeper.
pub fn vgg19_bn(classes: usize) -> Graph {
    vgg("vgg19-bn", &STAGES_19, true, classes)
}

fn vgg(name: &str, stages: &Stages, norm: bool, classes: usize) -> Graph {
    let (mut g, mut x) = GraphBuilder::pictures(name, 3);
    let mut channels = 3;
    // torchvision numbers all layers of the features in one sequence.
    let mut positions = (0..).map(|position: usize| format!("features.{position}"));
    let mut next = move || positions.next().unwrap_or_default();
    for stage in stages {
        for &out in *stage {
            let conv = Conv2d::new(channels, out, 3).padding(Padding::Symmetric(1)).bias();
            x = g.conv(next(), x, conv);
            if norm {
                x = g.batch_norm(next(), x, out, 1e-5);
            }
            x = g.activation(next(), x, Activation::Relu);
            channels = out;
        }
        let pool = MaxPool { kernel: 2, stride: 2, padding: Padding::Symmetric(0) };
        x = g.max_pool(next(), x, pool);
    }
    let features = g.layer("features.pool", Op::GlobalAvgPool, &[x]);
    let x = g.conv("pre_logits.fc1", x, Conv2d::new(channels, 4096, 7).bias());
    let x = g.activation("pre_logits.act1", x, Activation::Relu);
    let x = g.conv("pre_logits.fc2", x, Conv2d::new(4096, 4096, 1).bias());
    let x = g.activation("pre_logits.act2", x, Activation::Relu);
    let x = g.layer("head.global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("head.fc", x, 4096, classes);
    g.finish(features)
}
