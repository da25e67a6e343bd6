/// A solution: the logit of class c for a row x is weight\[c\] · x + bias\[c\].
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// f64 `[classes, width]`, row-major.
    pub weight: Vec<f64>,
    /// `[classes]`.
    pub bias: Vec<f64>,
}

impl Model {
    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Numbers per row.
    pub fn width(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    /// The logits of a row of [`Model::width`] numbers, `[classes]`.
    ///
    /// # Panics
    /// If the row is of another width.
    pub fn logits(&self, row: &[f32]) -> Vec<f64> {
        assert_eq!(row.len(), self.width(), "the row has another width");
        let of_class = |(weight, bias): (&[f64], &f64)| {
            weight.iter().zip(row).map(|(w, &x)| w * f64::from(x)).sum::<f64>() + bias
        };
        self.weight.chunks_exact(self.width().max(1)).zip(&self.bias).map(of_class).collect()
    }
}

/// −ln of the softmax's probability of a class; finite for finite logits.
pub(crate) fn cross_entropy(logits: &[f64], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| libm::exp(z - largest)).sum();
    libm::log(sum) + largest - logits[label]
}
