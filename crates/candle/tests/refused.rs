//! What happens if cuDNN has no kernel for a convolution. Only the emulated device
//! (`crates/cuda-emulator`) can be told to refuse; a separate test program, since that applies to
//! the whole process.
#![allow(clippy::unwrap_used)] // helpers of tests

#[test]
fn convolutions_that_cudnn_refuses_are_matrix_products() {
    use candle_core::{Device, Tensor};
    use taper_candle::{FrozenNetwork, open_device};
    use taper_core::Precision;
    use taper_core::{Fit, Interpolation, Preprocessing};
    use taper_graph::Weights;
    use taper_networks as networks;

    if std::env::var_os("TAPER_EMULATED_DEVICE").is_none() {
        taper_testing::skip("only the emulated device (cargo xtask test --cuda) refuses on demand");
        return;
    }
    // SAFETY: this is the only test of this program, and no other thread reads the environment yet.
    unsafe { std::env::set_var("TAPER_EMULATED_CUDNN", "none") };
    let there = open_device("cuda".parse().unwrap()).unwrap();
    let graph = networks::resnet18(10).without_classifier();
    let weights = Weights::seeded(&graph);
    let preprocessing = Preprocessing {
        size: 32,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };
    let pixels: Vec<u8> = (0..2 * 32 * 32 * 3).map(|i| (i * 31 % 253) as u8).collect();
    let features = |device: &Device| -> Vec<f32> {
        let dtype = Precision::F32;
        let network =
            FrozenNetwork::compile(&graph, &weights, &preprocessing, dtype, device).unwrap();
        let pixels = Tensor::from_slice(&pixels, (2, 32, 32, 3), device).unwrap();
        network.forward(&pixels).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let (ours, expected) = (features(&there), features(&Device::Cpu));
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
}
