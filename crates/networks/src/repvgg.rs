use crate::published::{Origin, Published, TORCHVISION};
use taper_graph::{Activation, Conv2d, Graph, GraphBuilder, Op, Padding};

const REPVGG: Origin = Origin {
    licence: "MIT",
    paper: "Ding et al., RepVGG: Making VGG-style ConvNets Great Again, 2021, arXiv:2101.03697",
    source: "the paper's authors, in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    REPVGG.network("repvgg-a0", "timm/repvgg_a0.rvgg_in1k", TORCHVISION, repvgg_a0),
    REPVGG.network("repvgg-a1", "timm/repvgg_a1.rvgg_in1k", TORCHVISION, repvgg_a1),
    REPVGG.network("repvgg-a2", "timm/repvgg_a2.rvgg_in1k", TORCHVISION, repvgg_a2),
    REPVGG.network("repvgg-b0", "timm/repvgg_b0.rvgg_in1k", TORCHVISION, repvgg_b0),
];

/// RepVGG-A0 (Ding et al., *RepVGG: Making VGG-style ConvNets great again*, 2021) in its deployed
/// form: only 3 × 3 convolutions with bias and ReLU. Features: 1280, total stride 32.
///
/// Names and numerics follow `timm/models/byobnet.py` (`repvgg_a0`) after `reparameterize`: weights
/// in their training form, with three branches per convolution, are fused on loading.
pub fn repvgg_a0(classes: usize) -> Graph {
    repvgg("repvgg-a0", 48, [(2, 48), (4, 96), (14, 192), (1, 1280)], classes)
}

/// RepVGG-A1: as [`repvgg_a0`], wider.
pub fn repvgg_a1(classes: usize) -> Graph {
    repvgg("repvgg-a1", 64, [(2, 64), (4, 128), (14, 256), (1, 1280)], classes)
}

/// RepVGG-A2: as [`repvgg_a0`], wider. Features: 1408.
pub fn repvgg_a2(classes: usize) -> Graph {
    repvgg("repvgg-a2", 64, [(2, 96), (4, 192), (14, 384), (1, 1408)], classes)
}

/// RepVGG-B0: as [`repvgg_a1`], deeper.
pub fn repvgg_b0(classes: usize) -> Graph {
    repvgg("repvgg-b0", 64, [(4, 64), (6, 128), (16, 256), (1, 1280)], classes)
}

/// `stages`: convolutions, the first of which halves the map, and their channels.
fn repvgg(name: &str, stem: usize, stages: [(usize, usize); 4], classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let mut channels = 3;
    let mut add = |g: &mut GraphBuilder, block: String, x, out, stride| {
        let conv = Conv2d::new(channels, out, 3).stride(stride).padding(Padding::Symmetric(1));
        let x = g.conv(format!("{block}.reparam_conv"), x, conv.bias());
        channels = out;
        g.activation(format!("{block}.act"), x, Activation::Relu)
    };
    let mut x = add(&mut g, "stem".into(), input, stem, 2);
    for (stage, (depth, out)) in stages.into_iter().enumerate() {
        for block in 0..depth {
            let stride = if block == 0 { 2 } else { 1 };
            x = add(&mut g, format!("stages.{stage}.{block}"), x, out, stride);
        }
    }
    let features = g.layer("head.global_pool", Op::GlobalAvgPool, &[x]);
    g.linear("head.fc", features, channels, classes);
    g.finish(features)
}
