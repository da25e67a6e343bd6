use candle_core::{Device, Tensor};
use taper_candle::{Network, Pass};
use taper_grad::Head;
use taper_graph::{Graph, WeightSource, Weights};

use crate::{Features, Result};

/// Rows that are evaluated together.
const BATCH: usize = 512;

/// Rows that go to a device, and whose logits come back, together: it is waited for once for all of them.
const ROWS_THERE: usize = 64 * BATCH;

/// A head that gives logits: over slices on the CPU, through candle elsewhere.
#[derive(Debug, Clone)]
pub struct HeadModel(pub(super) Form);

#[derive(Debug, Clone)]
pub(super) enum Form {
    Slices(Box<Head>),
    Candle(Box<Network>),
}

impl HeadModel {
    /// A head with fresh weights.
    ///
    /// # Errors
    /// If the graph is not a head, or the device has no room.
    pub fn initialised(graph: &Graph, seed: u64, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self(Form::Slices(Box::new(Head::initialised(graph, seed)?)))),
            device => Self::candle(graph, seed, device),
        }
    }

    /// The same through candle, on any device: the reference, and the way of CUDA.
    ///
    /// # Errors
    /// As [`HeadModel::initialised`].
    pub fn candle(graph: &Graph, seed: u64, device: &Device) -> Result<Self> {
        Ok(Self(Form::Candle(Box::new(Network::initialised(graph, seed, device)?))))
    }

    /// A head of the same kind with fresh weights of another seed.
    pub(super) fn anew(&self, seed: u64) -> Result<Self> {
        match &self.0 {
            Form::Slices(head) => Self::initialised(head.graph(), seed, &Device::Cpu),
            Form::Candle(network) => Self::candle(network.graph(), seed, network.device()),
        }
    }

    /// A head with given weights.
    ///
    /// # Errors
    /// If the weights do not fit the graph.
    pub fn loaded(graph: &Graph, weights: &dyn WeightSource, device: &Device) -> Result<Self> {
        Ok(Self(if device.is_cpu() {
            Form::Slices(Box::new(Head::loaded(graph, weights)?))
        } else {
            Form::Candle(Box::new(Network::loaded(graph, weights, device)?))
        }))
    }

    /// The architecture.
    pub fn graph(&self) -> &Graph {
        match &self.0 {
            Form::Slices(head) => head.graph(),
            Form::Candle(network) => network.graph(),
        }
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        match &self.0 {
            Form::Slices(_) => Device::Cpu,
            Form::Candle(network) => network.device().clone(),
        }
    }

    /// A copy of all tensors.
    ///
    /// # Errors
    /// If the device cannot be read.
    pub fn weights(&self) -> Result<Weights> {
        Ok(match &self.0 {
            Form::Slices(head) => head.weights(),
            Form::Candle(network) => network.weights()?,
        })
    }

    /// The logits of rows of features: f32 `[n, width]` in, `[n, classes]` out.
    ///
    /// # Errors
    /// If the length does not fit, or candle fails.
    pub fn logits(&self, rows: &[f32]) -> Result<Vec<f32>> {
        match &self.0 {
            Form::Slices(head) => {
                let mut out = vec![0.0; rows.len() / head.width().max(1) * head.classes()];
                head.evaluate(rows, &mut out)?;
                Ok(out)
            }
            Form::Candle(network) => {
                let width = network.graph().shapes(0, 0)?[0].channels();
                let n = rows.len() / width;
                let rows = Tensor::from_slice(rows, (n, width), network.device())?;
                let parts = (0..n).step_by(BATCH).map(|start| {
                    let part = rows.narrow(0, start, BATCH.min(n - start))?;
                    Ok(network.forward(&part, Pass::Evaluation)?)
                });
                let parts = parts.collect::<Result<Vec<_>>>()?;
                if parts.is_empty() {
                    return Ok(Vec::new());
                }
                Ok(Tensor::cat(&parts, 0)?.flatten_all()?.to_vec1()?)
            }
        }
    }

    /// Measures it on features: over all rows, the last partial batch too.
    ///
    /// # Errors
    /// As [`HeadModel::logits`].
    pub fn measure(&self, features: &Features, classes: usize) -> Result<taper_metrics::Metrics> {
        let mut metrics = taper_metrics::Metrics::new(classes)?;
        let together = match &self.0 {
            Form::Slices(_) => BATCH,
            Form::Candle(_) => ROWS_THERE,
        };
        let rows = features.values.chunks(together * features.width.max(1));
        for (rows, labels) in rows.zip(features.labels.chunks(together)) {
            metrics.update_logits(&self.logits(rows)?, labels)?;
        }
        Ok(metrics)
    }
}
