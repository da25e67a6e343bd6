use candle_core::{DType, Device, Tensor};
use taper_core::Preprocessing;
use taper_feature_cache::{Key, digest};
use taper_graph::{Graph, WeightSource};
use taper_nn::{Network, Pass};
use taper_plan::{FrozenPlan, Kernels, Output, PlanError, PlanOptions, Precision, Workspace};

use crate::{Error, Result};

/// A frozen network from pixels to features (or to its own logits): the compiled plan on the CPU, candle elsewhere.
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
    Candle(Network),
}

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
    /// If the size or the weights do not fit the graph; [`Error::Setting`] if the precision or the kernels cannot be had
    /// here. The plan names a layer that it cannot compute.
    pub fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: Preprocessing,
        output: Output,
        precision: Precision,
        kernels: Kernels,
        device: &Device,
    ) -> Result<Self> {
        if !device.is_cpu() || !graph.has_plan() {
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
        if precision != Precision::F32 {
            return Err(Error::Setting {
                field: "precision",
                value: precision.to_string(),
                remedy:
                    "candle's backbone computes in f32 only: use --precision f32, or --device cpu"
                        .into(),
            });
        }
        let graph = match output {
            Output::Features => graph.without_classifier(),
            Output::Logits => graph.clone(),
        };
        let size = preprocessing.size as usize;
        let width = graph.shapes(size, size)?[graph.output()].channels();
        let network = Network::loaded(&graph, weights, device)?;
        let settings = settings(&graph, &preprocessing, output, precision, "candle");
        let form = Form::Candle(network);
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

    /// What decides its features besides the pictures: weights, graph, preprocessing, precision, kernels. None if the
    /// weights have no digest.
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

    /// Runs `n` prepared pictures through the network: u8 `[n, size, size, 3]` in, f32 `[n, width]` out.
    ///
    /// # Errors
    /// If a buffer has the wrong length, or candle fails.
    pub fn forward(&mut self, pixels: &[u8], n: usize, out: &mut [f32]) -> Result<()> {
        match &mut self.form {
            Form::Plan(plan) => {
                let (plan, workspace) = plan.as_mut();
                Ok(plan.forward(workspace, pixels, n, out)?)
            }
            Form::Candle(network) => {
                let size = self.preprocessing.size as usize;
                let device = network.device();
                // Bytes go over the bus; they are normalised on the device.
                let x = Tensor::from_slice(pixels, (n, size, size, 3), device)?;
                let x = x.to_dtype(DType::F32)?.permute((0, 3, 1, 2))?.contiguous()?;
                let (scale, shift) = self.preprocessing.affine();
                let per_channel = |v: [f32; 3]| Tensor::new(&v, device)?.reshape((1, 3, 1, 1));
                let x = x.broadcast_mul(&per_channel(scale)?)?;
                let x = x.broadcast_add(&per_channel(shift)?)?;
                let y = network.forward(&x, Pass::Evaluation)?;
                let y = y.flatten_all()?.to_vec1::<f32>()?;
                if y.len() != out.len() {
                    return Err(Error::Setting {
                        field: "output",
                        value: out.len().to_string(),
                        remedy: format!("the network gives {} numbers for {n} pictures", y.len()),
                    });
                }
                out.copy_from_slice(&y);
                Ok(())
            }
        }
    }
}

fn unavailable(kernels: Kernels, problem: &str) -> Error {
    let remedy = format!("{problem}: use --kernels auto");
    Error::Setting { field: "kernels", value: kernels.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

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
