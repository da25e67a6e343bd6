//! Convolutions as cuDNN 9 computes them, through its descriptors.

mod backward;
mod call;
mod convolution;
mod descriptors;

#[cfg(test)]
mod tests;
