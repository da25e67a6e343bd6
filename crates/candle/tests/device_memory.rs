//! What happens when a device is too small. Only the emulated one (`crates/cuda-emulator`) can be
//! made small; a separate test program, since that applies to the whole process.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

#[test]
fn batches_that_do_not_fit_are_halved_and_a_picture_that_does_not_is_an_error() {
    use candle_core::Device;
    use taper_candle::{DeviceBackbone, open_device};
    use taper_core::{FrozenBackbone, Precision, Preprocessing};
    use taper_graph::Weights;

    if std::env::var_os("TAPER_EMULATED_DEVICE").is_none() {
        taper_testing::skip("only the emulated device (cargo xtask test --cuda) can be made small");
        return;
    }
    // SAFETY: this is the only test of this program, and no other thread reads the environment yet.
    unsafe { std::env::set_var("TAPER_EMULATED_MEMORY", (28 << 20).to_string()) };
    let device = open_device("cuda".parse().unwrap()).unwrap();
    let model = taper_zoo::find("efficientnet-lite0").unwrap();
    let graph = model.backbone();
    let weights = Weights::seeded(&graph);
    let backbone = |size: u32, device: &Device| {
        let preprocessing = Preprocessing { size, ..model.preprocessing };
        DeviceBackbone::new(&graph, &weights, preprocessing, Precision::F32, device).unwrap()
    };
    let n = 48;
    let pixels: Vec<u8> = (0..n * 64 * 64 * 3).map(|i| (i * 31 % 253) as u8).collect();
    let there = backbone(64, &device);
    there.set_batch(n);
    let rows = there.submit(&pixels, n).unwrap().wait().unwrap();
    assert!(there.batch() < n && there.batch() > 1, "{}", there.batch());
    println!("{n} pictures went through {} at a time", there.batch());
    let expected = backbone(64, &Device::Cpu).forward(&pixels, n).unwrap();
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(rows.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-3 * largest));
    // From then on they are processed in parts of this size, without another attempt.
    let again = there.submit(&pixels, n).unwrap().wait().unwrap();
    assert!(again == rows, "the same pictures give the same bytes");

    let large = backbone(1024, &device);
    let error = large.submit(&vec![7; 1024 * 1024 * 3], 1).unwrap_err().to_string();
    assert!(
        error.contains("not even one picture") && error.contains("smaller pictures"),
        "{error}"
    );
}
