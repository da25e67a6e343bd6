use crate::{Activation, Conv2d, Graph, GraphBuilder, MaxPool, Op, Padding};

/// VGG-16 (Simonyan & Zisserman, *Very deep convolutional networks for large-scale image recognition*, 2014) without
/// BatchNorm. Features: the mean of the last feature map, 512 (Keras's `include_top=False, pooling="avg"`), total
/// stride 32.
///
/// Names and numerics follow `timm/models/vgg.py` (`vgg16`, weights `tv_in1k`): the classifier's first layer is a
/// 7 × 7 convolution, so that inputs above 224 give several positions, which are averaged. The classifier needs inputs
/// of at least 224; the features do not.
pub fn vgg16(classes: usize) -> Graph {
    vgg("vgg16", &[&[64, 64], &[128, 128], &[256; 3], &[512; 3], &[512; 3]], classes)
}

fn vgg(name: &str, stages: &[&[usize]], classes: usize) -> Graph {
    let (mut g, mut x) = GraphBuilder::pictures(name, 3);
    let mut channels = 3;
    // torchvision numbers convolutions, activations and poolings in one sequence.
    let mut position = 0;
    for stage in stages {
        for &out in *stage {
            let conv = Conv2d::new(channels, out, 3).padding(Padding::Symmetric(1)).bias();
            x = g.conv(format!("features.{position}"), x, conv);
            x = g.activation(format!("features.{}", position + 1), x, Activation::Relu);
            position += 2;
            channels = out;
        }
        let pool = MaxPool { kernel: 2, stride: 2, padding: Padding::Symmetric(0) };
        x = g.max_pool(format!("features.{position}"), x, pool);
        position += 1;
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
