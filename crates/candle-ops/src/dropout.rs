#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Result, Tensor};
use taper_core::random::Key;

/// The mask of a dropout: 0 with probability `p`, else 1 / (1 − p). Row i of the batch has the
/// stream (step, i). On CUDA it is drawn on the device, with the same bits.
///
/// # Errors
/// If the device has no room.
pub fn dropout_mask(
    shape: &[usize],
    p: f32,
    key: Key,
    step: u32,
    device: &Device,
) -> Result<Tensor> {
    let rows = shape[0];
    let row_length: usize = shape[1..].iter().product();
    let kept = 1.0 / (1.0 - p);
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        let mask = Tensor::zeros((rows, row_length), DType::F32, device)?;
        let threshold = taper_core::random::bernoulli_threshold(p);
        let draw = crate::cuda::dropout::DropoutMask { key: key.words(), step, threshold, kept };
        mask.inplace_op1(&draw)?;
        return mask.reshape(shape);
    }
    let mut mask = vec![0f32; rows * row_length];
    for (row, values) in mask.chunks_mut(row_length.max(1)).enumerate() {
        key.stream(step, row as u64).fill_bernoulli(p, 0.0, kept, values);
    }
    Tensor::from_vec(mask, shape, device)
}
