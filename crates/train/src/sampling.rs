use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::{
    OutOfRange,
    random::{Key, Purpose},
};

const SAMPLING: Purpose = Purpose::new("data/sampling");

/// How often the training rows of each class are drawn in an epoch, which always has as many rows
/// as the data. Written `shuffled`, `balanced`, `weighted`, or `weighted:W,W,…` with one weight per
/// class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Sampling {
    /// Every row once.
    #[default]
    Shuffled,
    /// Every class equally often; within a class, every row equally often, give or take one.
    Balanced,
    /// Drawn with replacement, as PyTorch's `WeightedRandomSampler`: each row with a probability
    /// proportional to the weight (0 or more) of its class, in label order; without weights,
    /// proportional to 1 / rows of its class.
    Weighted(Option<Vec<f64>>),
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shuffled => f.pad("shuffled"),
            Self::Balanced => f.pad("balanced"),
            Self::Weighted(None) => f.pad("weighted"),
            Self::Weighted(Some(weights)) => {
                let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
                f.pad(&format!("weighted:{}", weights.join(",")))
            }
        }
    }
}

impl From<Sampling> for String {
    fn from(choice: Sampling) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for Sampling {
    type Error = OutOfRange;
    fn try_from(text: String) -> Result<Self, OutOfRange> {
        text.parse()
    }
}

impl FromStr for Sampling {
    type Err = OutOfRange;
    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        match text {
            "shuffled" => return Ok(Self::Shuffled),
            "balanced" => return Ok(Self::Balanced),
            "weighted" => return Ok(Self::Weighted(None)),
            _ => {}
        }
        let weights = text
            .strip_prefix("weighted:")
            .and_then(|list| list.split(',').map(|w| w.trim().parse().ok()).collect());
        match weights {
            Some(weights) => Self::Weighted(Some(weights)).check(),
            None => Err(wrong(text)),
        }
    }
}

fn wrong(value: &str) -> OutOfRange {
    let remedy = "use shuffled, balanced, weighted, or weighted: with one number from 0 per class, \
                  e.g. weighted:1,2,0.5";
    OutOfRange::new("sampling", format!("'{value}'"), remedy)
}

impl Sampling {
    /// The choice, if its weights are finite, not negative and not all 0.
    pub(crate) fn check(self) -> Result<Self, OutOfRange> {
        match &self {
            Self::Weighted(Some(weights))
                if weights.iter().any(|w| !(*w >= 0.0 && w.is_finite()))
                    || weights.iter().sum::<f64>() <= 0.0 =>
            {
                Err(wrong(&self.to_string()))
            }
            _ => Ok(self),
        }
    }

    /// Whether the choice fits rows with these labels.
    ///
    /// # Errors
    /// [`OutOfRange`] unless there is one weight for each of the classes, and one above 0 among
    /// those that have rows.
    pub fn check_rows(&self, labels: &[u32], classes: usize) -> Result<(), OutOfRange> {
        self.for_rows(labels, classes).map(|_| ())
    }

    /// Applies the choice to rows with these labels.
    ///
    /// # Errors
    /// [`OutOfRange`] unless there is one weight for each of the classes, and one above 0 among
    /// those that have rows.
    pub(crate) fn for_rows(&self, labels: &[u32], classes: usize) -> Result<Order, OutOfRange> {
        let by_class = match self {
            Self::Shuffled => return Ok(Order::Shuffled),
            Self::Balanced => return Ok(Order::Balanced),
            Self::Weighted(None) => {
                let mut counts = vec![0.0f64; classes];
                for label in labels {
                    counts[*label as usize] += 1.0;
                }
                counts.into_iter().map(|n| if n > 0.0 { 1.0 / n } else { 0.0 }).collect()
            }
            Self::Weighted(Some(weights)) => weights.clone(),
        };
        let weights: Vec<f64> =
            labels.iter().filter_map(|label| by_class.get(*label as usize)).copied().collect();
        if by_class.len() != classes || weights.iter().sum::<f64>() <= 0.0 {
            let remedy = format!(
                "give one weight for each of the {classes} classes, in label order, and one above 0 \
                 for a class that has pictures"
            );
            return Err(OutOfRange::new("sampling", self, remedy));
        }
        Ok(Order::Weighted(weights))
    }
}

/// How the rows of an epoch are chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    /// Every row once, in random order.
    Shuffled,
    /// As many rows as the data, every class equally often; within a class, every row equally
    /// often, give or take one.
    Balanced,
    /// As many rows as the data, drawn with replacement, each with a probability proportional to
    /// its weight.
    Weighted(Vec<f64>),
}

impl Order {
    /// The rows of an epoch in order, as many as there are labels: a pure function of the
    /// arguments.
    pub(crate) fn draw(&self, labels: &[u32], seed: u64, epoch: u32) -> Vec<u32> {
        let keys: Vec<u64> = (0..labels.len() as u64).collect();
        let key = Key::new(seed, SAMPLING);
        let order = match self {
            Order::Shuffled => shuffled(&keys, key.part("shuffled"), epoch),
            Order::Balanced => balanced(labels, &keys, key.part("balanced"), epoch),
            Order::Weighted(weights) => weighted(weights, key.part("weighted"), epoch),
        };
        order.into_iter().map(|row| row as u32).collect()
    }
}

fn shuffled(keys: &[u64], key: Key, epoch: u32) -> Vec<usize> {
    let mut keyed: Vec<(u64, usize)> = keys
        .iter()
        .enumerate()
        .map(|(row, own)| (key.stream(epoch, *own).next_u64(), row))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, row)| row).collect()
}

fn balanced(labels: &[u32], keys: &[u64], key: Key, epoch: u32) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for row in shuffled(keys, key.part("within"), epoch) {
        by_class[labels[row] as usize].push(row);
    }
    by_class.retain(|members| !members.is_empty());
    let classes = by_class.len().max(1);
    // Which classes get one of the leftover rows is random.
    let mut turn: Vec<usize> = (0..by_class.len()).collect();
    key.part("surplus").stream(epoch, 0).shuffle(&mut turn);
    let mut slots: Vec<(u64, usize)> = Vec::with_capacity(labels.len());
    for (place, class) in turn.into_iter().enumerate() {
        let share = labels.len() / classes + usize::from(place < labels.len() % classes);
        let members = &by_class[class];
        for k in 0..share {
            let row = members[k % members.len()];
            // Repeats are spread out: each has a random number of its own.
            let repeat = (k / members.len()) as u64;
            let own = keys[row] ^ repeat.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            slots.push((key.part("order").stream(epoch, own).next_u64(), row));
        }
    }
    slots.sort_unstable();
    slots.into_iter().map(|(_, row)| row).collect()
}

fn weighted(weights: &[f64], key: Key, epoch: u32) -> Vec<usize> {
    let sum: f64 = weights.iter().sum();
    let mut below = 0.0;
    let cumulative: Vec<f64> = weights
        .iter()
        .map(|weight| {
            below += weight;
            below
        })
        .collect();
    (0..weights.len() as u64)
        .map(|draw| {
            // 53 random bits: in [0, 1).
            let random = key.stream(epoch, draw).next_u64() >> 11;
            let at = random as f64 * (1.0 / (1u64 << 53) as f64) * sum;
            let drawn = cumulative.partition_point(|c| *c <= at);
            // Rounding may lead past the last one with a weight.
            let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            drawn.min(last)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_have_names_and_nonsense_is_refused() {
        for text in ["shuffled", "balanced", "weighted", "weighted:1,2.5,0"] {
            assert_eq!(text.parse::<Sampling>().unwrap().to_string(), text);
        }
        for text in ["", "balance", "weighted:", "weighted:1,x", "weighted:-1,2", "weighted:0,0"] {
            let error = text.parse::<Sampling>().unwrap_err();
            assert!(error.field == "sampling", "{text}");
        }
        let choice: Sampling = "weighted:1,2".parse().unwrap();
        assert!(choice.for_rows(&[0, 1, 2], 3).is_err());
        assert!("weighted:0,1".parse::<Sampling>().unwrap().for_rows(&[0, 0], 2).is_err());
    }

    #[test]
    fn weights_without_a_list_make_up_for_rare_classes() {
        let labels = [0, 0, 0, 1];
        let sampling = Sampling::Weighted(None).for_rows(&labels, 3).unwrap();
        assert_eq!(sampling, Order::Weighted(vec![1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0]));
    }
    fn labels() -> Vec<u32> {
        [vec![0; 12], vec![1; 3], vec![2; 12]].concat()
    }

    fn counts(order: &[u32]) -> [usize; 3] {
        let labels = labels();
        [0, 1, 2].map(|class| order.iter().filter(|row| labels[**row as usize] == class).count())
    }

    #[test]
    fn balanced_sampling_shows_every_class_alike() {
        let order = Order::Balanced.draw(&labels(), 7, 3);
        assert_eq!(counts(&order), [9, 9, 9]);
        for row in 12..15 {
            assert_eq!(order.iter().filter(|r| **r == row).count(), 3);
        }
        assert_eq!(order, Order::Balanced.draw(&labels(), 7, 3));
        assert_ne!(order, Order::Balanced.draw(&labels(), 7, 4));
    }

    #[test]
    fn weights_are_probabilities() {
        let mut weights = vec![0.0; 27];
        (weights[4], weights[9]) = (1.0, 3.0);
        let order = Order::Weighted(weights);
        let draws = (0..100).flat_map(|epoch| order.draw(&labels(), 5, epoch));
        let (mut first, mut all) = (0, 0);
        for row in draws {
            assert!(row == 4 || row == 9);
            first += usize::from(row == 4);
            all += 1;
        }
        let share = first as f64 / all as f64;
        assert!((share - 0.25).abs() < 0.03, "{share}");
    }
}
