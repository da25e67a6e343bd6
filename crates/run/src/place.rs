use taper_core::{DeviceChoice, FrozenBackbone, OutOfRange, Precision, Preprocessing};
use taper_graph::{Graph, WeightSource};
use taper_model::PlanBackbone;
use taper_plan::{Kernels, Output};

use crate::{CheckedRecipe, Result};

/// Whether this build has candle, and so [`Place::through_candle`].
pub const WITH_CANDLE: bool = cfg!(feature = "candle");

/// The opened device on which networks run: the requested one, or an error.
#[derive(Debug, Clone)]
pub enum Place {
    /// The compiled plan and heads over slices.
    Cpu,
    /// candle, on a GPU; with the number of the device.
    #[cfg(feature = "candle")]
    Gpu(candle_core::Device, usize),
}

impl Place {
    /// Opens the device.
    ///
    /// # Errors
    /// If this build or this machine does not have it. `auto` then takes the CPU.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::Cpu),
            DeviceChoice::Auto => Ok(Self::open(DeviceChoice::Cuda(0)).unwrap_or(Self::Cpu)),
            #[cfg(feature = "candle")]
            DeviceChoice::Cuda(ordinal) => {
                Ok(Self::Gpu(taper_candle::open_device(choice)?, ordinal))
            }
            #[cfg(not(feature = "candle"))]
            DeviceChoice::Cuda(_) => {
                let remedy = "this build has no CUDA support: build with the features cuda and cudnn, or use cpu";
                Err(OutOfRange::new("device", choice, remedy).into())
            }
        }
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// The device that was opened, named as in [`DeviceChoice`].
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => DeviceChoice::Cpu.to_string(),
            #[cfg(feature = "candle")]
            Self::Gpu(_, ordinal) => DeviceChoice::Cuda(*ordinal).to_string(),
        }
    }

    /// A frozen network here. `identified` determines its identity, so that its features can be
    /// cached.
    ///
    /// # Errors
    /// If the size or the weights do not fit, or the precision or kernels are not available here.
    pub fn backbone(&self, spec: &BackboneSpec<'_>) -> Result<Box<dyn FrozenBackbone>> {
        match self {
            Self::Cpu => Ok(Box::new(plan(spec)?)),
            #[cfg(feature = "candle")]
            Self::Gpu(device, _) => {
                let kernels = spec.kernels;
                if kernels != Kernels::Auto {
                    let remedy = "only the CPU has kernels to choose from: use auto";
                    return Err(OutOfRange::new("kernels", kernels, remedy).into());
                }
                through_candle(spec, device)
            }
        }
    }

    /// The same through candle, the reference, also on the CPU.
    ///
    /// # Errors
    /// As [`Place::backbone`]; without candle in this build.
    pub fn through_candle(&self, spec: &BackboneSpec<'_>) -> Result<Box<dyn FrozenBackbone>> {
        #[cfg(feature = "candle")]
        return match self {
            Self::Cpu => through_candle(spec, &candle_core::Device::Cpu),
            Self::Gpu(device, _) => through_candle(spec, device),
        };
        #[cfg(not(feature = "candle"))]
        return {
            let remedy = "this build has no candle: build with the feature candle, or use plan";
            Err(OutOfRange::new("through", format!("candle for {}", spec.graph.name()), remedy)
                .into())
        };
    }
}

/// The network on the CPU.
pub(crate) fn plan(spec: &BackboneSpec<'_>) -> Result<PlanBackbone> {
    let BackboneSpec { graph, weights, preprocessing, output, precision, kernels, .. } = *spec;
    let plan = PlanBackbone::new(graph, weights, preprocessing, output, precision, kernels)?;
    Ok(if spec.identified { plan.identified(graph, weights, output) } else { plan })
}

/// The network on candle, on any device: the implementation for CUDA, and on the CPU its reference.
#[cfg(feature = "candle")]
fn through_candle(
    spec: &BackboneSpec<'_>,
    device: &candle_core::Device,
) -> Result<Box<dyn FrozenBackbone>> {
    let graph = match spec.output {
        Output::Features => spec.graph.without_classifier(),
        Output::Logits => spec.graph.clone(),
    };
    let backbone = taper_candle::DeviceBackbone::new(
        &graph,
        spec.weights,
        spec.preprocessing,
        spec.precision,
        device,
    )?;
    Ok(Box::new(backbone))
}

/// What a frozen network is made of.
#[derive(Clone, Copy)]
pub struct BackboneSpec<'a> {
    /// Its layers.
    pub graph: &'a Graph,
    /// Their weights.
    pub weights: &'a dyn WeightSource,
    /// How pictures are prepared for it.
    pub preprocessing: Preprocessing,
    /// What it gives.
    pub output: Output,
    /// What it computes in.
    pub precision: Precision,
    /// Which instructions on the CPU.
    pub kernels: Kernels,
    /// Whether its identity is determined, which takes a pass over the weights.
    pub identified: bool,
}

impl<'a> BackboneSpec<'a> {
    /// The frozen network of a recipe, to its features, in f32.
    pub fn features(checked: &'a CheckedRecipe, weights: &'a dyn WeightSource) -> Self {
        Self {
            graph: checked.backbone(),
            weights,
            preprocessing: *checked.preprocessing(),
            output: Output::Features,
            precision: Precision::F32,
            kernels: checked.recipe().kernels,
            identified: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use taper_core::Fault;

    use super::*;

    #[test]
    fn kernels_are_what_was_asked_for_or_a_wrong_setting() {
        let model = taper_zoo::find("efficientnet-lite0").unwrap();
        let weights = taper_zoo::resolve(model, &taper_zoo::WeightsChoice::Pretrained).unwrap();
        let preprocessing = Preprocessing { size: 32, ..model.preprocessing };
        for kernels in [Kernels::Auto, Kernels::Avx512, Kernels::Avx2, Kernels::Portable] {
            let spec = BackboneSpec {
                graph: &model.graph(),
                weights: weights.source.as_ref(),
                preprocessing,
                output: Output::Features,
                precision: Precision::F32,
                kernels,
                identified: false,
            };
            match (Place::Cpu.backbone(&spec), kernels.resolve()) {
                (backbone, Ok(class)) => assert_eq!(backbone.unwrap().runs_on(), class.name()),
                (backbone, Err(_)) => {
                    let error = backbone.unwrap_err();
                    let expected = format!("kernels is {kernels}: this processor has no");
                    assert!(error.to_string().contains(&expected), "{error}");
                    assert!(error.is_usage());
                }
            }
        }
    }

    #[cfg(not(feature = "candle"))]
    #[test]
    fn a_device_that_this_build_lacks_is_a_clear_error() {
        let error = Place::open(DeviceChoice::Cuda(1)).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("no CUDA support"), "{error}");
        assert!(Place::open(DeviceChoice::Auto).unwrap().is_cpu());
    }
}
