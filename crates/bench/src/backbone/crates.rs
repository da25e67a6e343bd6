//! The peers that are crates.

use anyhow::{Context, bail};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Func, VarBuilder};
use rten::{Model, ModelOptions};
use serde::Deserialize;
use serde_json::Value;
use taper_candle::{Network, Pass};
use taper_graph::{WeightSource, Weights};

use super::work::Work;
use crate::protocol::{Loaded, Worker, serve};

pub(crate) fn work(name: &str) -> anyhow::Result<()> {
    match name {
        "candle" => serve(&mut Candle::default()),
        "candle-transformers" => serve(&mut CandleTransformers::default()),
        "rten" => serve(&mut Rten::default()),
        other => bail!("no worker is called {other}"),
    }
}

fn batch(work: &Work) -> anyhow::Result<Tensor> {
    let shape = (work.batch, 3, work.size, work.size);
    Ok(Tensor::from_vec(work.normalised(), shape, &Device::Cpu)?)
}

fn first_row(features: &Tensor) -> anyhow::Result<Vec<f32>> {
    Ok(features.get(0)?.flatten_all()?.to_vec1()?)
}

/// candle's own layers, put together by `taper_candle`.
#[derive(Default)]
struct Candle(Option<(Network, Tensor)>);

impl Worker for Candle {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let graph = work.graph()?;
        let network = Network::loaded(&graph, &Weights::seeded(&graph), &Device::Cpu)?;
        let x = batch(&work)?;
        let sample = first_row(&network.forward(&x, Pass::Evaluation)?)?;
        self.0 = Some((network, x));
        Ok(Loaded { version: "candle 0.11.1".into(), sample })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        let (network, x) = self.0.as_ref().context("nothing is loaded")?;
        network.forward(x, Pass::Evaluation)?;
        Ok(x.dim(0)? as f64)
    }
}

/// ResNet-50 as candle-transformers has it.
#[derive(Default)]
struct CandleTransformers(Option<(Func<'static>, Tensor)>);

impl Worker for CandleTransformers {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        if work.network != "resnet50" {
            bail!(
                "candle-transformers has no {} that takes batches and ends in features",
                work.network
            );
        }
        let graph = work.graph()?;
        let weights = Weights::seeded(&graph);
        let mut tensors = std::collections::HashMap::new();
        for parameter in graph.parameters() {
            let values = weights.values(&parameter.name).context("a tensor is missing")?;
            let tensor = Tensor::from_slice(&values, parameter.shape.as_slice(), &Device::Cpu)?;
            tensors.insert(parameter.name, tensor);
        }
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let network = candle_transformers::models::resnet::resnet50_no_final_layer(builder)?;
        let x = batch(&work)?;
        let sample = first_row(&network.forward(&x)?)?;
        self.0 = Some((network, x));
        Ok(Loaded { version: "candle-transformers 0.11.1".into(), sample })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        let (network, x) = self.0.as_ref().context("nothing is loaded")?;
        network.forward(x)?;
        Ok(x.dim(0)? as f64)
    }
}

/// The ONNX file through rten.
#[derive(Default)]
struct Rten(Option<(Model, rten::Value, usize)>);

impl Rten {
    fn run(&self) -> anyhow::Result<Vec<f32>> {
        let (model, pictures, _) = self.0.as_ref().context("nothing is loaded")?;
        let features = model.run_one(pictures.into(), None)?;
        let (_, values) = features.into_shape_vec::<f32, 2>()?;
        Ok(values)
    }
}

impl Worker for Rten {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let file = work.model.as_ref().context("no ONNX file")?;
        // Packed once, like everybody's.
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(file)?;
        let shape = [work.batch, 3, work.size, work.size];
        let pictures = rten::Value::from_shape(&shape, work.normalised())?;
        self.0 = Some((model, pictures, work.batch));
        let mut sample = self.run()?;
        sample.truncate(sample.len() / work.batch);
        Ok(Loaded { version: "rten 0.27.0".into(), sample })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        self.run()?;
        Ok(self.0.as_ref().map_or(0, |(_, _, batch)| *batch) as f64)
    }
}
