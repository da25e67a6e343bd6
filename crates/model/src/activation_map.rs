use std::sync::Arc;

use serde::Serialize;
use taper_core::Preprocessing;
use taper_grad::{GradCam, Head};
use taper_graph::{Graph, WeightSource};
use taper_plan::Tap;

use crate::{Error, PlanBackbone, Prediction, Result};

/// Where in a picture the network saw what speaks for a class ([`GradCam`]).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActivationMap {
    /// The class that it speaks for.
    pub class: String,
    /// The part of the upright picture that it lies over: left, top, right and bottom edge, as
    /// shares of the picture's width and height. The network sees nothing outside of it.
    pub region: [f32; 4],
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// The map, rows from the top, 0…1: 1 where most speaks for the class, 0 where nothing does.
    /// All of it is 0 if nothing does anywhere.
    pub values: Vec<f32>,
}

/// A prediction, and what it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The prediction, as without an explanation.
    #[serde(flatten)]
    pub prediction: Prediction,
    /// Where the network saw what speaks for a class.
    pub map: ActivationMap,
}

/// What maps are computed with.
#[derive(Debug)]
pub(crate) struct Mapper {
    plan: Arc<PlanBackbone>,
    cam: GradCam,
    tap: Tap,
}

impl Mapper {
    pub(crate) fn new(
        plan: &Arc<PlanBackbone>,
        graph: &Graph,
        weights: &dyn WeightSource,
        size: u32,
    ) -> Result<Self> {
        let cam = GradCam::new(graph, weights, size as usize)?;
        let reads = |tap: &Tap| tap.len() == cam.input_len();
        let tap = plan.tap(cam.reader()).filter(reads).ok_or_else(|| {
            Error::NoMap(format!("the plan does not keep what layer '{}' reads", cam.reader()))
        })?;
        Ok(Self { plan: Arc::clone(plan), cam, tap })
    }

    /// The features of a prepared picture, and what the map is made of.
    pub(crate) fn forward(&self, pixels: &[u8]) -> Result<(Vec<f32>, Vec<f32>)> {
        self.plan.forward_tapped(pixels, self.tap)
    }

    /// The map for a class, over a part of the picture.
    pub(crate) fn map(
        &self,
        (row, seen): (&[f32], &[f32]),
        head: &Head,
        (class, name): (usize, String),
        [left, top, right, bottom]: [f32; 4],
    ) -> Result<ActivationMap> {
        let mut values = self.cam.map(seen, &head.input_gradient(row, class)?)?;
        let most = values.iter().copied().fold(0.0, f32::max);
        if most > 0.0 && most.is_finite() {
            values.iter_mut().for_each(|value| *value /= most);
        }
        let ([height, width], covered) = (self.cam.grid(), self.cam.covered());
        let region = [left, top, left + covered * (right - left), top + covered * (bottom - top)];
        Ok(ActivationMap { class: name, region, height, width, values })
    }
}

/// The part of a picture that a network sees, as shares of its sides.
pub(crate) fn region(spec: &Preprocessing, width: u32, height: u32) -> [f32; 4] {
    let part = spec.part(width, height);
    let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let edges =
        [part.left / w, part.top / h, (part.left + part.width) / w, (part.top + part.height) / h];
    edges.map(|edge| edge as f32)
}
