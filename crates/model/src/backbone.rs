use std::sync::{Mutex, PoisonError};

use taper_core::{
    AnyFault, Digest, FrozenBackbone, OutOfRange, PendingRows, Precision, Preprocessing,
};
use taper_graph::{Graph, WeightSource};
use taper_plan::{FrozenPlan, Kernels, Output, PlanError, PlanOptions, Tap, Workspace};

use crate::{Error, Result};

/// How a model is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The precision of its backbone. Default: the one it was trained with, or f32 if the CPU does
    /// not support that.
    pub precision: Option<Precision>,
    /// Which instructions to use. Default: the best that the processor has.
    pub kernels: Kernels,
}

/// How many pictures go through a plan together: few enough to react to a signal within a second on
/// slow networks.
const BATCH: usize = 16;

/// A frozen network, compiled onto the kernels of the CPU. Many threads may use one: each call has
/// a workspace of its own.
#[derive(Debug)]
pub struct PlanBackbone {
    plan: FrozenPlan,
    preprocessing: Preprocessing,
    shape: [usize; 1],
    identity: Option<Digest>,
    /// The workspaces that are not in use at the moment.
    workspaces: Mutex<Vec<Workspace>>,
}

impl PlanBackbone {
    /// Compiles the network for pictures of the size that `preprocessing` says.
    ///
    /// # Errors
    /// If the size or the weights do not fit the graph; [`Error::Setting`] if the precision or the
    /// kernels are not available here. The plan names a layer that it cannot compute.
    pub fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        preprocessing: Preprocessing,
        output: Output,
        precision: Precision,
        kernels: Kernels,
    ) -> Result<Self> {
        if !precision.is_for_cpu() {
            let remedy = "only CUDA computes in it: use f32 or bf16, or a CUDA device";
            return Err(OutOfRange::new("precision", precision, remedy).into());
        }
        let size = preprocessing.size as usize;
        let options = PlanOptions::new([size, size], preprocessing.mean, preprocessing.std)
            .precision(precision)
            .kernels(kernels)
            .output(output);
        let plan = FrozenPlan::compile(graph, weights, &options).map_err(|error| match error {
            PlanError::Kernels(problem) => {
                OutOfRange::new("kernels", kernels, format!("{problem}: use auto")).into()
            }
            other => Error::from(other),
        })?;
        let shape = [plan.output_width()];
        let workspaces = Mutex::default();
        Ok(Self { plan, preprocessing, shape, identity: None, workspaces })
    }

    /// Determines its identity, from the weights that it was compiled with: from then on its
    /// features can be cached.
    #[cfg(feature = "identity")]
    #[must_use]
    pub fn identified(mut self, graph: &Graph, weights: &dyn WeightSource, output: Output) -> Self {
        let features;
        let graph = match output {
            Output::Features => {
                features = graph.without_classifier();
                &features
            }
            Output::Logits => graph,
        };
        let (preprocessing, precision) = (&self.preprocessing, self.plan.precision());
        let computed_by = format!("plan {}", self.plan.class());
        let identity =
            taper_graph::features_identity(graph, weights, preprocessing, precision, &computed_by);
        self.identity = Some(identity);
        self
    }
}

impl PlanBackbone {
    /// What a layer reads in a pass.
    pub(crate) fn tap(&self, layer: &str) -> Option<Tap> {
        self.plan.tap(layer)
    }

    /// The features of one prepared picture, and what a layer reads on the way to them.
    pub(crate) fn forward_tapped(&self, pixels: &[u8], tap: Tap) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut row, mut values) = (vec![0.0; self.width()], vec![0.0; tap.len()]);
        self.in_workspace(|workspace| {
            self.plan.forward_tapped(workspace, pixels, &mut row, (tap, &mut values))
        })?;
        Ok((row, values))
    }

    /// Runs something in a workspace that nobody else uses.
    fn in_workspace(
        &self,
        run: impl FnOnce(&mut Workspace) -> std::result::Result<(), PlanError>,
    ) -> Result<()> {
        let pool = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = pool().pop();
        let mut workspace =
            spare.unwrap_or_else(|| self.plan.workspace(rayon::current_num_threads()));
        let done = run(&mut workspace);
        pool().push(workspace);
        Ok(done?)
    }
}

impl FrozenBackbone for PlanBackbone {
    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn identity(&self) -> Option<Digest> {
        self.identity
    }

    fn runs_on(&self) -> String {
        self.plan.class().to_string()
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn submit(&self, pixels: &[u8], n: usize) -> std::result::Result<PendingRows, AnyFault> {
        let mut rows = vec![0.0; n * self.width()];
        self.in_workspace(|workspace| self.plan.forward(workspace, pixels, n, &mut rows))
            .map_err(AnyFault::new)?;
        Ok(PendingRows::ready(rows))
    }
}
