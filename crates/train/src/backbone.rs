use std::ops::Range;

use candle_core::Device;
use taper_candle::{FrozenNetwork, FrozenType, Readback, Transfers};
use taper_core::Preprocessing;
use taper_feature_cache::{Key, digest};
use taper_graph::{Graph, WeightSource};
use taper_plan::{FrozenPlan, Kernels, Output, PlanError, PlanOptions, Precision, Workspace};

use crate::{Error, Result};

/// A frozen network from pixels to features (or to its own logits): the compiled plan on the CPU,
/// candle elsewhere.
#[derive(Debug)]
pub struct Backbone {
    form: Form,
    preprocessing: Preprocessing,
    width: usize,
    /// What its graph and settings come to, in the keys of cached features.
    settings: String,
    identity: Option<Key>,
}

/// Raised when the same settings begin to give other features.
const FEATURES_VERSION: u32 = 1;

#[derive(Debug)]
enum Form {
    Plan(Box<(FrozenPlan, Workspace)>),
    Candle(Box<Candle>),
}

/// A network on a device.
#[derive(Debug)]
struct Candle {
    network: FrozenNetwork,
    transfers: Transfers,
    /// Pictures that go through together.
    batch: usize,
}

impl Candle {
    /// Sends pixels and queues what is done with them; bytes go over the bus, and are normalised on
    /// the device.
    fn run(&mut self, pixels: &[u8], n: usize, size: usize) -> taper_candle::Result<Readback> {
        let network = &self.network;
        let rows =
            self.transfers.send(pixels, [n, size, size, 3], |pixels| network.forward(pixels))?;
        self.transfers.read_back(&rows)
    }
}

/// Rows of features that a device may still be working on.
#[derive(Debug)]
pub struct Pending(Rows);

#[derive(Debug)]
enum Rows {
    Here(Vec<f32>),
    There(Vec<Readback>),
}

impl Pending {
    /// Waits for the rows: f32 `[n, width]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self.0 {
            Rows::Here(rows) => Ok(rows),
            Rows::There(parts) => {
                let mut rows = Vec::new();
                for part in parts {
                    rows.extend(part.wait()?);
                }
                Ok(rows)
            }
        }
    }
}

/// Pictures that go through a plan together: few enough to notice a signal within a second on slow
/// networks.
const PLAN_BATCH: usize = 16;

fn settings(
    graph: &Graph,
    preprocessing: &Preprocessing,
    output: Output,
    precision: Precision,
    kernels: &str,
) -> String {
    let graph = match output {
        Output::Features => graph.without_classifier(),
        Output::Logits => graph.clone(),
    };
    format!("{graph:?} {preprocessing:?} {output:?} {precision} {kernels}")
}

impl Backbone {
    /// Prepares the network for pictures of the size that `preprocessing` says, on this device.
    ///
    /// # Errors
    /// If the size or the weights do not fit the graph; [`Error::Setting`] if the precision or the
    /// kernels cannot be had here. The plan names a layer that it cannot compute.
    pub fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: Preprocessing,
        output: Output,
        precision: Precision,
        kernels: Kernels,
        device: &Device,
    ) -> Result<Self> {
        if !device.is_cpu() {
            if kernels != Kernels::Auto {
                return Err(unavailable(
                    kernels,
                    "only frozen plans, which run on the CPU, have kernels to choose from",
                ));
            }
            return Self::candle(graph, weights, preprocessing, output, precision, device);
        }
        let size = preprocessing.size as usize;
        let options = PlanOptions::new([size, size], preprocessing.mean, preprocessing.std)
            .precision(precision)
            .kernels(kernels)
            .output(output);
        let plan = FrozenPlan::compile(graph, weights, &options).map_err(|error| match error {
            PlanError::Kernels(problem) => unavailable(kernels, &problem.to_string()),
            _ if matches!(precision, Precision::F16 | Precision::Tf32) => Error::Setting {
                field: "precision",
                value: precision.to_string(),
                remedy: "only CUDA computes in it: use f32 or bf16, or --device cuda".into(),
            },
            other => other.into(),
        })?;
        let workspace = plan.workspace(rayon::current_num_threads());
        let width = plan.output_width();
        let settings =
            settings(graph, &preprocessing, output, precision, &plan.class().to_string());
        let form = Form::Plan(Box::new((plan, workspace)));
        Ok(Self { form, preprocessing, width, settings, identity: None })
    }

    /// The same through candle, on any device: the reference, and the way of CUDA.
    ///
    /// # Errors
    /// As [`Backbone::new`].
    pub fn candle(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: Preprocessing,
        output: Output,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let graph = match output {
            Output::Features => graph.without_classifier(),
            Output::Logits => graph.clone(),
        };
        // Devices and libraries sum in other orders: features of one are not those of another.
        let kernels = match (device.is_cpu(), cfg!(feature = "cudnn")) {
            (true, _) => "candle on the CPU",
            (false, true) => "CUDA with cuDNN",
            (false, false) => "CUDA",
        };
        let settings = settings(&graph, &preprocessing, output, precision, kernels);
        let size = preprocessing.size as usize;
        let width = graph.shapes(size, size)?[graph.output()].channels();
        let dtype = match precision {
            Precision::F32 => FrozenType::F32,
            Precision::Tf32 => FrozenType::Tf32,
            Precision::F16 => FrozenType::F16,
            Precision::Bf16 => FrozenType::Bf16,
        };
        let network = FrozenNetwork::compile(&graph, weights, &preprocessing, dtype, device)?;
        let batch = network.batch()?;
        let transfers = Transfers::new(device)?;
        let form = Form::Candle(Box::new(Candle { network, transfers, batch }));
        Ok(Self { form, preprocessing, width, settings, identity: None })
    }

    /// Says which weights these are, by their digest: from then on its features can be cached.
    #[must_use]
    pub fn with_digest(mut self, weights: &str) -> Self {
        let version = FEATURES_VERSION.to_le_bytes();
        let parts = [version.as_slice(), self.settings.as_bytes(), weights.as_bytes()];
        self.identity = Some(digest(parts));
        self
    }

    /// What decides its features besides the pictures: weights, graph, preprocessing, precision,
    /// kernels. None if the weights have no digest.
    pub fn identity(&self) -> Option<&Key> {
        self.identity.as_ref()
    }

    /// How many numbers it gives for each picture.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How pictures must be prepared.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Which instructions it runs on, e.g. `avx512`, or `candle`.
    pub fn kernels(&self) -> String {
        match &self.form {
            Form::Plan(plan) => plan.0.class().to_string(),
            Form::Candle(_) => "candle".into(),
        }
    }

    /// How many pictures should go through it together: on a device, what its memory holds.
    pub fn batch(&self) -> usize {
        match &self.form {
            Form::Plan(_) => PLAN_BATCH,
            Form::Candle(candle) => candle.batch,
        }
    }

    /// Sets how many pictures go through a device together, at least 1; a plan knows best itself.
    pub fn set_batch(&mut self, batch: usize) {
        if let Form::Candle(candle) = &mut self.form {
            candle.batch = batch.max(1);
        }
    }

    /// Runs `n` prepared pictures through the network: u8 `[n, size, size, 3]` in, f32 `[n, width]`
    /// out.
    ///
    /// # Errors
    /// If a buffer has the wrong length, or candle fails.
    pub fn forward(&mut self, pixels: &[u8], n: usize, out: &mut [f32]) -> Result<()> {
        if let Form::Plan(plan) = &mut self.form {
            let (plan, workspace) = plan.as_mut();
            return Ok(plan.forward(workspace, pixels, n, out)?);
        }
        let rows = self.submit(pixels, n)?.wait()?;
        if rows.len() != out.len() {
            return Err(Error::Setting {
                field: "output",
                value: out.len().to_string(),
                remedy: format!("the network gives {} numbers for {n} pictures", rows.len()),
            });
        }
        out.copy_from_slice(&rows);
        Ok(())
    }

    /// The same, without waiting for a device: pictures can be decoded meanwhile.
    ///
    /// Where a device has no room for all of them, they go through it in halves, from then on:
    /// [`Backbone::batch`] says how many still fit.
    ///
    /// # Errors
    /// As [`Backbone::forward`]; if a device has no room for a single picture.
    pub fn submit(&mut self, pixels: &[u8], n: usize) -> Result<Pending> {
        match &mut self.form {
            Form::Plan(plan) => {
                let (plan, workspace) = plan.as_mut();
                let mut rows = vec![0.0; n * self.width];
                plan.forward(workspace, pixels, n, &mut rows)?;
                Ok(Pending(Rows::Here(rows)))
            }
            Form::Candle(candle) => {
                let size = self.preprocessing.size as usize;
                let bytes = size * size * 3;
                if pixels.len() != n * bytes {
                    return Err(Error::Setting {
                        field: "pixels",
                        value: pixels.len().to_string(),
                        remedy: format!("{n} pictures have {} bytes", n * bytes),
                    });
                }
                let mut batch = candle.batch;
                let parts = halving(&mut batch, n, |part| {
                    let pixels = &pixels[part.start * bytes..part.end * bytes];
                    candle.run(pixels, part.len(), size)
                });
                candle.batch = batch;
                Ok(Pending(Rows::There(parts?)))
            }
        }
    }
}

fn unavailable(kernels: Kernels, problem: &str) -> Error {
    let remedy = format!("{problem}: use --kernels auto");
    Error::Setting { field: "kernels", value: kernels.to_string(), remedy }
}

/// Runs 0..n in parts of at most `batch`; where a part does not fit into the device's memory, in
/// parts of half that size, and so on.
fn halving<T>(
    batch: &mut usize,
    n: usize,
    mut run: impl FnMut(Range<usize>) -> taper_candle::Result<T>,
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
                    return Err(Error::Setting {
                        field: "device",
                        value: "out of memory".into(),
                        remedy: format!(
                            "not even one picture fits ({error}): use a smaller --size, --precision \
                             bf16, a smaller model, or --device cpu"
                        ),
                    });
                }
                *batch = (end - start).div_ceil(2);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_does_not_fit_is_halved_until_it_does() {
        let full = || {
            taper_candle::Error::Candle(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into()))
        };
        let room = |most: usize| {
            move |part: Range<usize>| if part.len() > most { Err(full()) } else { Ok(part) }
        };
        let mut batch = 64;
        assert_eq!(halving(&mut batch, 20, room(6)).unwrap(), [0..5, 5..10, 10..15, 15..20]);
        assert_eq!(batch, 5);
        let mut batch = 8;
        assert_eq!(halving(&mut batch, 10, room(100)).unwrap(), [0..8, 8..10]);
        let error = halving(&mut batch, 10, room(0)).unwrap_err().to_string();
        assert!(error.contains("not even one picture") && error.contains("--size"), "{error}");
        let broken =
            |_| Err::<(), _>(taper_candle::Error::Candle(candle_core::Error::Msg("broken".into())));
        assert!(halving(&mut batch, 3, broken).unwrap_err().to_string().contains("broken"));
        assert_eq!(batch, 1);
    }

    #[test]
    fn kernels_are_what_was_asked_for_or_a_wrong_setting() {
        let model = taper_zoo::find("efficientnet-lite0").unwrap();
        let weights = taper_zoo::resolve(model, &taper_zoo::WeightsChoice::Pretrained).unwrap();
        let preprocessing = Preprocessing { size: 32, ..model.preprocessing };
        for kernels in [Kernels::Auto, Kernels::Avx512, Kernels::Avx2, Kernels::Portable] {
            let backbone = Backbone::new(
                &model.graph(),
                weights.source.as_ref(),
                preprocessing,
                Output::Features,
                Precision::F32,
                kernels,
                &Device::Cpu,
            );
            match kernels.resolve() {
                Ok(class) => assert_eq!(backbone.unwrap().kernels(), class.name()),
                Err(_) => {
                    let error = backbone.unwrap_err();
                    let expected = format!("--kernels is {kernels}: this processor has no");
                    assert!(error.to_string().contains(&expected), "{error}");
                    assert!(error.is_usage());
                }
            }
        }
        // On processors that have everything, the loop above sees no error.
        let error = unavailable(Kernels::Avx2, "this processor has no avx2");
        assert_eq!(
            error.to_string(),
            "--kernels is avx2: this processor has no avx2: use --kernels auto"
        );
        assert!(error.is_usage());
    }
}
