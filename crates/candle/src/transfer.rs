//! Transfers of pixels to a device, and of results back.

use candle_core::{Device, Tensor};

use crate::Result;

/// Copies pictures to a device and results back, without waiting for the device's computation.
///
/// On CUDA both go through page-locked memory: from ordinary memory the driver may make the caller
/// wait for everything that is queued. Pictures are copied in a stream of their own, while the
/// previous batch is computed; results are copied right after their computation, and reading them
/// waits for that copy alone, not for work queued after it.
#[derive(Debug)]
pub struct Transfers {
    device: Device,
    #[cfg(feature = "cuda")]
    lanes: Option<crate::lanes::Lanes>,
}

impl Transfers {
    /// Transfers to and from this device.
    ///
    /// # Errors
    /// If the driver cannot create a stream.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            lanes: match device {
                Device::Cuda(cuda) => Some(crate::lanes::Lanes::new(cuda)?),
                _ => None,
            },
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sends pixels, u8 `[n, height, width, 3]`, and lets `compute` queue the work that reads them:
    /// when it returns, all of that work must be queued. The tensor that it receives is reused for
    /// later batches, so it must not be kept.
    ///
    /// # Errors
    /// If the device has no room; any error of `compute`.
    pub fn send<T>(
        &mut self,
        pixels: &[u8],
        shape: [usize; 4],
        compute: impl FnOnce(&Tensor) -> Result<T>,
    ) -> Result<T> {
        #[cfg(feature = "cuda")]
        if let Some(lanes) = &mut self.lanes {
            return lanes.send(pixels, shape, compute);
        }
        compute(&Tensor::from_slice(pixels, shape.as_slice(), &self.device)?)
    }

    /// Starts copying back an f32 tensor of any shape.
    ///
    /// # Errors
    /// If the tensor is not f32, or the device fails.
    pub fn read_back(&mut self, values: &Tensor) -> Result<Readback> {
        #[cfg(feature = "cuda")]
        if let Some(lanes) = &mut self.lanes {
            return Ok(Readback(Way::There(lanes.read_back(values)?)));
        }
        Ok(Readback(Way::Here(values.flatten_all()?.to_vec1()?)))
    }
}

/// Values that are being copied back from a device.
#[derive(Debug)]
pub struct Readback(Way);

#[derive(Debug)]
enum Way {
    Here(Vec<f32>),
    #[cfg(feature = "cuda")]
    There(crate::lanes::Return),
}

impl Readback {
    /// Waits for the values, in the order of the tensor.
    ///
    /// # Errors
    /// If the device has failed in the meantime.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self.0 {
            Way::Here(values) => Ok(values),
            #[cfg(feature = "cuda")]
            Way::There(values) => Ok(values.wait()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_device;

    /// On a GPU the copies overlap what is queued: values would mix if one did not wait for another
    /// where it must.
    #[test]
    fn many_batches_on_their_way_at_once_do_not_mix() {
        let device = test_device();
        let mut transfers = Transfers::new(&device).unwrap();
        let shape = |n: usize| [n, 4, 5, 3];
        let mut ahead = Vec::new();
        for round in 0..20u8 {
            // Batches that grow and shrink.
            let n = 1 + usize::from(round) * 7 % 5;
            let pixels = vec![round; n * 60];
            let values = transfers
                .send(&pixels, shape(n), |x| {
                    let x = x.to_dtype(candle_core::DType::F32)?;
                    Ok(((x * 2.0)? + 1.0)?)
                })
                .unwrap();
            ahead.push((round, n, transfers.read_back(&values).unwrap()));
        }
        for (round, n, values) in ahead.into_iter().rev() {
            let expected = vec![f32::from(round) * 2.0 + 1.0; n * 60];
            assert_eq!(values.wait().unwrap(), expected, "batch {round}");
        }
        let refused = transfers.send(&[0; 60], shape(1), |_| {
            Err::<(), _>(candle_core::Error::Msg("refused".into()).into())
        });
        assert!(refused.unwrap_err().to_string().contains("refused"));
        let again =
            transfers.send(&[7; 60], shape(1), |x| Ok(x.to_dtype(candle_core::DType::F32)?));
        let values = transfers.read_back(&again.unwrap()).unwrap().wait().unwrap();
        assert_eq!(values, [7.0; 60]);
    }
}
