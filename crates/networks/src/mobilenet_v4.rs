use crate::published::{Origin, Published, imagenet};
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, Linear, NodeId, Op, Padding};

const MOBILENET_V4: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Qin et al., MobileNetV4: Universal Models for the Mobile Ecosystem, 2024, arXiv:2404.10518",
    source: "Ross Wightman (timm)",
};

pub(crate) const NETWORKS: &[Published] = &[
    MOBILENET_V4.network(
        "mobilenet-v4-small",
        "timm/mobilenetv4_conv_small.e2400_r224_in1k",
        imagenet(224, 0.875),
        mobilenet_v4_small,
    ),
    MOBILENET_V4.network(
        "mobilenet-v4-medium",
        "timm/mobilenetv4_conv_medium.e500_r256_in1k",
        imagenet(256, 0.95),
        mobilenet_v4_medium,
    ),
    MOBILENET_V4.network(
        "mobilenet-v4-large",
        "timm/mobilenetv4_conv_large.e600_r384_in1k",
        imagenet(384, 0.95),
        mobilenet_v4_large,
    ),
];

/// A kind of block, as timm abbreviates them.
#[derive(Clone, Copy)]
enum Block {
    /// `cn`: a convolution.
    Plain { kernel: usize },
    /// `er`: a convolution that widens, a 1 × 1 convolution that narrows.
    Fused { kernel: usize, expansion: usize },
    /// `uir`, the universal inverted bottleneck: depthwise, widen, depthwise, narrow; 0 is no
    /// depthwise convolution.
    Universal { before: usize, inside: usize, expansion: usize },
}

/// Number of blocks, stride of the first, channels, kind.
type Row = (usize, usize, usize, Block);

const fn cn(kernel: usize) -> Block {
    Block::Plain { kernel }
}

const fn uir(before: usize, inside: usize, expansion: usize) -> Block {
    Block::Universal { before, inside, expansion }
}

const WIDEN: Block = Block::Fused { kernel: 3, expansion: 4 };

/// MobileNetV4-Conv-Small (Qin et al., *MobileNetV4: Universal models for the mobile ecosystem*,
/// 2024). Features: 960, total stride 32.
///
/// Names and numerics follow `timm/models/mobilenetv3.py` (`mobilenetv4_conv_small`): between the
/// features and the classifier there is a layer of 1280, which timm writes as a 1 × 1 convolution.
pub fn mobilenet_v4_small(classes: usize) -> Graph {
    const STAGES: [&[Row]; 5] = [
        &[(1, 2, 32, cn(3)), (1, 1, 32, cn(1))],
        &[(1, 2, 96, cn(3)), (1, 1, 64, cn(1))],
        &[(1, 2, 96, uir(5, 5, 3)), (4, 1, 96, uir(0, 3, 2)), (1, 1, 96, uir(3, 0, 4))],
        &[
            (1, 2, 128, uir(3, 3, 6)),
            (1, 1, 128, uir(5, 5, 4)),
            (1, 1, 128, uir(0, 5, 4)),
            (1, 1, 128, uir(0, 5, 3)),
            (2, 1, 128, uir(0, 3, 4)),
        ],
        &[(1, 1, 960, cn(1))],
    ];
    mobilenet_v4("mobilenet-v4-small", 32, &STAGES, classes)
}

/// MobileNetV4-Conv-Medium: as [`mobilenet_v4_small`], larger.
pub fn mobilenet_v4_medium(classes: usize) -> Graph {
    const STAGES: [&[Row]; 5] = [
        &[(1, 2, 48, WIDEN)],
        &[(1, 2, 80, uir(3, 5, 4)), (1, 1, 80, uir(3, 3, 2))],
        &[
            (1, 2, 160, uir(3, 5, 6)),
            (2, 1, 160, uir(3, 3, 4)),
            (1, 1, 160, uir(3, 5, 4)),
            (1, 1, 160, uir(3, 3, 4)),
            (1, 1, 160, uir(3, 0, 4)),
            (1, 1, 160, uir(0, 0, 2)),
            (1, 1, 160, uir(3, 0, 4)),
        ],
        &[
            (1, 2, 256, uir(5, 5, 6)),
            (1, 1, 256, uir(5, 5, 4)),
            (2, 1, 256, uir(3, 5, 4)),
            (1, 1, 256, uir(0, 0, 4)),
            (1, 1, 256, uir(3, 0, 4)),
            (1, 1, 256, uir(3, 5, 2)),
            (1, 1, 256, uir(5, 5, 4)),
            (2, 1, 256, uir(0, 0, 4)),
            (1, 1, 256, uir(5, 0, 2)),
        ],
        &[(1, 1, 960, cn(1))],
    ];
    mobilenet_v4("mobilenet-v4-medium", 32, &STAGES, classes)
}

/// MobileNetV4-Conv-Large: as [`mobilenet_v4_small`], larger still.
pub fn mobilenet_v4_large(classes: usize) -> Graph {
    const STAGES: [&[Row]; 5] = [
        &[(1, 2, 48, WIDEN)],
        &[(1, 2, 96, uir(3, 5, 4)), (1, 1, 96, uir(3, 3, 4))],
        &[
            (1, 2, 192, uir(3, 5, 4)),
            (3, 1, 192, uir(3, 3, 4)),
            (1, 1, 192, uir(3, 5, 4)),
            (5, 1, 192, uir(5, 3, 4)),
            (1, 1, 192, uir(3, 0, 4)),
        ],
        &[
            (4, 2, 512, uir(5, 5, 4)),
            (1, 1, 512, uir(5, 0, 4)),
            (1, 1, 512, uir(5, 3, 4)),
            (2, 1, 512, uir(5, 0, 4)),
            (1, 1, 512, uir(5, 3, 4)),
            (1, 1, 512, uir(5, 5, 4)),
            (3, 1, 512, uir(5, 0, 4)),
        ],
        &[(1, 1, 960, cn(1))],
    ];
    mobilenet_v4("mobilenet-v4-large", 24, &STAGES, classes)
}

fn mobilenet_v4(name: &str, stem: usize, stages: &[&[Row]], classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let conv = Conv2d::new(3, stem, 3).stride(2).padding(Padding::Symmetric(1));
    let mut x = conv_norm(&mut g, "conv_stem".into(), "bn1".into(), input, conv, true);
    let mut channels = stem;
    for (stage, rows) in stages.iter().enumerate() {
        let mut position = 0;
        for &(repeats, stride, out, block) in *rows {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                let prefix = format!("blocks.{stage}.{position}");
                x = block.add_to(&mut g, &prefix, x, [channels, out], stride);
                (channels, position) = (out, position + 1);
            }
        }
    }
    let features = g.layer("global_pool", Op::GlobalAvgPool, &[x]);
    let wide = Linear { in_features: channels, out_features: 1280, bias: false };
    let x = g.layer("conv_head", Op::Linear(wide), &[features]);
    let x = g.batch_norm("norm_head", x, 1280, EPS);
    let x = g.activation("norm_head.act", x, Activation::Relu);
    g.linear("classifier", x, 1280, classes);
    g.finish(features)
}

const EPS: f64 = 1e-5;

impl Block {
    fn add_to(
        self,
        g: &mut GraphBuilder,
        prefix: &str,
        input: NodeId,
        [channels, out]: [usize; 2],
        stride: usize,
    ) -> NodeId {
        let name = |part: &str| format!("{prefix}.{part}");
        let same = |channels, out, kernel: usize| {
            Conv2d::new(channels, out, kernel).padding(Padding::Symmetric(kernel / 2))
        };
        let mut layer = |conv: &str, norm: &str, x, shape, act| {
            conv_norm(g, name(conv), name(norm), x, shape, act)
        };
        match self {
            Block::Plain { kernel } => {
                layer("conv", "bn1", input, same(channels, out, kernel).stride(stride), true)
            }
            Block::Fused { kernel, expansion } => {
                let wide = channels * expansion;
                let shape = same(channels, wide, kernel).stride(stride);
                let x = layer("conv_exp", "bn1", input, shape, true);
                layer("conv_pwl", "bn2", x, Conv2d::new(wide, out, 1), false)
            }
            Block::Universal { before, inside, expansion } => {
                let wide = channels * expansion;
                let mut x = input;
                if before > 0 {
                    let own = if inside > 0 { 1 } else { stride };
                    let shape = same(channels, channels, before).groups(channels).stride(own);
                    x = layer("dw_start.conv", "dw_start.bn", x, shape, false);
                }
                let shape = Conv2d::new(channels, wide, 1);
                x = layer("pw_exp.conv", "pw_exp.bn", x, shape, true);
                if inside > 0 {
                    let shape = same(wide, wide, inside).groups(wide).stride(stride);
                    x = layer("dw_mid.conv", "dw_mid.bn", x, shape, true);
                }
                let shape = Conv2d::new(wide, out, 1);
                x = layer("pw_proj.conv", "pw_proj.bn", x, shape, false);
                if stride == 1 && channels == out {
                    x = g.layer(name("add"), Op::Add, &[x, input]);
                }
                x
            }
        }
    }
}

fn conv_norm(
    g: &mut GraphBuilder,
    conv_name: String,
    norm_name: String,
    input: NodeId,
    conv: Conv2d,
    activated: bool,
) -> NodeId {
    let act_name = format!("{norm_name}.act");
    let x = g.conv(conv_name, input, conv);
    let x = g.batch_norm(norm_name, x, conv.out_channels, EPS);
    if activated { g.activation(act_name, x, Activation::Relu) } else { x }
}
