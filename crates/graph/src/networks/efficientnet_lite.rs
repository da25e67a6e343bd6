use crate::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Padding};

/// EfficientNet-Lite0 (Tan & Le, *EfficientNet*, 2019; the "lite" variants of TensorFlow's TPU repository: no squeeze
/// and excitation, ReLU6). Features: 1280, total stride 32.
///
/// Names and numerics follow `timm/models/efficientnet.py` (`tf_efficientnet_lite0`): TensorFlow's SAME padding,
/// BatchNorm ε = 1e-3.
pub fn efficientnet_lite0(classes: usize) -> Graph {
    // kernel, stride, expansion, channels out, repeats
    const STAGES: [(usize, usize, usize, usize, usize); 7] = [
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ];
    let (mut g, input) = GraphBuilder::pictures("efficientnet-lite0", 3);
    let stem = Conv2d::new(3, 32, 3).stride(2).padding(Padding::Same);
    let mut x = conv_norm(&mut g, "conv_stem", "bn1", input, stem, Some("act1"));
    let mut channels = 32;
    for (stage, (kernel, stride, expansion, out, repeats)) in STAGES.into_iter().enumerate() {
        for repeat in 0..repeats {
            let block = Block {
                prefix: format!("blocks.{stage}.{repeat}"),
                kernel,
                stride: if repeat == 0 { stride } else { 1 },
                expansion,
                channels,
                out,
            };
            x = block.add_to(&mut g, x);
            channels = out;
        }
    }
    let x = conv_norm(&mut g, "conv_head", "bn2", x, Conv2d::new(channels, 1280, 1), Some("act2"));
    let features = g.layer("global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("classifier", features, 1280, classes);
    g.finish(features)
}

const EPS: f64 = 1e-3;

fn conv_norm(
    g: &mut GraphBuilder,
    conv_name: &str,
    norm_name: &str,
    input: NodeId,
    conv: Conv2d,
    activation: Option<&str>,
) -> NodeId {
    let x = g.conv(conv_name, input, conv);
    let x = g.batch_norm(norm_name, x, conv.out_channels, EPS);
    match activation {
        Some(name) => g.activation(name, x, Activation::Relu6),
        None => x,
    }
}

/// An inverted residual block; with expansion 1 a depthwise-separable one.
struct Block {
    prefix: String,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
    out: usize,
}

impl Block {
    fn add_to(&self, g: &mut GraphBuilder, input: NodeId) -> NodeId {
        let name = |part: &str| format!("{}.{part}", self.prefix);
        let wide = self.channels * self.expansion;
        let depthwise = Conv2d::new(wide, wide, self.kernel)
            .stride(self.stride)
            .padding(Padding::Same)
            .groups(wide);
        let expand = Conv2d::new(self.channels, wide, 1);
        let project = Conv2d::new(wide, self.out, 1);
        let mut layer = |conv: &str, norm: &str, x, shape, act: Option<&str>| {
            conv_norm(g, &name(conv), &name(norm), x, shape, act.map(name).as_deref())
        };
        let x = if self.expansion == 1 {
            let x = layer("conv_dw", "bn1", input, depthwise, Some("act1"));
            layer("conv_pw", "bn2", x, project, None)
        } else {
            let x = layer("conv_pw", "bn1", input, expand, Some("act1"));
            let x = layer("conv_dw", "bn2", x, depthwise, Some("act2"));
            layer("conv_pwl", "bn3", x, project, None)
        };
        if self.stride == 1 && self.channels == self.out {
            g.layer(name("add"), Op::Add, &[x, input])
        } else {
            x
        }
    }
}
