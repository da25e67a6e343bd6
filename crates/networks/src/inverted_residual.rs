//! The common part of EfficientNet-Lite and MobileNetV2: inverted residual blocks with ReLU6.

use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Padding};

/// Blocks of one kind, the first of which may shrink the map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) kernel: usize,
    /// Of the first block.
    pub(crate) stride: usize,
    /// How much wider a block is inside; 1 is a depthwise-separable block.
    pub(crate) expansion: usize,
    pub(crate) channels: usize,
    pub(crate) repeats: usize,
}

/// A network of inverted residual blocks, named as in `timm/models/efficientnet.py`: a stem of 32
/// channels, `stages`, 1280 features.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'a str,
    pub(crate) stages: Vec<Stage>,
    /// TensorFlow's SAME padding; otherwise equal zero padding on all sides.
    pub(crate) same: bool,
    /// Added to the variance in BatchNorm.
    pub(crate) eps: f64,
}

const STEM: usize = 32;
const FEATURES: usize = 1280;

impl Family<'_> {
    pub(crate) fn graph(&self, classes: usize) -> Graph {
        let (mut g, input) = GraphBuilder::pictures(self.name, 3);
        let stem = Conv2d::new(3, STEM, 3).stride(2).padding(self.padding(3));
        let mut x = self.conv_norm(&mut g, "conv_stem", "bn1", input, stem, Some("act1"));
        let mut channels = STEM;
        for (position, stage) in self.stages.iter().enumerate() {
            for repeat in 0..stage.repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                let block = Stage { stride, ..*stage };
                x = self.block(&mut g, &format!("blocks.{position}.{repeat}"), x, channels, block);
                channels = stage.channels;
            }
        }
        let head = Conv2d::new(channels, FEATURES, 1);
        let x = self.conv_norm(&mut g, "conv_head", "bn2", x, head, Some("act2"));
        let features = g.layer("global_pool", Op::GlobalAvgPool, &[x]);
        g.linear("classifier", features, FEATURES, classes);
        g.finish(features)
    }

    fn padding(&self, kernel: usize) -> Padding {
        if self.same { Padding::Same } else { Padding::Symmetric(kernel / 2) }
    }

    fn conv_norm(
        &self,
        g: &mut GraphBuilder,
        conv_name: &str,
        norm_name: &str,
        input: NodeId,
        conv: Conv2d,
        activation: Option<&str>,
    ) -> NodeId {
        let x = g.conv(conv_name, input, conv);
        let x = g.batch_norm(norm_name, x, conv.out_channels, self.eps);
        match activation {
            Some(name) => g.activation(name, x, Activation::Relu6),
            None => x,
        }
    }

    fn block(
        &self,
        g: &mut GraphBuilder,
        prefix: &str,
        input: NodeId,
        channels: usize,
        block: Stage,
    ) -> NodeId {
        let name = |part: &str| format!("{prefix}.{part}");
        let wide = channels * block.expansion;
        let depthwise = Conv2d::new(wide, wide, block.kernel)
            .stride(block.stride)
            .padding(self.padding(block.kernel))
            .groups(wide);
        let project = Conv2d::new(wide, block.channels, 1);
        let mut layer = |conv: &str, norm: &str, x, shape, act: Option<&str>| {
            self.conv_norm(g, &name(conv), &name(norm), x, shape, act.map(name).as_deref())
        };
        let x = if block.expansion == 1 {
            let x = layer("conv_dw", "bn1", input, depthwise, Some("act1"));
            layer("conv_pw", "bn2", x, project, None)
        } else {
            let expand = Conv2d::new(channels, wide, 1);
            let x = layer("conv_pw", "bn1", input, expand, Some("act1"));
            let x = layer("conv_dw", "bn2", x, depthwise, Some("act2"));
            layer("conv_pwl", "bn3", x, project, None)
        };
        if block.stride == 1 && channels == block.channels {
            g.layer(name("add"), Op::Add, &[x, input])
        } else {
            x
        }
    }
}
