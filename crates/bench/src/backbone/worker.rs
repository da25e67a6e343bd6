//! A worker: a process that works as requested on standard input.

use anyhow::Context;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;
use serde_json::Value;
use taper_graph::Weights;
use taper_plan::{FrozenPlan, PlanOptions, Workspace};

use super::work::Work;
use crate::protocol::{Loaded, Worker, serve};

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
        other => anyhow::bail!("no worker is called {other}"),
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
    use taper_plan::Precision;

    use super::*;
    use crate::backbone::case::Case;

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
}
