//! RepVGG's convolutions as the branches that timm's networks train: the 3 × 3 one has it all, and
//! the others add nothing.

use taper_graph::{Conv2d, WeightSource};
use taper_weights::TensorWriter;

/// timm's name of the fused convolution.
pub(crate) const FUSED: &str = ".reparam_conv";
/// ε of the branches' batch normalisation.
const EPS: f64 = 1e-5;

/// Adds the branches of the block of this name, whose convolution is `conv`. `None` if the weights
/// lack it.
pub(crate) fn branches(
    file: &mut TensorWriter,
    block: &str,
    conv: &Conv2d,
    weights: &dyn WeightSource,
) -> Option<()> {
    let (inputs, outputs) = (conv.in_channels / conv.groups, conv.out_channels);
    let weight = weights.values(&format!("{block}{FUSED}.weight"))?;
    let bias = weights.values(&format!("{block}{FUSED}.bias"))?;
    let side = conv.kernel;
    file.f32(format!("{block}.conv_kxk.conv.weight"), &[outputs, inputs, side, side], &weight);
    // Divided by the deviation, it is 1.
    let unit = vec![(1.0 + EPS).sqrt() as f32; outputs];
    norm(file, &format!("{block}.conv_kxk.bn"), &unit, &bias);
    let none = vec![0.0; outputs];
    let empty = vec![0.0; outputs * inputs];
    file.f32(format!("{block}.conv_1x1.conv.weight"), &[outputs, inputs, 1, 1], &empty);
    norm(file, &format!("{block}.conv_1x1.bn"), &unit, &none);
    if conv.in_channels == conv.out_channels && conv.stride == 1 {
        norm(file, &format!("{block}.identity"), &none, &none);
    }
    Some(())
}

/// A batch normalisation of values with mean 0 and variance 1.
fn norm(file: &mut TensorWriter, name: &str, weight: &[f32], bias: &[f32]) {
    let channels = [weight.len()];
    file.f32(format!("{name}.weight"), &channels, weight);
    file.f32(format!("{name}.bias"), &channels, bias);
    file.f32(format!("{name}.running_mean"), &channels, &vec![0.0; weight.len()]);
    file.f32(format!("{name}.running_var"), &channels, &vec![1.0; weight.len()]);
}
