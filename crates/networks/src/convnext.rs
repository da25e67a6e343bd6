use crate::published::{Origin, Published, imagenet};
use taper_graph::{
    Activation, Conv2d, Graph, GraphBuilder, LayerNorm, LayerScale, NodeId, Op, Padding,
};

const CONVNEXT: Origin = Origin {
    licence: "Apache-2.0",
    paper: "Liu et al., A ConvNet for the 2020s, 2022, arXiv:2201.03545",
    source: "the paper's authors (tiny, small, base) and Ross Wightman (the smaller ones), in timm's form",
};

pub(crate) const NETWORKS: &[Published] = &[
    CONVNEXT.network(
        "convnext-atto",
        "timm/convnext_atto.d2_in1k",
        imagenet(224, 0.875),
        convnext_atto,
    ),
    CONVNEXT.network(
        "convnext-femto",
        "timm/convnext_femto.d1_in1k",
        imagenet(224, 0.875),
        convnext_femto,
    ),
    CONVNEXT.network(
        "convnext-pico",
        "timm/convnext_pico.d1_in1k",
        imagenet(224, 0.875),
        convnext_pico,
    ),
    CONVNEXT.network(
        "convnext-nano",
        "timm/convnext_nano.d1h_in1k",
        imagenet(224, 0.95),
        convnext_nano,
    ),
    CONVNEXT.network(
        "convnext-tiny",
        "timm/convnext_tiny.fb_in1k",
        imagenet(224, 0.875),
        convnext_tiny,
    ),
    CONVNEXT.network(
        "convnext-small",
        "timm/convnext_small.fb_in1k",
        imagenet(224, 0.875),
        convnext_small,
    ),
    CONVNEXT.network(
        "convnext-base",
        "timm/convnext_base.fb_in1k",
        imagenet(224, 0.875),
        convnext_base,
    ),
];

/// ConvNeXt-Atto (Liu et al., *A ConvNet for the 2020s*, 2022; the small ones are timm's).
/// Features: 320, after the last layer norm; total stride 32.
///
/// Names and numerics follow `timm/models/convnext.py` (`convnext_atto`): layer norms over the
/// channels with ε = 1e-6, GELU, a learned scale before each shortcut.
pub fn convnext_atto(classes: usize) -> Graph {
    convnext("convnext-atto", [2, 2, 6, 2], 40, classes)
}

/// ConvNeXt-Femto: as [`convnext_atto`], wider. Features: 384.
pub fn convnext_femto(classes: usize) -> Graph {
    convnext("convnext-femto", [2, 2, 6, 2], 48, classes)
}

/// ConvNeXt-Pico: as [`convnext_atto`], wider. Features: 512.
pub fn convnext_pico(classes: usize) -> Graph {
    convnext("convnext-pico", [2, 2, 6, 2], 64, classes)
}

/// ConvNeXt-Nano: as [`convnext_atto`], wider and deeper. Features: 640.
pub fn convnext_nano(classes: usize) -> Graph {
    convnext("convnext-nano", [2, 2, 8, 2], 80, classes)
}

/// ConvNeXt-Tiny: as [`convnext_atto`], wider and deeper. Features: 768.
pub fn convnext_tiny(classes: usize) -> Graph {
    convnext("convnext-tiny", [3, 3, 9, 3], 96, classes)
}

/// ConvNeXt-Small: as [`convnext_tiny`], deeper. Features: 768.
pub fn convnext_small(classes: usize) -> Graph {
    convnext("convnext-small", [3, 3, 27, 3], 96, classes)
}

/// ConvNeXt-Base: as [`convnext_small`], wider. Features: 1024.
pub fn convnext_base(classes: usize) -> Graph {
    convnext("convnext-base", [3, 3, 27, 3], 128, classes)
}

fn convnext(name: &str, depths: [usize; 4], width: usize, classes: usize) -> Graph {
    let (mut g, input) = GraphBuilder::pictures(name, 3);
    let mut x = g.conv("stem.0", input, Conv2d::new(3, width, 4).stride(4).bias());
    x = layer_norm(&mut g, "stem.1".into(), x, width);
    let mut channels = width;
    for (stage, depth) in depths.into_iter().enumerate() {
        if stage > 0 {
            let before = format!("stages.{stage}.downsample");
            x = layer_norm(&mut g, format!("{before}.0"), x, channels);
            let halve = Conv2d::new(channels, 2 * channels, 2).stride(2).bias();
            x = g.conv(format!("{before}.1"), x, halve);
            channels *= 2;
        }
        for block in 0..depth {
            x = add_block(&mut g, &format!("stages.{stage}.blocks.{block}"), x, channels);
        }
    }
    let x = g.layer("head.global_pool", Op::GlobalAvgPool, &[x]);
    let features = layer_norm(&mut g, "head.norm".into(), x, channels);
    g.linear("head.fc", features, channels, classes);
    g.finish(features)
}

fn add_block(g: &mut GraphBuilder, name: &str, input: NodeId, channels: usize) -> NodeId {
    let depthwise =
        Conv2d::new(channels, channels, 7).padding(Padding::Symmetric(3)).groups(channels).bias();
    let x = g.conv(format!("{name}.conv_dw"), input, depthwise);
    let x = layer_norm(g, format!("{name}.norm"), x, channels);
    let x = g.conv(format!("{name}.mlp.fc1"), x, Conv2d::new(channels, 4 * channels, 1).bias());
    let x = g.activation(format!("{name}.mlp.act"), x, Activation::Gelu);
    let x = g.conv(format!("{name}.mlp.fc2"), x, Conv2d::new(4 * channels, channels, 1).bias());
    // timm's own name of the tensor is `….gamma`.
    let x = g.layer(name, Op::LayerScale(LayerScale { channels }), &[x]);
    g.layer(format!("{name}.add"), Op::Add, &[x, input])
}

fn layer_norm(g: &mut GraphBuilder, name: String, input: NodeId, channels: usize) -> NodeId {
    g.layer(name, Op::LayerNorm(LayerNorm { channels, eps: 1e-6 }), &[input])
}
