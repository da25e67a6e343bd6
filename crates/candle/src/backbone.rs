use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::{Device, DeviceLocation};
use taper_core::{
    AnyFault, Digest, FrozenBackbone, OutOfRange, PendingRows, Precision, Preprocessing,
};
use taper_graph::{Graph, WeightSource, features_identity};

use crate::{Error, FrozenNetwork, Readback, Result, Transfers};

/// A frozen network on a candle device: the implementation for CUDA, and on the CPU its reference.
#[derive(Debug)]
pub struct DeviceBackbone {
    network: FrozenNetwork,
    transfers: Mutex<Transfers>,
    /// Pictures that go through it together.
    batch: AtomicUsize,
    preprocessing: Preprocessing,
    shape: [usize; 1],
    identity: Digest,
    runs_on: String,
}

impl DeviceBackbone {
    /// Prepares the whole network for pictures of the size in `preprocessing`. It may end with a
    /// map or with tokens: a row then holds all of it, channels last.
    ///
    /// # Errors
    /// If the size or the weights do not fit the graph, or the device has no room; a layer that
    /// cannot be computed is named.
    pub fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: Preprocessing,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let size = preprocessing.size as usize;
        let shape = [graph.shapes(size, size)?[graph.output()].elements()];
        let network = FrozenNetwork::compile(graph, weights, &preprocessing, precision, device)?;
        let batch = AtomicUsize::new(network.batch()?.max(1));
        // Devices and libraries sum in different orders, so the features of one are not those of
        // another.
        let (computed_by, runs_on) = match device.location() {
            DeviceLocation::Cuda { gpu_id } if cfg!(feature = "cudnn") => {
                ("CUDA with cuDNN", format!("cuda:{gpu_id}"))
            }
            DeviceLocation::Cuda { gpu_id } => ("CUDA", format!("cuda:{gpu_id}")),
            _ => ("candle on the CPU", "candle".into()),
        };
        let identity = features_identity(graph, weights, &preprocessing, precision, computed_by);
        let transfers = Mutex::new(Transfers::new(device)?);
        Ok(Self { network, transfers, batch, preprocessing, shape, identity, runs_on })
    }

    /// Sets how many pictures go through the device together, at least 1.
    pub fn set_batch(&self, batch: usize) {
        self.batch.store(batch.max(1), Ordering::Relaxed);
    }

    /// Sends pixels and queues the computation; bytes go over the bus, and are normalised on the
    /// device.
    fn run(&self, pixels: &[u8], n: usize) -> Result<Readback> {
        let size = self.preprocessing.size as usize;
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        let rows =
            transfers.send(pixels, [n, size, size, 3], |pixels| self.network.forward(pixels))?;
        transfers.read_back(&rows)
    }
}

impl FrozenBackbone for DeviceBackbone {
    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn identity(&self) -> Option<Digest> {
        Some(self.identity)
    }

    fn runs_on(&self) -> String {
        self.runs_on.clone()
    }

    fn batch(&self) -> usize {
        self.batch.load(Ordering::Relaxed)
    }

    fn submit(&self, pixels: &[u8], n: usize) -> std::result::Result<PendingRows, AnyFault> {
        let size = self.preprocessing.size as usize;
        let bytes = size * size * 3;
        if pixels.len() != n * bytes {
            let remedy = format!("{n} pictures have {} bytes", n * bytes);
            return Err(AnyFault::new(OutOfRange::new("pixels", pixels.len(), remedy)));
        }
        let mut batch = self.batch();
        let parts = halving(&mut batch, n, |part| {
            self.run(&pixels[part.start * bytes..part.end * bytes], part.len())
        });
        self.set_batch(batch);
        let parts = parts.map_err(AnyFault::new)?;
        Ok(PendingRows::pending(move || {
            let mut rows = Vec::new();
            for part in parts {
                rows.extend(part.wait().map_err(AnyFault::new)?);
            }
            Ok(rows)
        }))
    }
}

/// Runs 0..n in parts of at most `batch`; where a part does not fit into the device's memory, in
/// parts of half that size, and so on.
fn halving<T>(
    batch: &mut usize,
    n: usize,
    mut run: impl FnMut(Range<usize>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut done = Vec::new();
    let mut start = 0;
    while start < n {
        let end = n.min(start + (*batch).max(1));
        match run(start..end) {
            Ok(part) => {
                done.push(part);
                start = end;
            }
            Err(error) if error.is_out_of_memory() => {
                if end - start == 1 {
                    return Err(Error::NoRoom { source: error.into() });
                }
                *batch = (end - start).div_ceil(2);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_does_not_fit_is_halved_until_it_does() {
        let full = || Error::Candle(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into()));
        let room = |most: usize| {
            move |part: Range<usize>| if part.len() > most { Err(full()) } else { Ok(part) }
        };
        let mut batch = 64;
        assert_eq!(halving(&mut batch, 20, room(6)).unwrap(), [0..5, 5..10, 10..15, 15..20]);
        assert_eq!(batch, 5);
        let mut batch = 8;
        assert_eq!(halving(&mut batch, 10, room(100)).unwrap(), [0..8, 8..10]);
        let error = halving(&mut batch, 10, room(0)).unwrap_err().to_string();
        assert!(
            error.contains("not even one picture") && error.contains("smaller pictures"),
            "{error}"
        );
        let broken = |_| Err::<(), _>(Error::Candle(candle_core::Error::Msg("broken".into())));
        assert!(halving(&mut batch, 3, broken).unwrap_err().to_string().contains("broken"));
        assert_eq!(batch, 1);
    }
}
