use std::fmt;

use crate::FrozenPlan;

/// One step of a plan, for humans to read.
#[derive(Debug, Clone)]
pub struct PlanLayer {
    /// The layer that the step starts with.
    pub name: String,
    /// The layers fused to it.
    pub fused: Vec<String>,
    /// How it is computed: `pixels`, `direct`, `depthwise`, …, `max pool`, `mean`, `linear`.
    pub algorithm: String,
    /// A description of the shape.
    pub shape: String,
    /// Pictures that go through it together on one thread.
    pub group: usize,
    /// Floating-point operations per picture, of the direct algorithm.
    pub flops: u64,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
}

impl fmt::Display for FrozenPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.size();
        writeln!(
            f,
            "{} at {height}×{width}: {} kernels, {}, {:.2} GFLOP per picture, {:.1} MiB of weights",
            self.network(),
            self.class(),
            self.precision(),
            self.flops() as f64 / 1e9,
            self.weight_bytes() as f64 / (1 << 20) as f64
        )?;
        for layer in self.layers() {
            writeln!(
                f,
                "  {:<28} {:<14} group {} {:>8.1} MFLOP  {}  + {}",
                layer.name,
                layer.algorithm,
                layer.group,
                layer.flops as f64 / 1e6,
                layer.shape,
                if layer.fused.is_empty() { "–".to_owned() } else { layer.fused.join(" + ") }
            )?;
        }
        Ok(())
    }
}
