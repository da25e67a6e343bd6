use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use candle_core::Device;
use taper_core::DeviceChoice;

use crate::{Error, Result};

/// Opens the chosen device.
///
/// # Errors
/// [`Error::Device`] if CUDA is requested and this build lacks the feature, or this machine lacks
/// the driver or the device: there is no silent fallback. `Auto` falls back by definition; the
/// caller reports the result.
pub fn open_device(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal),
        DeviceChoice::Auto => Ok(open_cuda(0).unwrap_or(Device::Cpu)),
    }
}

/// The opened devices, one per GPU and process: opening one again gives the same stream, with the
/// kernels that are already loaded. Never dropped, so that nothing outlives the driver.
static OPENED: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());

fn open_cuda(ordinal: usize) -> Result<Device> {
    let fail = |problem: String| {
        let device = DeviceChoice::Cuda(ordinal).to_string();
        Err(Error::Device { device, problem })
    };
    if !candle_core::utils::cuda_is_available() {
        return fail(
            "this build has no CUDA support: build with the features cuda and cudnn, or use the device cpu"
                .into(),
        );
    }
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = opened.get(&ordinal) {
        return Ok(device.clone());
    }
    // cudarc loads the driver on first use and panics if there is none: that becomes an error about
    // this machine.
    let device = std::panic::catch_unwind(|| {
        // A stream of its own: candle's default is one stream per thread, where the work of two
        // threads would not be in order.
        let device = Device::new_cuda_with_stream(ordinal)?;
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = &device {
            taper_candle_ops::cuda::prepare(cuda)?;
        }
        Ok::<_, candle_core::Error>(device)
    });
    match device {
        Ok(Ok(device)) => {
            opened.insert(ordinal, device.clone());
            Ok(device)
        }
        Ok(Err(error)) => {
            // With a backtrace, if there is one, below.
            let error = error.to_string();
            let error = error.lines().next().unwrap_or_default();
            fail(format!(
                "this machine has no usable CUDA device {ordinal} ({error}): see `nvidia-smi`, or use the device cpu"
            ))
        }
        Err(_) => fail(
            "this machine has no CUDA driver (libcuda cannot be loaded): install it, set LD_LIBRARY_PATH, \
             or use the device cpu"
                .into(),
        ),
    }
}

/// Bytes that can be allocated on a device, or none if that is not known, as on the CPU.
///
/// # Errors
/// What the driver says.
pub fn free_memory(device: &Device) -> Result<Option<usize>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        return Ok(Some(taper_candle_ops::cuda::free_memory(cuda)?));
    }
    let _ = device;
    Ok(None)
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;

    #[test]
    fn cuda_in_a_cpu_build_is_a_clear_error() {
        let error = open_device(DeviceChoice::Cuda(1)).unwrap_err().to_string();
        assert!(error.contains("'cuda:1'") && error.contains("features cuda"), "{error}");
        assert!(open_device(DeviceChoice::Auto).unwrap().is_cpu());
    }
}
