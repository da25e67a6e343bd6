use crate::published::{Origin, Published, TORCHVISION};
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, MaxPool, NodeId, Op, Padding};

const RESNET: Origin = Origin {
    licence: "BSD-3-Clause",
    paper: "He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385",
    source: "torchvision (IMAGENET1K_V1), in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    RESNET.network("resnet18", "timm/resnet18.tv_in1k", TORCHVISION, resnet18),
    RESNET.network("resnet34", "timm/resnet34.tv_in1k", TORCHVISION, resnet34),
    RESNET.network("resnet50", "timm/resnet50.tv_in1k", TORCHVISION, resnet50),
    RESNET.network("resnet101", "timm/resnet101.tv_in1k", TORCHVISION, resnet101),
    RESNET.network("resnet152", "timm/resnet152.tv_in1k", TORCHVISION, resnet152),
];

/// ResNet-18 (He et al., *Deep residual learning for image recognition*, 2015): blocks of two 3 × 3
/// convolutions. Features: 512, total stride 32.
///
/// Names and numerics follow `timm/models/resnet.py` (`resnet18`, weights `tv_in1k`).
pub fn resnet18(classes: usize) -> Graph {
    resnet("resnet18", Block::Basic, [2, 2, 2, 2], classes)
}

/// ResNet-34: as [`resnet18`], deeper. Features: 512, total stride 32.
pub fn resnet34(classes: usize) -> Graph {
    resnet("resnet34", Block::Basic, [3, 4, 6, 3], classes)
}

/// ResNet-50 (He et al., *Deep residual learning for image recognition*, 2015), the variant of
/// torchvision with the stride in the 3 × 3 convolution ("v1.5"). Features: 2048, total stride 32.
///
/// Names and numerics follow `timm/models/resnet.py` (`resnet50`, weights `tv_in1k`).
pub fn resnet50(classes: usize) -> Graph {
    resnet("resnet50", Block::Bottleneck, [3, 4, 6, 3], classes)
}

/// ResNet-101: as [`resnet50`], deeper. Features: 2048, total stride 32.
pub fn resnet101(classes: usize) -> Graph {
    resnet("resnet101", Block::Bottleneck, [3, 4, 23, 3], classes)
}

/// ResNet-152: as [`resnet50`], deeper. Features: 2048, total stride 32.
pub fn resnet152(classes: usize) -> Graph {
    resnet("resnet152", Block::Bottleneck, [3, 8, 36, 3], classes)
}

const EPS: f64 = 1e-5;

/// The two kinds of residual block.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3 × 3 convolutions.
    Basic,
    /// 1 × 1, 3 × 3, and 1 × 1 to four times as many channels.
    Bottleneck,
}

fn resnet(name: &str, block: Block, depths: [usize; 4], classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let stem = Conv2d::new(3, 64, 7).stride(2).padding(Padding::Symmetric(3));
    let x = conv_norm(&mut g, "conv1".into(), "bn1".into(), input, stem);
    let x = g.activation("act1", x, Activation::Relu);
    let pool = MaxPool { kernel: 3, stride: 2, padding: Padding::Symmetric(1) };
    let mut x = g.max_pool("maxpool", x, pool);
    let mut channels = 64;
    for (stage, depth) in depths.into_iter().enumerate() {
        let planes = 64 << stage;
        for position in 0..depth {
            let stride = if stage > 0 && position == 0 { 2 } else { 1 };
            let prefix = format!("layer{}.{position}", stage + 1);
            (x, channels) = block.add_to(&mut g, &prefix, x, channels, planes, stride);
        }
    }
    let features = g.layer("global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("fc", features, channels, classes);
    g.finish(features)
}

impl Block {
    /// Adds the block; returns its output and the number of its channels.
    fn add_to(
        self,
        g: &mut GraphBuilder,
        prefix: &str,
        input: NodeId,
        channels: usize,
        planes: usize,
        stride: usize,
    ) -> (NodeId, usize) {
        let three = |channels| Conv2d::new(channels, planes, 3).padding(Padding::Symmetric(1));
        let (convolutions, out) = match self {
            Block::Basic => (vec![three(channels).stride(stride), three(planes)], planes),
            Block::Bottleneck => {
                let (narrow, wide) =
                    (Conv2d::new(channels, planes, 1), Conv2d::new(planes, 4 * planes, 1));
                (vec![narrow, three(planes).stride(stride), wide], 4 * planes)
            }
        };
        let last = convolutions.len();
        let mut x = input;
        for (i, conv) in convolutions.into_iter().enumerate() {
            let n = i + 1;
            x = conv_norm(g, format!("{prefix}.conv{n}"), format!("{prefix}.bn{n}"), x, conv);
            if n < last {
                x = g.activation(format!("{prefix}.act{n}"), x, Activation::Relu);
            }
        }
        let shortcut = if stride != 1 || channels != out {
            let projection = Conv2d::new(channels, out, 1).stride(stride);
            let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
            conv_norm(g, conv, norm, input, projection)
        } else {
            input
        };
        let x = g.layer(format!("{prefix}.add"), Op::Add, &[x, shortcut]);
        (g.activation(format!("{prefix}.act{last}"), x, Activation::Relu), out)
    }
}

fn conv_norm(
    g: &mut GraphBuilder,
    conv_name: String,
    norm_name: String,
    input: NodeId,
    conv: Conv2d,
) -> NodeId {
    let x = g.conv(conv_name, input, conv);
    g.batch_norm(norm_name, x, conv.out_channels, EPS)
}
