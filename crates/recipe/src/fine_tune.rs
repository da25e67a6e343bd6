use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use taper_core::{Fault, OutOfRange};
use taper_grad::{BatchNormMode, Unfreeze};
use taper_optim::{Algorithm, EpsilonMode, OptimizerConfig, ScheduleConfig, Shape, Span, Warmup};
use taper_train::Training;

use crate::{Error, LearningRate, Recipe, Result};

/// How much of the network is trained after its head: `none`, the name of a layer or of a group of
/// layers, `last:N` or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UnfreezeChoice {
    /// Nothing: the network stays as it is.
    None,
    /// This much.
    Layers(Unfreeze),
}

impl fmt::Display for UnfreezeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Layers(Unfreeze::All) => f.write_str("all"),
            Self::Layers(Unfreeze::Last(count)) => write!(f, "last:{count}"),
            Self::Layers(Unfreeze::From(layer)) => f.write_str(layer),
        }
    }
}

impl FromStr for UnfreezeChoice {
    type Err = OutOfRange;

    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        let wrong = || {
            let remedy = "use none, all, last: with a number of layers, or the name of a layer or group of layers, as `taper summary` lists them";
            OutOfRange::new("unfreeze", format!("'{text}'"), remedy)
        };
        Ok(match text.trim() {
            none if none.eq_ignore_ascii_case("none") => Self::None,
            all if all.eq_ignore_ascii_case("all") => Self::Layers(Unfreeze::All),
            other => match other.strip_prefix("last:") {
                Some(count) => {
                    let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
                    Self::Layers(Unfreeze::Last(count))
                }
                None if other.is_empty() => return Err(wrong()),
                None => Self::Layers(Unfreeze::From(other.into())),
            },
        })
    }
}

impl TryFrom<String> for UnfreezeChoice {
    type Error = OutOfRange;
    /// In a recipe, where the field has another name than the program's argument.
    fn try_from(text: String) -> std::result::Result<Self, OutOfRange> {
        text.parse().map_err(|error: OutOfRange| {
            OutOfRange::new("fine_tune.from", &error.value, error.remedy.clone())
        })
    }
}

impl From<UnfreezeChoice> for String {
    fn from(choice: UnfreezeChoice) -> Self {
        choice.to_string()
    }
}

/// What BatchNorm does in the layers that are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormChoice {
    /// The running statistics stay; scale and bias are trained. Keras's advice for small data sets.
    #[default]
    Frozen,
    /// Normalises with each batch's own statistics and updates the running ones, as fastai and timm
    /// do.
    Train,
}

impl From<BatchNormChoice> for BatchNormMode {
    fn from(choice: BatchNormChoice) -> Self {
        match choice {
            BatchNormChoice::Frozen => Self::Frozen,
            BatchNormChoice::Train => Self::Trained,
        }
    }
}

impl FromStr for BatchNormChoice {
    type Err = OutOfRange;

    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        match text {
            "frozen" => Ok(Self::Frozen),
            "train" => Ok(Self::Train),
            other => {
                let remedy = "use frozen or train";
                Err(OutOfRange::new("batch_norm", format!("'{other}'"), remedy))
            }
        }
    }
}

/// In which precision the maps at the boundary are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapPrecision {
    /// As they were computed.
    #[default]
    F32,
    /// Half the memory. Maps that are not kept are rounded the same way.
    F16,
}

impl FromStr for MapPrecision {
    type Err = OutOfRange;

    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            other => {
                let remedy = "use f32 or f16";
                Err(OutOfRange::new("cache_precision", format!("'{other}'"), remedy))
            }
        }
    }
}

/// Where on the way from the weights before the phase to those after it a training ends (Wortsman
/// et al. 2022, "Robust fine-tuning of zero-shot models"): `true`, `false`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "use true, false, or a number above 0 and below 1")]
pub enum Interpolate {
    /// Whether the tenths of the way are tried on the validation pictures, and the best one kept;
    /// without that, the end.
    Try(bool),
    /// At this share of the way, in (0, 1).
    At(f64),
}

/// The second phase of a training: layers of the network are trained too, from the weights of the
/// head that the first phase ended with. The table `[fine_tune]` of a recipe; most
/// of its defaults are those of the recipe `lp-ft` ([`FineTune::lp_ft`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineTune {
    /// Where the trained part begins: a layer or group of layers as `taper summary` lists them,
    /// `last:N`, `all`, or `none`. Default `all`.
    pub from: UnfreezeChoice,
    /// What BatchNorm does in that part: `frozen` or `train`. Default `frozen`.
    pub batch_norm: BatchNormChoice,
    /// Passes over the training pictures, from 1. Default 20.
    pub epochs: u32,
    /// As many epochs as it takes to make this many steps, from 1; instead of `epochs`, which is
    /// left out then. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Whether the last layer of a head that was not trained before (`epochs = 0`) starts from
    /// zeros, as in BiT. Default false.
    pub zero_head: bool,
    /// Pictures per step, from 1. Default 32.
    pub batch_size: usize,
    /// Batches whose gradients are accumulated for one step, from 1. Default 1.
    pub accumulate: usize,
    /// The base learning rate, which the head has: a number above 0, or `auto`. Default 3e-4.
    pub learning_rate: LearningRate,
    /// The rate of each group of layers as a share of that of the next one, from the head down, in
    /// (0, 1]. Default 0.8.
    pub layer_decay: f64,
    /// The rate of the lowest trained group as a share of the head's, in (0, 1]; those between are
    /// spread evenly in logarithm, as fastai's `slice`. Instead of `layer_decay`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_rate: Option<f64>,
    /// Ends the phase after this many epochs without a better validation loss, from 1 and fewer
    /// than `epochs`. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Clips the gradients to this norm, taken over all of them together; above 0. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Decay of a moving average of the weights, which is then evaluated and kept instead of them,
    /// in (0, 1). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Whether weights between those before and after the phase are tried on the validation
    /// pictures, and the best of them kept; or at which share of the way they are taken. Default
    /// true.
    pub interpolate: Interpolate,
    /// Of how many of the best epochs' weights an average is tried on the validation pictures, from
    /// 2 to `epochs`: a greedy soup (Wortsman et al. 2022), the best first, each kept if it helps.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soup: Option<usize>,
    /// In which precision the maps at the boundary are kept: `f32` or `f16`. Default `f32`.
    pub cache_precision: MapPrecision,
    /// GiB of memory for the maps at the boundary, from 0; maps of more pictures than that are
    /// computed in every epoch. Default 4.
    pub cache_memory: f64,
    /// GiB of memory for the values and gradients of a step, above 0; a batch that takes more is
    /// done in parts. Default 8.
    pub memory: f64,
    /// The optimizer. Default AdamW with torch's settings.
    pub optimizer: OptimizerConfig,
    /// The learning-rate schedule. Default: half a cosine after a warm-up of a tenth.
    pub schedule: ScheduleConfig,
}

impl Default for FineTune {
    fn default() -> Self {
        let algorithm = Algorithm::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_mode: EpsilonMode::Torch,
            weight_decay: 0.01,
        };
        Self {
            from: UnfreezeChoice::Layers(Unfreeze::All),
            batch_norm: BatchNormChoice::Frozen,
            epochs: 20,
            steps: None,
            zero_head: false,
            batch_size: 32,
            accumulate: 1,
            learning_rate: LearningRate::Fixed(3e-4),
            layer_decay: 0.8,
            lowest_rate: None,
            patience: None,
            clip_norm: None,
            ema: None,
            interpolate: Interpolate::Try(true),
            soup: None,
            cache_precision: MapPrecision::F32,
            cache_memory: 4.0,
            memory: 8.0,
            optimizer: OptimizerConfig { algorithm, groups: Vec::new() },
            schedule: ScheduleConfig {
                shape: Shape::Cosine { end_factor: 0.0 },
                warmup: Some(Warmup { over: Span::Fraction(0.1), start_factor: 0.0 }),
            },
        }
    }
}

impl FineTune {
    /// How far the network is unfrozen; none if it is not.
    pub fn unfreeze(&self) -> Option<&Unfreeze> {
        match &self.from {
            UnfreezeChoice::None => None,
            UnfreezeChoice::Layers(unfreeze) => Some(unfreeze),
        }
    }

    /// How this phase of a recipe trains. If the learning rate is still to be found, this holds the
    /// default.
    pub fn training(&self, recipe: &Recipe) -> Training {
        Training {
            epochs: self.epochs,
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            learning_rate: match self.learning_rate {
                LearningRate::Fixed(rate) => rate,
                LearningRate::Auto => 3e-4,
            },
            schedule: self.schedule,
            optimizer: self.optimizer.clone(),
            sampling: recipe.sampling.clone(),
            loss: recipe.loss.clone(),
            clip_norm: self.clip_norm,
            ema: self.ema,
            seed: recipe.seed,
        }
    }

    /// Checks every field.
    pub(crate) fn check(&self, recipe: &Recipe) -> Result<()> {
        let fail = |field: &'static str, value: String, remedy: String| -> Result<()> {
            Err(OutOfRange::new(format!("fine_tune.{field}"), value, remedy).into())
        };
        // Errors name the table, since the head has the same fields.
        let named = |error: Error| match error.setting() {
            Some(setting) => {
                let of_schedule = match setting.field.as_ref() {
                    "warmup" => "schedule.",
                    "every" => "schedule.shape.",
                    _ => "",
                };
                let field = format!("fine_tune.{of_schedule}{}", setting.field);
                OutOfRange::new(field, &setting.value, setting.remedy.clone()).into()
            }
            None => error,
        };
        self.training(recipe).check().map_err(|error| named(error.into()))?;
        if self.steps == Some(0) {
            return fail("steps", "0".into(), "use 1 or more, or leave it out".into());
        }
        if self.steps.is_some() && self.epochs != Self::default().epochs {
            let remedy =
                "`fine_tune.steps` decides how long the phase takes: leave out one of them";
            return fail("epochs", self.epochs.to_string(), remedy.into());
        }
        if self.zero_head && recipe.epochs > 0 {
            let remedy = "with `fine_tune.zero_head`, head and layers are trained at once from a head of zeros, which cannot be trained before: use 0 epochs of the head, or leave out `fine_tune.zero_head`; `fine_tune.epochs` says how long they are trained";
            return Err(OutOfRange::new("epochs", recipe.epochs, remedy).into());
        }
        if let Some(Warmup { over: Span::Epochs(epochs), .. }) = self.schedule.warmup
            && !(epochs > 0.0 && epochs < f64::from(self.epochs))
        {
            let remedy =
                format!("the phase has {} of `fine_tune.epochs`: use fewer than that", self.epochs);
            return fail("schedule.warmup", epochs.to_string(), remedy);
        }
        for (field, value) in
            [("layer_decay", Some(self.layer_decay)), ("lowest_rate", self.lowest_rate)]
        {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && *value <= 1.0)) {
                let remedy = "use more than 0 and at most 1; 1 gives all layers the same rate";
                return fail(field, value.to_string(), remedy.into());
            }
        }
        let given = ![1.0, Self::default().layer_decay].contains(&self.layer_decay);
        if self.lowest_rate.is_some() && given {
            let remedy = "`lowest_rate` decides the rates of the layers: set it to 1, or leave out `lowest_rate`";
            return fail("layer_decay", self.layer_decay.to_string(), remedy.into());
        }
        if self.ema == Some(0.0) {
            let remedy = "0 keeps no average: use more than 0, e.g. 0.99, or leave it out";
            return fail("ema", "0".into(), remedy.into());
        }
        if let Some(soup) = self.soup.filter(|soup| !(2..=20).contains(soup)) {
            let remedy = "use 2 to 20 epochs, or leave it out";
            return fail("soup", soup.to_string(), remedy.into());
        }
        if let Interpolate::At(share) = self.interpolate
            && !(share > 0.0 && share < 1.0)
        {
            let remedy = "use more than 0 and less than 1; true tries what is best, false takes the end of the phase";
            return fail("interpolate", share.to_string(), remedy.into());
        }
        if self.patience == Some(0) {
            return fail("patience", "0".into(), "use 1 or more epochs, or leave it out".into());
        }
        if self.steps.is_none() {
            let epochs = self.epochs;
            if let Some(patience) = self.patience.filter(|patience| *patience >= epochs) {
                let remedy = format!(
                    "the phase has {epochs} of `fine_tune.epochs`, so it could never stop early: use fewer than that, or leave it out"
                );
                return fail("patience", patience.to_string(), remedy);
            }
            if let Some(soup) = self.soup.filter(|soup| *soup > epochs as usize) {
                let remedy = format!(
                    "the phase has {epochs} of `fine_tune.epochs`: average no more than that, or leave it out"
                );
                return fail("soup", soup.to_string(), remedy);
            }
        }
        if !(self.cache_memory >= 0.0 && self.cache_memory.is_finite()) {
            let remedy = "use 0 or more GiB; 0 keeps no maps".into();
            return fail("cache_memory", self.cache_memory.to_string(), remedy);
        }
        if !(self.memory > 0.0 && self.memory.is_finite()) {
            return fail("memory", self.memory.to_string(), "use more than 0 GiB".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_written_alike() {
        for text in ["none", "all", "last:3", "layer4", "blocks.5.0"] {
            assert_eq!(text.parse::<UnfreezeChoice>().unwrap().to_string(), text);
        }
        for text in ["", "last:", "last:0", "last:x"] {
            let error = text.parse::<UnfreezeChoice>().unwrap_err().to_string();
            assert!(error.contains("unfreeze is") && error.contains("last:"), "{error}");
        }
    }

    #[test]
    fn a_setting_of_the_phase_is_named_with_its_table() {
        let with = |fine_tune: FineTune| Recipe { fine_tune: Some(fine_tune), ..Recipe::default() };
        let cases = [
            (FineTune { epochs: 0, ..FineTune::default() }, "fine_tune.epochs is 0"),
            (FineTune { layer_decay: 0.0, ..FineTune::default() }, "fine_tune.layer_decay is 0"),
            (
                FineTune { lowest_rate: Some(0.01), layer_decay: 0.9, ..FineTune::default() },
                "`lowest_rate`",
            ),
            (FineTune { patience: Some(0), ..FineTune::default() }, "fine_tune.patience is 0"),
            (FineTune { patience: Some(20), ..FineTune::default() }, "never stop early"),
            (FineTune { soup: Some(3), epochs: 2, ..FineTune::default() }, "fine_tune.soup is 3"),
            (FineTune { steps: Some(9), epochs: 2, ..FineTune::default() }, "fine_tune.epochs is"),
            (
                FineTune { interpolate: Interpolate::At(1.5), ..FineTune::default() },
                "fine_tune.interpolate is 1.5",
            ),
            (FineTune { zero_head: true, ..FineTune::default() }, "with `fine_tune.zero_head`"),
            (FineTune { memory: 0.0, ..FineTune::default() }, "fine_tune.memory is 0"),
            (FineTune { cache_memory: -1.0, ..FineTune::default() }, "cache_memory is -1"),
            (FineTune { clip_norm: Some(0.0), ..FineTune::default() }, "fine_tune.clip_norm is 0"),
        ];
        for (fine_tune, expected) in cases {
            let error = with(fine_tune).check().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        with(FineTune::default()).check().unwrap();
    }

    #[test]
    fn interpolate_is_a_choice_or_a_share() {
        let read = |value: &str| {
            let text = format!("[fine_tune]\ninterpolate = {value}\n");
            Recipe::parse(&text, "recipe.toml".as_ref())
                .map(|recipe| recipe.fine_tune.unwrap().interpolate)
        };
        assert_eq!(read("false").unwrap(), Interpolate::Try(false));
        assert_eq!(read("0.5").unwrap(), Interpolate::At(0.5));
        let error = read("'half'").unwrap_err().to_string();
        assert!(error.contains("true, false, or a number"), "{error}");
    }
}
