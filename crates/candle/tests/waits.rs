//! Checks that nothing waits for the device unnecessarily. The emulated device
//! (`crates/cuda-emulator`) counts waits; a real one and the CPU do not. A separate test program,
//! as the counters belong to the process.
#![allow(clippy::unwrap_used)] // helpers of tests

#[cfg(target_os = "linux")]
#[test]
fn batches_of_pictures_are_queued_without_waiting_for_any() {
    use std::ffi::{CStr, c_char};

    use libloading::os::unix::Library;
    use taper_candle::{FrozenNetwork, Transfers, open_device};
    use taper_core::Precision;
    use taper_core::{Fit, Interpolation, Preprocessing};
    use taper_graph::Weights;
    use taper_networks as networks;

    let Ok(device) = std::env::var("TAPER_TEST_DEVICE") else {
        taper_testing::skip(
            "TAPER_TEST_DEVICE names no device of CUDA, so there is nothing to wait for",
        );
        return;
    };
    let device = open_device(device.parse().unwrap()).unwrap();
    let process = Library::this();
    type Count = unsafe extern "C" fn(*const c_char) -> u64;
    // SAFETY: if there is a function of this name, it is the emulated device's.
    let Ok(count) = (unsafe { process.get::<Count>(b"taper_emulator_count\0") }) else {
        taper_testing::skip("only the emulated device counts waits");
        return;
    };
    let counted = |what: &CStr| {
        // SAFETY: as above; it reads the name and returns a number.
        unsafe { count(what.as_ptr()) }
    };

    let size = 32;
    let graph = networks::efficientnet_lite0(10).without_classifier();
    let preprocessing = Preprocessing {
        size: size as u32,
        interpolation: Interpolation::Bilinear,
        fit: Fit::Squash,
        mean: Preprocessing::IMAGENET_MEAN,
        std: Preprocessing::IMAGENET_STD,
    };
    let network = FrozenNetwork::compile(
        &graph,
        &Weights::seeded(&graph),
        &preprocessing,
        Precision::Bf16,
        &device,
    );
    let network = network.unwrap();
    let mut transfers = Transfers::new(&device).unwrap();
    let pixels = |batch: u8| vec![batch.wrapping_mul(37); 2 * size * size * 3];
    let mut submit = |batch: u8| {
        let rows = transfers.send(&pixels(batch), [2, size, size, 3], |x| network.forward(x));
        transfers.read_back(&rows.unwrap()).unwrap()
    };
    // The first batches load kernels and allocate memory that the next ones reuse.
    let alone: Vec<Vec<f32>> = (0..3).map(|batch| submit(batch).wait().unwrap()).collect();

    let waits = counted(c"synchronisations");
    let launches = counted(c"launches");
    let [first, second] = [submit(0), submit(1)];
    assert!(counted(c"launches") - launches > 100, "both batches were computed");
    assert_eq!(counted(c"synchronisations"), waits, "queuing a batch waited for the device");
    // The third one reuses the memory of the first: it waits for that one's copy, not for its
    // computation.
    let third = submit(2);
    assert!(counted(c"synchronisations") - waits <= 1);
    for (batch, rows) in [first, second, third].into_iter().enumerate() {
        assert_eq!(rows.wait().unwrap(), alone[batch], "batch {batch}");
    }
}
