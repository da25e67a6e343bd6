use candle_core::{DType, Device, Tensor};
use taper_core::{
    Fit, Interpolation, Preprocessing,
    random::{Key, Purpose},
};
use taper_graph::{
    Activation, Attention, Conv2d, Graph, GraphBuilder, LayerScale, MaxPool, Op, Padding,
    SqueezeExcite, VisionTransformer, Weights,
};
use taper_networks as networks;

use super::FrozenNetwork;
use crate::{Network, Pass, test_device};
use taper_core::Precision;

fn preprocessing(size: u32) -> Preprocessing {
    Preprocessing {
        size,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    }
}

fn pixels(n: usize, size: usize) -> Tensor {
    let mut stream = Key::new(3, Purpose::new("frozen/pixels")).stream(0, 0);
    let values: Vec<u8> = (0..n * size * size * 3).map(|_| stream.next_u32() as u8).collect();
    Tensor::from_vec(values, (n, size, size, 3), &Device::Cpu).unwrap()
}

/// What the trainable form says about the same pixels.
fn reference(graph: &Graph, weights: &Weights, pixels: &Tensor, size: u32) -> Vec<f32> {
    let network = Network::loaded(graph, weights, &Device::Cpu).unwrap();
    let (scale, shift) = preprocessing(size).affine();
    let per_channel =
        |v: [f32; 3]| Tensor::new(&v, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let x = pixels.to_dtype(DType::F32).unwrap().permute((0, 3, 1, 2)).unwrap();
    let x = x.contiguous().unwrap().broadcast_mul(&per_channel(scale)).unwrap();
    let x = x.broadcast_add(&per_channel(shift)).unwrap();
    let y = network.forward(&x, Pass::Evaluation).unwrap();
    y.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest deviation, as a share of the largest value.
fn deviation(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |m, x| m.max(x.abs()));
    ours.iter().zip(theirs).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn check(graph: &Graph, size: u32, bounds: &[(Precision, f32)]) {
    let weights = Weights::seeded(graph);
    let pixels = pixels(3, size as usize);
    let expected = reference(graph, &weights, &pixels, size);
    let device = test_device();
    for &(dtype, bound) in bounds {
        let frozen =
            FrozenNetwork::compile(graph, &weights, &preprocessing(size), dtype, &device).unwrap();
        let y = frozen.forward(&pixels.to_device(&device).unwrap()).unwrap();
        assert_eq!(y.dims(), [3, frozen.width()]);
        let found: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
        let deviation = deviation(&found, &expected);
        assert!(deviation <= bound, "{} in {dtype:?}: {deviation}", graph.name());
        // Again: the same bytes.
        let again = frozen.forward(&pixels.to_device(&device).unwrap()).unwrap();
        assert_eq!(again.flatten_all().unwrap().to_vec1::<f32>().unwrap(), found);
    }
}

const BOUNDS: [(Precision, f32); 3] =
    [(Precision::F32, 1e-4), (Precision::F16, 4e-3), (Precision::Bf16, 3e-2)];

#[test]
fn frozen_networks_agree_with_their_trainable_form() {
    check(&networks::efficientnet_lite0(10), 64, &BOUNDS);
    check(&networks::resnet50(10).without_classifier(), 64, &BOUNDS);
    check(&networks::vgg16(10).without_classifier(), 32, &BOUNDS[..1]);
    check(&networks::convnext_atto(10).without_classifier(), 64, &BOUNDS);
    check(&networks::convnext_atto(10), 64, &BOUNDS[..1]);
}

/// Another grid than that of the training, and patches that are filled up with zeros.
#[test]
fn transformers_agree_with_their_trainable_form() {
    check(&networks::dinov2_small(0), 50, &BOUNDS);
    check(&networks::dinov2_small(0).cut("blocks.1").unwrap(), 28, &BOUNDS);
    check(&networks::vit_base(10), 40, &BOUNDS[..1]);
    check(&networks::clip_vit_b32(0), 70, &BOUNDS[..1]);
    for prefix in [0, 5] {
        let (mut g, input) = GraphBuilder::pictures("tokens", 3);
        let small = VisionTransformer::new(32, 8, [24, 2, 3]);
        let x = VisionTransformer { prefix, ..small }.add(&mut g, input);
        check(&g.finish(x), 36, &BOUNDS);
    }
}

/// The end of FastViT, without a convolution in groups.
fn maps_with_attention() -> Graph {
    let (mut g, input) = GraphBuilder::pictures("maps", 3);
    let x = g.conv("stem", input, Conv2d::new(3, 16, 4).stride(4).padding(Padding::End).bias());
    let y = g.conv("qkv", x, Conv2d::new(16, 48, 1));
    let y = g.layer("attn", Op::Attention(Attention { width: 16, heads: 2 }), &[y]);
    let y = g.conv("proj", y, Conv2d::new(16, 16, 1).bias());
    let y = g.layer("scale", Op::LayerScale(LayerScale { channels: 16 }), &[y]);
    let x = g.layer("add", Op::Add, &[y, x]);
    let squeeze = Op::SqueezeExcite(SqueezeExcite { channels: 16, reduced: 4 });
    let x = g.layer("se", squeeze, &[x]);
    let x = g.activation("act", x, Activation::Gelu);
    let x = g.layer("pool", Op::GlobalAvgPool, &[x]);
    g.finish(x)
}

/// Squeeze and excitation, attention between maps, convolutions with two outputs per group.
#[test]
fn networks_of_one_branch_agree_with_their_trainable_form() {
    check(&networks::mobileone_s4(10).cut("stages.3").unwrap(), 64, &BOUNDS);
    // On the CPU, only convolutions that are depthwise have groups.
    if test_device().is_cuda() {
        check(&networks::fastvit_sa12(10).without_classifier(), 64, &BOUNDS[..1]);
    }
    check(&maps_with_attention(), 32, &BOUNDS);
}

#[test]
fn windows_of_all_kinds_are_right() {
    let (mut g, input) = GraphBuilder::pictures("windows", 3);
    let x = g.conv("same", input, Conv2d::new(3, 5, 3).stride(2).padding(Padding::Same).bias());
    let x = g.activation("relu", x, Activation::Relu);
    let dilated = Conv2d { dilation: 2, ..Conv2d::new(5, 16, 3).padding(Padding::Symmetric(2)) };
    let x = g.conv("dilated", x, dilated);
    let x = g.batch_norm("norm", x, 16, 1e-3);
    let pool = MaxPool { kernel: 3, stride: 2, padding: Padding::Same };
    let x = g.max_pool("pool", x, pool);
    let shortcut = g.conv("shortcut", x, Conv2d::new(16, 16, 1).bias());
    let depthwise = Conv2d::new(16, 16, 5).padding(Padding::Same).groups(16);
    let y = g.conv("depthwise", x, depthwise);
    let y = g.activation("relu6", y, Activation::Relu6);
    let y = g.conv("project", y, Conv2d::new(16, 16, 1));
    let y = g.layer("sum", Op::Add, &[y, shortcut]);
    let y = g.activation("end", y, Activation::Relu);
    let y = g.conv("strided", y, Conv2d::new(16, 8, 1).stride(2));
    let y = g.layer("mean", Op::GlobalAvgPool, &[y]);
    g.linear("fc", y, 8, 4);
    check(&g.finish(y), 37, &BOUNDS);
}

/// What stays in f32 in bf16's networks, thin maps that are added up among it.
#[test]
fn thin_maps_meet_wide_ones() {
    let (mut g, input) = GraphBuilder::pictures("thin", 3);
    let x = g.conv("stem", input, Conv2d::new(3, 16, 3).stride(2).padding(Padding::Same).bias());
    let x = g.activation("relu", x, Activation::Relu);
    let y = g.conv("one", x, Conv2d::new(16, 16, 3).padding(Padding::Symmetric(1)));
    let y = g.layer("sum", Op::Add, &[y, x]);
    let z = g.conv("expand", y, Conv2d::new(16, 48, 1).bias());
    let z = g.activation("relu6", z, Activation::Relu6);
    let z = g.conv("project", z, Conv2d::new(48, 16, 1));
    let z = g.layer("again", Op::Add, &[z, y]);
    let z = g.conv("wide", z, Conv2d::new(16, 40, 3).padding(Padding::Symmetric(1)));
    let z = g.layer("mean", Op::GlobalAvgPool, &[z]);
    check(&g.finish(z), 19, &BOUNDS);
}

#[test]
fn pixels_of_another_size_and_layers_that_cannot_be_frozen_are_named() {
    let graph = networks::efficientnet_lite0(10);
    let weights = Weights::seeded(&graph);
    let preprocessing = preprocessing(32);
    let frozen =
        FrozenNetwork::compile(&graph, &weights, &preprocessing, Precision::F32, &Device::Cpu)
            .unwrap();
    let error = frozen.forward(&pixels(1, 40)).unwrap_err().to_string();
    assert!(error.contains("input") && error.contains("[n, 32, 32, 3]"), "{error}");

    let (mut g, input) = GraphBuilder::pictures("grouped", 3);
    let x = g.conv("stem", input, Conv2d::new(3, 8, 3));
    let x = g.conv("groups.of.two", x, Conv2d::new(8, 8, 3).groups(4));
    let x = g.layer("mean", Op::GlobalAvgPool, &[x]);
    let graph = g.finish(x);
    let weights = Weights::seeded(&graph);
    let error =
        FrozenNetwork::compile(&graph, &weights, &preprocessing, Precision::F32, &Device::Cpu)
            .unwrap_err();
    assert!(error.to_string().contains("groups.of.two"), "{error}");
}
