use std::path::PathBuf;

use anyhow::{Context, bail};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_graph::{Graph, Weights, networks};
use taper_plan::{FrozenPlan, PlanOptions, Precision, Workspace};

use super::case::Case;
use crate::protocol::{Loaded, Worker, serve};

/// What a worker should do: run pictures through a network with [`Weights::seeded`].
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
        other => bail!("unknown network {other}"),
    };
    Ok(graph.without_classifier())
}

/// The same pictures for all contestants: u8 `[batch, size, size, 3]`; `python/peers.py` and
/// `python/cuda.py` have the same formula.
pub(crate) fn pixels(batch: usize, size: usize) -> Vec<u8> {
    (0..batch * size * size * 3).map(|i| (i as u64 * 7919 % 251) as u8).collect()
}

/// Who is to work.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerOptions {
    /// taper, or a peer that is a crate.
    name: String,
}

/// Works as requested on standard input.
pub(crate) fn work(options: &WorkerOptions) -> anyhow::Result<()> {
    match options.name.as_str() {
        "taper" => serve(&mut Taper::default()),
        #[cfg(feature = "peers")]
        other => super::crates::work(other),
        #[cfg(not(feature = "peers"))]
        other => bail!("no worker is called {other}"),
    }
}

/// The frozen plan.
#[derive(Default)]
struct Taper(Option<Ready>);

struct Ready {
    plan: FrozenPlan,
    workspace: Workspace,
    pool: ThreadPool,
    pixels: Vec<u8>,
    features: Vec<f32>,
    batch: usize,
}

impl Worker for Taper {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let graph = work.graph()?;
        let options = PlanOptions::new([work.size; 2], work.mean, work.std)
            .precision(work.precision)
            .kernels(work.kernels.parse()?);
        let plan = FrozenPlan::compile(&graph, &Weights::seeded(&graph), &options)?;
        let version = format!("taper {}, {}", env!("CARGO_PKG_VERSION"), plan.class());
        let mut ready = Ready {
            workspace: plan.workspace(work.threads),
            pool: ThreadPoolBuilder::new().num_threads(work.threads).build()?,
            pixels: work.pixels(),
            features: vec![0.0; work.batch * plan.output_width()],
            batch: work.batch,
            plan,
        };
        ready.pass()?;
        let sample = ready.features[..ready.plan.output_width()].to_vec();
        self.0 = Some(ready);
        Ok(Loaded { version, sample })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        self.0.as_mut().context("nothing is loaded")?.pass()
    }
}

impl Ready {
    fn pass(&mut self) -> anyhow::Result<f64> {
        let Self { plan, workspace, pool, pixels, features, batch } = self;
        pool.install(|| plan.forward(workspace, pixels, *batch, features))?;
        Ok(*batch as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_computes_the_features_of_its_work() {
        let case =
            Case { network: "efficientnet-lite0", size: 32, precision: Precision::F32, batch: 2 };
        let work = serde_json::to_value(Work::new(&case, 2)).unwrap();
        let mut taper = Taper::default();
        assert!(taper.pass().is_err(), "nothing is loaded yet");
        let loaded = taper.load(&work).unwrap();
        assert_eq!(loaded.sample.len(), 1280);
        assert!(loaded.sample.iter().any(|v| *v != 0.0));
        assert_eq!(taper.pass().unwrap(), 2.0);
        let unknown = serde_json::json!({"network": "resnet51"});
        assert!(taper.load(&unknown).is_err());
    }

    #[cfg(feature = "peers")]
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
