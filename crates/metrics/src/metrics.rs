use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use taper_core::{ClassNames, float};

use crate::{
    CheckedMetricsOptions, ClassReport, ConfusedPair, Error, Evaluation, Mean, MetricsOptions,
    Result, TopK, calibration, scores, softmax,
};

/// The outputs of a batch: `[samples, classes]`, row-major f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outputs<'a> {
    /// Unnormalised log-probabilities, any range.
    Logits(&'a [f32]),
    /// Probabilities: each in [0, 1], every row sums to 1 (± 1e-3).
    ///
    /// For the loss they are normalised and clipped to [1e-7, 1 − 1e-7], as
    /// `keras.losses.sparse_categorical_crossentropy` does.
    Probabilities(&'a [f32]),
}

/// Accumulates the figures of a classifier, batch by batch.
///
/// All sums are kept in f64 and in the order of the samples, so that the same samples in the same
/// order give the same bits, however they are divided into batches. Serialisable: it can be part of
/// a checkpoint within an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
// The derived code is called by the implementations below, which check the result.
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Metrics {
    options: MetricsOptions,
    classes: usize,
    n: u64,
    not_finite: u64,
    /// Summed weights.
    #[serde(with = "float")]
    weight: f64,
    loss: Mean,
    /// Not in checkpoints of earlier programs.
    #[serde(default)]
    brier: Mean,
    correct: f64,
    top_k_correct: f64,
    /// Summed weights by true label, including samples without a prediction.
    support: Vec<f64>,
    /// Summed weights, `[true][predicted]`, row-major.
    confusion: Vec<f64>,
    bin_weight: Vec<f64>,
    bin_confidence: Vec<f64>,
    bin_correct: Vec<f64>,
    /// Scratch for one row.
    #[serde(skip)]
    row: Vec<f64>,
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let read = Self::deserialize(deserializer)?;
        let empty = Self::with_options(read.options.check(read.classes).map_err(D::Error::custom)?);
        let lengths = |m: &Self| {
            [&m.support, &m.confusion, &m.bin_weight, &m.bin_confidence, &m.bin_correct]
                .map(Vec::len)
        };
        if lengths(&read) != lengths(&empty) {
            return Err(D::Error::custom(
                "metrics: the sums do not fit the number of classes or bins",
            ));
        }
        Ok(read)
    }
}

impl Metrics {
    /// Starts with the default [`MetricsOptions`].
    ///
    /// # Errors
    /// [`Error::Setting`] unless there are 1 to 65,536 classes.
    pub fn new(classes: usize) -> Result<Self> {
        Ok(Self::with_options(MetricsOptions::default().check(classes)?))
    }

    /// Starts with the given options.
    pub fn with_options(checked: CheckedMetricsOptions) -> Self {
        let CheckedMetricsOptions { options, classes } = checked;
        let bins = vec![0.0; options.calibration_bins];
        Self {
            options,
            classes,
            n: 0,
            not_finite: 0,
            weight: 0.0,
            loss: Mean::default(),
            brier: Mean::default(),
            correct: 0.0,
            top_k_correct: 0.0,
            support: vec![0.0; classes],
            confusion: vec![0.0; classes * classes],
            bin_weight: bins.clone(),
            bin_confidence: bins.clone(),
            bin_correct: bins,
            row: Vec::new(),
        }
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        *self = Self::with_options(CheckedMetricsOptions {
            options: self.options,
            classes: self.classes,
        });
    }

    /// Adds a batch of logits; each sample weighs 1.
    ///
    /// # Errors
    /// As [`Metrics::update`].
    pub fn update_logits(&mut self, logits: &[f32], labels: &[u32]) -> Result<()> {
        self.update(Outputs::Logits(logits), labels, None)
    }

    /// Adds a batch of probabilities; each sample weighs 1.
    ///
    /// # Errors
    /// As [`Metrics::update`].
    pub fn update_probabilities(&mut self, probabilities: &[f32], labels: &[u32]) -> Result<()> {
        self.update(Outputs::Probabilities(probabilities), labels, None)
    }

    /// Adds a batch. Among equally large outputs, the first is the prediction, as in
    /// `numpy.argmax`.
    ///
    /// A row with NaN or +∞ (or with nothing but −∞) has no prediction: it is counted in
    /// `not_finite` and makes the loss NaN.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Label`], [`Error::Weight`] or [`Error::Probabilities`]; then
    /// nothing was added.
    pub fn update(
        &mut self,
        outputs: Outputs<'_>,
        labels: &[u32],
        weights: Option<&[f32]>,
    ) -> Result<()> {
        self.check_batch(outputs, labels, weights)?;
        let mut row = std::mem::take(&mut self.row);
        row.resize(self.classes, 0.0);
        let (Outputs::Logits(values) | Outputs::Probabilities(values)) = outputs;
        for (i, (values, &label)) in values.chunks_exact(self.classes).zip(labels).enumerate() {
            let weight = weights.map_or(1.0, |w| f64::from(w[i]));
            let label = label as usize;
            let loss = match outputs {
                Outputs::Logits(_) => {
                    softmax::log_softmax(values, &mut row);
                    let loss = -row[label];
                    row.iter_mut().for_each(|x| *x = x.exp());
                    loss
                }
                Outputs::Probabilities(_) => {
                    let sum: f64 = values.iter().map(|&p| f64::from(p)).sum();
                    row.iter_mut().zip(values).for_each(|(r, &p)| *r = f64::from(p) / sum);
                    if row[label].is_nan() {
                        f64::NAN
                    } else {
                        -row[label].clamp(1e-7, 1.0 - 1e-7).ln()
                    }
                }
            };
            self.add(values, &row, label, loss, weight);
        }
        self.row = row;
        Ok(())
    }

    fn add(&mut self, values: &[f32], row: &[f64], label: usize, loss: f64, weight: f64) {
        self.n += 1;
        self.weight += weight;
        self.loss.update(loss, weight);
        self.support[label] += weight;
        if row.iter().any(|p| p.is_nan()) {
            self.not_finite += 1;
            return;
        }
        self.brier.update(scores::brier_of(row, label), weight);
        // Decided on the original values: rounding in the softmax must not break or create ties.
        let mut predicted = 0;
        for (class, value) in values.iter().enumerate() {
            if *value > values[predicted] {
                predicted = class;
            }
        }
        let correct = if predicted == label { weight } else { 0.0 };
        self.correct += correct;
        self.confusion[label * self.classes + predicted] += weight;
        if let Some(k) = self.options.top_k {
            let own = values[label];
            let ahead = values
                .iter()
                .enumerate()
                .filter(|&(class, &value)| value > own || (value == own && class < label))
                .count();
            if ahead < k {
                self.top_k_correct += weight;
            }
        }
        let confidence = row[predicted];
        let bin = calibration::bin_of(confidence, self.options.calibration_bins);
        self.bin_weight[bin] += weight;
        self.bin_confidence[bin] += weight * confidence;
        self.bin_correct[bin] += correct;
    }

    fn check_batch(
        &self,
        outputs: Outputs<'_>,
        labels: &[u32],
        weights: Option<&[f32]>,
    ) -> Result<()> {
        let (Outputs::Logits(values) | Outputs::Probabilities(values)) = outputs;
        let samples = labels.len();
        let length = |what, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(Error::Length { what, found, samples, expected })
            }
        };
        length("outputs", values.len(), samples * self.classes)?;
        if let Some(sample) = labels.iter().position(|&l| l as usize >= self.classes) {
            return Err(Error::Label { label: labels[sample], sample, classes: self.classes });
        }
        if let Some(weights) = weights {
            length("weights", weights.len(), samples)?;
            if let Some(sample) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
                return Err(Error::Weight { weight: weights[sample], sample });
            }
        }
        if let Outputs::Probabilities(values) = outputs {
            for (sample, row) in values.chunks_exact(self.classes).enumerate() {
                let sum: f32 = row.iter().sum();
                if sum.is_nan() {
                    continue; // a broken network, not a wrong call: counted as not finite
                }
                let problem = if let Some(p) = row.iter().find(|p| !(0.0..=1.001).contains(*p)) {
                    format!("hold {p}, which is not in [0, 1]")
                } else if (sum - 1.0).abs() > 1e-3 {
                    format!("sum to {sum}, not to 1")
                } else {
                    continue;
                };
                return Err(Error::Probabilities { sample, problem });
            }
        }
        Ok(())
    }

    /// Adds the sums of another one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if classes or options differ; then nothing was added.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::Mismatch {
                what: "number of classes",
                left: self.classes.to_string(),
                right: other.classes.to_string(),
            });
        }
        if self.options != other.options {
            return Err(Error::Mismatch {
                what: "options",
                left: format!("{:?}", self.options),
                right: format!("{:?}", other.options),
            });
        }
        self.n += other.n;
        self.not_finite += other.not_finite;
        self.weight += other.weight;
        self.loss.merge(&other.loss);
        self.brier.merge(&other.brier);
        self.correct += other.correct;
        self.top_k_correct += other.top_k_correct;
        for (to, from) in [
            (&mut self.support, &other.support),
            (&mut self.confusion, &other.confusion),
            (&mut self.bin_weight, &other.bin_weight),
            (&mut self.bin_confidence, &other.bin_confidence),
            (&mut self.bin_correct, &other.bin_correct),
        ] {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of samples so far.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean cross-entropy so far, in nats, if there are samples; NaN if any output was not finite.
    pub fn loss(&self) -> Option<f64> {
        self.loss.value()
    }

    /// Share of correct samples so far, 0…1, if there are samples.
    pub fn accuracy(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.correct / self.weight)
    }

    /// All figures so far.
    ///
    /// # Errors
    /// [`Error::Empty`] without samples; [`Error::Mismatch`] if the number of names is not the
    /// number of classes.
    pub fn evaluation(&self, names: &ClassNames) -> Result<Evaluation> {
        let k = self.classes;
        if names.len() != k {
            return Err(Error::Mismatch {
                what: "number of classes",
                left: k.to_string(),
                right: format!("{} names", names.len()),
            });
        }
        let (Some(loss), Some(accuracy)) = (self.loss(), self.accuracy()) else {
            return Err(Error::Empty);
        };
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let confusion: Vec<Vec<f64>> =
            self.confusion.chunks_exact(k).map(<[f64]>::to_vec).collect();
        let per_class: Vec<ClassReport> = names
            .iter()
            .enumerate()
            .map(|(class, label)| {
                let hits = confusion[class][class];
                let predicted: f64 = confusion.iter().map(|row| row[class]).sum();
                let support = self.support[class];
                ClassReport {
                    label: label.into(),
                    precision: share(hits, predicted),
                    recall: share(hits, support),
                    // Equals the harmonic mean and has no 0/0 unless the class never occurs at all.
                    f1: share(2.0 * hits, predicted + support),
                    support,
                }
            })
            .collect();
        let seen: Vec<f64> =
            per_class.iter().filter(|c| c.support > 0.0).map(|c| c.recall).collect();
        // As scikit-learn has it: a class that occurs neither as truth nor as prediction does not
        // count.
        let present: Vec<f64> = per_class
            .iter()
            .enumerate()
            .filter(|(class, c)| c.support > 0.0 || confusion.iter().any(|row| row[*class] > 0.0))
            .map(|(_, c)| c.f1)
            .collect();
        let mut most: Option<(f64, usize, usize)> = None;
        for (truth, row) in confusion.iter().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                if truth != predicted && count > most.map_or(0.0, |m| m.0) {
                    most = Some((count, truth, predicted));
                }
            }
        }
        let most_confused = most.map(|(count, truth, predicted)| ConfusedPair {
            truth: per_class[truth].label.clone(),
            predicted: per_class[predicted].label.clone(),
            count,
            share: share(count, self.support[truth]),
        });
        Ok(Evaluation {
            n: self.n,
            loss,
            brier: self.brier.value().unwrap_or_default(),
            accuracy,
            top_k: self
                .options
                .top_k
                .map(|k| TopK { k, accuracy: share(self.top_k_correct, self.weight) }),
            balanced_accuracy: seen.iter().sum::<f64>() / seen.len() as f64,
            macro_f1: present.iter().sum::<f64>() / present.len() as f64,
            not_finite: self.not_finite,
            most_confused,
            calibration: calibration::summarise(
                &self.bin_weight,
                &self.bin_confidence,
                &self.bin_correct,
            ),
            per_class,
            confusion,
        })
    }
}
