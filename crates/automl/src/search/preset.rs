use std::{fmt, path::Path, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;
use taper_fetch::HubOptions;
use taper_recipe::Recipe;
use taper_zoo::{Place, find, models};

use crate::{Result, words::words};

words! {
    /// How much is tried for a good classifier.
    Preset, "preset",
    /// A head that is solved, on the frozen network's features: seconds.
    #[default]
    Fast = "fast",
    /// Also views and other heads on cached features: minutes at most.
    Balanced = "balanced",
    /// Also other networks, and fine-tuning.
    Best = "best"
}

impl Preset {
    /// The time that it has unless told otherwise; none if it does not look at the clock.
    pub fn default_limit(self) -> Option<Duration> {
        match self {
            Self::Fast => None,
            Self::Balanced => Some(Duration::from_secs(180)),
            Self::Best => Some(Duration::from_secs(600)),
        }
    }
}

/// A network to try: its name, and with `=` a file with its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelChoice {
    /// The name of a network.
    pub model: String,
    /// `pretrained`, or the path of a weight file.
    pub weights: String,
}

impl FromStr for ModelChoice {
    type Err = OutOfRange;

    fn from_str(text: &str) -> std::result::Result<Self, OutOfRange> {
        let (model, weights) = match text.split_once('=') {
            Some((model, weights)) => (model.trim(), weights.trim()),
            None => (text.trim(), "pretrained"),
        };
        let wrong = |remedy: String| OutOfRange::new("models", format!("'{text}'"), remedy);
        if model.is_empty() {
            return Err(wrong("a name is missing: give one, or leave out the comma".into()));
        }
        let known = find(model).map_err(|error| wrong(error.to_string()))?;
        if weights.is_empty() {
            return Err(wrong("there is no file after the =: name one, or leave it out".into()));
        }
        Ok(Self { model: known.name.to_owned(), weights: weights.to_owned() })
    }
}

impl TryFrom<String> for ModelChoice {
    type Error = OutOfRange;

    fn try_from(text: String) -> std::result::Result<Self, OutOfRange> {
        text.parse()
    }
}

impl From<ModelChoice> for String {
    fn from(choice: ModelChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weights.as_str() {
            "pretrained" => f.write_str(&self.model),
            weights => write!(f, "{}={weights}", self.model),
        }
    }
}

/// What a search for a good classifier may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSettings {
    /// How much is tried.
    pub preset: Preset,
    /// Seconds for everything, from 5. The fast result is made in any case.
    pub time_limit: f64,
    /// The networks to try, each name once. The first one is used for the fast result.
    pub models: Vec<ModelChoice>,
    /// Whether the other way of making pictures square is tried too.
    pub try_fit: bool,
}

/// The least time that is worth a search.
const LEAST: Duration = Duration::from_secs(5);

impl SearchSettings {
    /// Checks and completes what was asked for. Without networks, `best` takes those whose weights
    /// are on this machine, and `balanced` that of the recipe.
    ///
    /// # Errors
    /// [`OutOfRange`] names what cannot be.
    pub fn new(
        recipe: &Recipe,
        preset: Preset,
        time_limit: Option<Duration>,
        models: &[ModelChoice],
    ) -> Result<Self> {
        let Some(limit) = time_limit.or(preset.default_limit()) else {
            let remedy = "`fast` tries nothing that a search would be needed for";
            return Err(OutOfRange::new("preset", preset, remedy).into());
        };
        if limit < LEAST {
            let remedy = "use 5s or more, e.g. 10m";
            let shown = format!("{}s", limit.as_secs_f64());
            return Err(OutOfRange::new("time_limit", shown, remedy).into());
        }
        for (at, choice) in models.iter().enumerate() {
            if models[..at].iter().any(|other| other.model == choice.model) {
                let remedy = "it is there twice: name each network once";
                return Err(OutOfRange::new("models", format!("'{choice}'"), remedy).into());
            }
            if !["pretrained", "random"].contains(&choice.weights.as_str())
                && !Path::new(&choice.weights).exists()
            {
                let remedy = "there is no such file: check the spelling";
                return Err(OutOfRange::new("models", format!("'{choice}'"), remedy).into());
            }
        }
        let models = match models {
            [] => at_hand(recipe, preset)?,
            given => given.iter().map(located).collect(),
        };
        Ok(Self { preset, time_limit: limit.as_secs_f64(), models, try_fit: true })
    }
}

/// The choice with the absolute path of its file, so that the search can be resumed from elsewhere.
fn located(choice: &ModelChoice) -> ModelChoice {
    match std::path::absolute(&choice.weights) {
        Ok(path) if path.exists() => {
            ModelChoice { weights: path.display().to_string(), ..choice.clone() }
        }
        _ => choice.clone(),
    }
}

/// The recipe's network, and others whose weights are on this machine if it is the default one.
fn at_hand(recipe: &Recipe, preset: Preset) -> Result<Vec<ModelChoice>> {
    let own = find(&recipe.model).map_err(taper_run::Error::from)?.name;
    let weights = recipe.weights_place().to_owned();
    let first = located(&ModelChoice { model: own.into(), weights: weights.clone() });
    let mut all = vec![first];
    let default = own == taper_zoo::DEFAULT_MODEL && weights == "pretrained";
    if preset == Preset::Best && default {
        let options = HubOptions::from_env();
        let there = models().iter().filter(|model| model.place(&options) != Place::Remote);
        let others = there.filter(|model| model.name != own);
        all.extend(
            others.map(|model| ModelChoice {
                model: model.name.into(),
                weights: "pretrained".into(),
            }),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_with_or_without_a_file() {
        let plain: ModelChoice = "resnet50".parse().unwrap();
        assert_eq!((plain.model.as_str(), plain.weights.as_str()), ("resnet50", "pretrained"));
        let own: ModelChoice = "resnet18=a/b=c.safetensors".parse().unwrap();
        assert_eq!((own.model.as_str(), own.weights.as_str()), ("resnet18", "a/b=c.safetensors"));
        assert_eq!(own.to_string().parse::<ModelChoice>().unwrap(), own);
        for (text, words) in [("resnet51", "resnet"), ("resnet18=", "no file after the =")] {
            let error = text.parse::<ModelChoice>().unwrap_err().to_string();
            assert!(error.contains("models is") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn settings_are_checked_and_completed() {
        let recipe = Recipe::default();
        let new = |preset, seconds: Option<u64>, models: &[&str]| {
            let models: Vec<ModelChoice> = models.iter().map(|m| m.parse().unwrap()).collect();
            SearchSettings::new(&recipe, preset, seconds.map(Duration::from_secs), &models)
        };
        assert_eq!(new(Preset::Best, None, &[]).unwrap().time_limit, 600.0);
        assert_eq!(new(Preset::Balanced, Some(30), &[]).unwrap().models.len(), 1);
        for (settings, words) in [
            (new(Preset::Best, Some(1), &[]), "time_limit is 1s: use 5s or more"),
            (new(Preset::Best, None, &["resnet18", "resnet18"]), "it is there twice"),
            (new(Preset::Fast, None, &[]), "preset is fast"),
        ] {
            let error = settings.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
