use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use taper_graph::Graph;
use taper_networks as networks;
use taper_plan::Precision;

use super::case::Case;

/// What a worker should do: run pictures through a network with [`taper_graph::Weights::seeded`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) network: String,
    /// Side of the pictures in pixels.
    pub(crate) size: usize,
    /// Pictures that go through the network together.
    pub(crate) batch: usize,
    /// `f32` or `bf16`: Taper's alone; a peer knows it from its name.
    pub(crate) precision: Precision,
    /// Taper's instructions.
    pub(crate) kernels: String,
    pub(crate) threads: usize,
    /// The normalisation of pictures, for pixels in [0, 1].
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    /// The network as an ONNX file.
    pub(crate) model: Option<PathBuf>,
}

impl Work {
    pub(crate) fn new(case: &Case, threads: usize) -> Self {
        Self {
            network: case.network.into(),
            size: case.size,
            batch: case.batch,
            precision: case.precision,
            kernels: "auto".into(),
            threads,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            model: None,
        }
    }

    /// The network up to its features.
    pub(crate) fn graph(&self) -> anyhow::Result<Graph> {
        graph(&self.network)
    }

    /// The pictures: u8 `[batch, size, size, 3]`.
    pub(crate) fn pixels(&self) -> Vec<u8> {
        pixels(self.batch, self.size)
    }

    /// The same, normalised, as f32 `[batch, 3, size, size]`.
    #[cfg(feature = "peers")]
    pub(crate) fn normalised(&self) -> Vec<f32> {
        let (pixels, area) = (self.pixels(), self.size * self.size);
        let value = |i: usize| {
            let (picture, channel, place) = (i / (3 * area), i / area % 3, i % area);
            let pixel = f32::from(pixels[(picture * area + place) * 3 + channel]) / 255.0;
            (pixel - self.mean[channel]) / self.std[channel]
        };
        (0..pixels.len()).map(value).collect()
    }
}

/// A network up to its features.
pub(crate) fn graph(network: &str) -> anyhow::Result<Graph> {
    let graph = match network {
        "resnet50" => networks::resnet50(1000),
        "vgg16" => networks::vgg16(1000),
        "efficientnet-lite0" => networks::efficientnet_lite0(1000),
        "clip-vit-b32" => networks::clip_vit_b32(0),
        "fastvit-t8" => networks::fastvit_t8(1000),
        "mobileone-s0" => networks::mobileone_s0(1000),
        other => bail!("unknown network {other}"),
    };
    Ok(graph.without_classifier())
}

/// The same pictures for all contestants: u8 `[batch, size, size, 3]`; `python/peers.py` and
/// `python/cuda.py` have the same formula.
pub(crate) fn pixels(batch: usize, size: usize) -> Vec<u8> {
    (0..batch * size * size * 3).map(|i| (i as u64 * 7919 % 251) as u8).collect()
}

#[cfg(all(test, feature = "peers"))]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_normalised_pictures_agree() {
        let case = Case { network: "resnet50", size: 5, precision: Precision::F32, batch: 2 };
        let work = Work::new(&case, 1);
        let (pixels, floats) = (work.pixels(), work.normalised());
        // Picture 1, row 2, column 3, channel 1.
        let pixel = f32::from(pixels[((5 + 2) * 5 + 3) * 3 + 1]) / 255.0;
        assert_eq!(floats[((3 + 1) * 5 + 2) * 5 + 3], (pixel - 0.456) / 0.224);
    }
}
