use crate::{Activation, Conv2d, Graph, GraphBuilder, MaxPool, NodeId, Op, Padding};

/// ResNet-50 (He et al., *Deep residual learning for image recognition*, 2015), the variant of torchvision with the
/// stride in the 3 × 3 convolution ("v1.5"). Features: 2048, total stride 32.
///
/// Names and numerics follow `timm/models/resnet.py` (`resnet50`, weights `tv_in1k`).
pub fn resnet50(classes: usize) -> Graph {
    bottleneck_resnet("resnet50", [3, 4, 6, 3], classes)
}

const EPS: f64 = 1e-5;

fn bottleneck_resnet(name: &str, depths: [usize; 4], classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let stem = Conv2d::new(3, 64, 7).stride(2).padding(Padding::Symmetric(3));
    let x = g.conv("conv1", input, stem);
    let x = g.batch_norm("bn1", x, 64, EPS);
    let x = g.activation("act1", x, Activation::Relu);
    let pool = MaxPool { kernel: 3, stride: 2, padding: Padding::Symmetric(1) };
    let mut x = g.max_pool("maxpool", x, pool);
    let mut channels = 64;
    for (stage, depth) in depths.into_iter().enumerate() {
        let planes = 64 << stage;
        for block in 0..depth {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let prefix = format!("layer{}.{block}", stage + 1);
            x = bottleneck(&mut g, &prefix, x, channels, planes, stride);
            channels = 4 * planes;
        }
    }
    let features = g.layer("global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("fc", features, channels, classes);
    g.finish(features)
}

fn bottleneck(
    g: &mut GraphBuilder,
    prefix: &str,
    input: NodeId,
    channels: usize,
    planes: usize,
    stride: usize,
) -> NodeId {
    let out = 4 * planes;
    let x = g.conv(format!("{prefix}.conv1"), input, Conv2d::new(channels, planes, 1));
    let x = g.batch_norm(format!("{prefix}.bn1"), x, planes, EPS);
    let x = g.activation(format!("{prefix}.act1"), x, Activation::Relu);
    let middle = Conv2d::new(planes, planes, 3).stride(stride).padding(Padding::Symmetric(1));
    let x = g.conv(format!("{prefix}.conv2"), x, middle);
    let x = g.batch_norm(format!("{prefix}.bn2"), x, planes, EPS);
    let x = g.activation(format!("{prefix}.act2"), x, Activation::Relu);
    let x = g.conv(format!("{prefix}.conv3"), x, Conv2d::new(planes, out, 1));
    let x = g.batch_norm(format!("{prefix}.bn3"), x, out, EPS);
    let shortcut = if stride != 1 || channels != out {
        let projection = Conv2d::new(channels, out, 1).stride(stride);
        let s = g.conv(format!("{prefix}.downsample.0"), input, projection);
        g.batch_norm(format!("{prefix}.downsample.1"), s, out, EPS)
    } else {
        input
    };
    let x = g.layer(format!("{prefix}.add"), Op::Add, &[x, shortcut]);
    g.activation(format!("{prefix}.act3"), x, Activation::Relu)
}
