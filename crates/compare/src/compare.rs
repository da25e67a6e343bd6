use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use taper_core::{ClassNames, DeviceChoice, Split};
use taper_data::{Dataset, Item};
use taper_metrics::{Evaluation, Metrics};
use taper_model::{Artefact, Classifier, OpenOptions};
use taper_picture::Finding;
use taper_recipe::Recipe;
use taper_run::{Session, about_memorised, extract, model_file, open_classifier, open_data_with};
use taper_sources::{FolderUse, Reading};
use taper_train::head_logits;

use crate::{Error, Paired, PairedMeans, Result};

/// Files of several trainings, and the key of the trainings in them.
const REPEATED: [(&str, &str); 2] = [("seeds.json", "seeds"), ("folds.json", "folds")];

/// How two models are compared.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Other data than those that the models were made with, and how they are read.
    pub data: Option<(String, Reading)>,
    /// The split of these data; by default `test`, or else all of them.
    pub split: Option<Split>,
    /// Where the networks run.
    pub device: DeviceChoice,
    /// The networks' precision and kernels.
    pub options: OpenOptions,
}

/// One of two models.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The run folder or the file, as given.
    pub model: String,
    /// Its figures on the pictures that both were compared on.
    pub evaluation: Evaluation,
}

/// A picture with two answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// Its id in the data set.
    pub path: String,
    /// Its label.
    pub label: String,
    /// What the first takes it for.
    pub first: String,
    /// What the second takes it for.
    pub second: String,
    /// Its place in the data set.
    #[serde(skip)]
    pub sample: usize,
}

/// What a comparison came to: the answer of `taper compare`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase", tag = "compared")]
pub enum Comparison {
    /// Two models on the same pictures.
    Pictures {
        /// The data.
        data: String,
        /// Which of their pictures.
        split: String,
        /// The first model.
        first: Box<Side>,
        /// The second one.
        second: Box<Side>,
        /// On how many pictures which of them is right, and whether that is chance.
        paired: Paired,
        /// The pictures with two answers, at least one of which is wrong.
        differ: Vec<Differs>,
        /// What makes the figures misleading, such as pictures that a model was made with.
        remarks: Vec<String>,
        /// Pictures that could not be used and were left out.
        unreadable: Vec<Finding>,
        /// The pictures.
        #[serde(skip)]
        dataset: Arc<Dataset>,
    },
    /// Two series of trainings, seed by seed or fold by fold.
    Trainings {
        /// The first folder.
        first: String,
        /// The second one.
        second: String,
        /// In what the trainings of a folder differ: `seeds` or `folds`.
        by: String,
        /// On what: `test`, or `validation` where there are no test pictures.
        on: String,
        /// Their accuracies.
        accuracy: PairedMeans,
        /// Their losses.
        loss: PairedMeans,
    },
}

/// Compares two run folders or models on the same pictures: the untouched test pictures of both, or
/// those of other data. Folders of several trainings (`--seeds`, `--folds`) are compared seed by
/// seed or fold by fold, from the figures in them.
///
/// # Errors
/// [`Error::Classes`] if the models have other classes, [`Error::Pictures`] if there are no
/// pictures that neither was made with; and any error that prevents a model or data from being
/// read.
pub fn compare(
    first: &Path,
    second: &Path,
    settings: &Settings,
    session: &Session,
) -> Result<Comparison> {
    for (file, key) in REPEATED {
        let there = [first, second].map(|folder| folder.join(file).is_file());
        if there.contains(&true) {
            if there.contains(&false) || settings.data.is_some() {
                let problem = format!(
                    "of several trainings ({file}), only the figures are compared, with those of another such folder: give the folder of one training in it"
                );
                return Err(pictures(first, second, problem));
            }
            return trainings(first, second, file, key);
        }
    }
    let made = [Made::open(first)?, Made::open(second)?];
    same_classes(first, second, made.each_ref().map(|made| &made.artefact.classes))?;
    let mut chosen = None;
    let (data, split, dataset, indices) = match &settings.data {
        Some((data, reading)) => {
            let dataset = open_data_with(data, reading.clone(), session)?;
            let test = !dataset.indices(Some(Split::Test)).is_empty();
            let split = settings.split.or(test.then_some(Split::Test));
            let indices = dataset.indices(split);
            chosen = split;
            (data.clone(), split.map_or("all", Split::name).to_owned(), dataset, indices)
        }
        None => {
            let (dataset, indices) = untouched(first, second, &made, session)?;
            (made[0].recipe.data.clone(), Split::Test.name().to_owned(), dataset, indices)
        }
    };
    let dataset =
        dataset.with_classes(&made[0].artefact.classes).map_err(taper_run::Error::from)?;
    if indices.is_empty() {
        let problem = format!("{data} has no pictures of the split {split}");
        return Err(pictures(first, second, problem));
    }
    let open = |path: &Path| open_classifier(path, settings.device, &settings.options, session);
    let dataset = Arc::new(dataset);
    let told = told(&open(first)?, &dataset, &indices, session)?;
    // The same pictures again.
    let other = self::told(&open(second)?, &dataset, &told.samples, session)?;
    if other.samples != told.samples {
        let problem =
            "some pictures could be read only once: look for damage on the disk".to_owned();
        return Err(pictures(first, second, problem));
    }
    let mut compared = judge((data, split), [first, second], &dataset, (told, other))?;
    if let (Comparison::Pictures { remarks, .. }, Some(_)) = (&mut compared, &settings.data) {
        for model in [first, second] {
            let about = about_memorised(model, &dataset, chosen)?;
            remarks.extend(about.map(|text| format!("{}: {text}", model.display())));
        }
    }
    Ok(compared)
}

fn pictures(first: &Path, second: &Path, problem: String) -> Error {
    Error::Pictures { first: first.into(), second: second.into(), problem }
}

/// What a model was made with.
struct Made {
    artefact: Artefact,
    recipe: Recipe,
}

impl Made {
    fn open(path: &Path) -> Result<Self> {
        let file = model_file(path)?;
        let (artefact, _) = Artefact::open(&file).map_err(taper_run::Error::from)?;
        // The run's own recipe knows where the data are.
        let beside = file.parent().map(|folder| folder.join("recipe.toml"));
        let recipe = match beside.filter(|beside| beside.is_file()) {
            Some(beside) => Recipe::read(&beside).map_err(taper_run::Error::from)?,
            None => Recipe::parse(&artefact.recipe, &file).map_err(taper_run::Error::from)?,
        };
        Ok(Self { artefact, recipe })
    }

    /// The data, and the test pictures in them.
    fn tests(&self, session: &Session) -> Result<(Dataset, Vec<usize>)> {
        let recipe = &self.recipe;
        let reading = recipe.reading(FolderUse::Train);
        let mut dataset = open_data_with(recipe.data_place(), reading, session)?;
        if let Some(expression) = &recipe.group_by {
            dataset = dataset.group_by(expression).map_err(taper_run::Error::from)?;
        }
        let splits = match recipe.folds {
            Some(folds) => dataset.fold(folds, recipe.fold.unwrap_or(0), recipe.seed),
            None => dataset.splits(recipe.val, recipe.seed),
        };
        let splits = splits.map_err(taper_run::Error::from)?;
        Ok((dataset, splits.test))
    }
}

fn same_classes(first: &Path, second: &Path, [own, other]: [&ClassNames; 2]) -> Result<()> {
    let [own, other] = [own, other].map(|names| names.iter().collect::<BTreeSet<&str>>());
    if own == other {
        return Ok(());
    }
    let only: Vec<&str> = own.symmetric_difference(&other).copied().take(5).collect();
    let (first, second) = (first.into(), second.into());
    Err(Error::Classes { first, second, only: only.join(", ") })
}

/// The pictures that both models were tested on, and neither was made with.
fn untouched(
    first: &Path,
    second: &Path,
    made: &[Made; 2],
    session: &Session,
) -> Result<(Dataset, Vec<usize>)> {
    let give = "give pictures that neither has seen with `data`";
    if made[0].artefact.data != made[1].artefact.data {
        let problem = format!("they were made with other pictures: {give}");
        return Err(pictures(first, second, problem));
    }
    let (dataset, own) = made[0].tests(session)?;
    let (_, other) = made[1].tests(session)?;
    if own.is_empty() || other.is_empty() {
        let problem = format!("no pictures were left untouched: {give}");
        return Err(pictures(first, second, problem));
    }
    if own != other {
        let problem = format!(
            "their test pictures were drawn at random, with other seeds or settings, so that one was trained on what the other was tested on: {give}, or train both with the same seed"
        );
        return Err(pictures(first, second, problem));
    }
    Ok((dataset, own))
}

/// A model's answers.
struct Told {
    /// The pictures that could be read.
    samples: Vec<usize>,
    /// The class that each is taken for, by name.
    names: Vec<String>,
    evaluation: Evaluation,
    findings: Vec<Finding>,
}

fn told(
    classifier: &Classifier,
    dataset: &Arc<Dataset>,
    indices: &[usize],
    session: &Session,
) -> Result<Told> {
    let items = Item::untouched(indices);
    let features = extract(classifier.backbone(), dataset, items, None, false, session)?;
    if features.table.is_empty() {
        return Err(taper_run::Error::NothingUsable { place: dataset.place() }.into());
    }
    let logits = match classifier.head() {
        Some(head) => head_logits(head, &features.table).map_err(taper_run::Error::from)?,
        None => features.table.values.clone(),
    };
    let classes = classifier.classes();
    // The second model may have them in another order.
    let labels: Vec<u32> = features
        .items
        .iter()
        .filter_map(|item| {
            let label = dataset.samples()[item.sample].label;
            classes.label(dataset.classes().name(label)?)
        })
        .collect();
    let metrics = |logits: &[f32]| -> std::result::Result<Evaluation, taper_metrics::Error> {
        let mut metrics = Metrics::new(classes.len())?;
        metrics.update_logits(logits, &labels)?;
        metrics.evaluation(classes)
    };
    let evaluation = metrics(&logits).map_err(taper_run::Error::from)?;
    let best = |row: &[f32]| -> usize {
        let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
        (1..row.len()).fold(0, better)
    };
    let name = |row: &[f32]| classes.name(best(row) as u32).unwrap_or_default().to_owned();
    Ok(Told {
        samples: features.items.iter().map(|item| item.sample).collect(),
        names: logits.chunks_exact(classes.len()).map(name).collect(),
        evaluation,
        findings: features.findings,
    })
}

fn judge(
    (data, split): (String, String),
    [first, second]: [&Path; 2],
    dataset: &Arc<Dataset>,
    (own, other): (Told, Told),
) -> Result<Comparison> {
    let label =
        |sample: usize| dataset.classes().name(dataset.samples()[sample].label).unwrap_or_default();
    let rows = || own.samples.iter().zip(own.names.iter().zip(&other.names));
    let right = rows().map(|(sample, (a, b))| (a == label(*sample), b == label(*sample)));
    let Some(paired) = Paired::from_pictures(right) else {
        return Err(taper_run::Error::NothingUsable { place: dataset.place() }.into());
    };
    let differ = rows().filter(|(_, (a, b))| a != b).map(|(sample, (a, b))| Differs {
        path: dataset.samples()[*sample].id.clone(),
        label: label(*sample).to_owned(),
        first: a.clone(),
        second: b.clone(),
        sample: *sample,
    });
    let side = |model: &Path, evaluation: Evaluation| {
        Box::new(Side { model: model.display().to_string(), evaluation })
    };
    Ok(Comparison::Pictures {
        data,
        split,
        differ: differ.collect(),
        paired,
        first: side(first, own.evaluation),
        second: side(second, other.evaluation),
        remarks: Vec::new(),
        unreadable: own.findings.into_iter().filter(|finding| !finding.usable()).collect(),
        dataset: Arc::clone(dataset),
    })
}

/// The figures of a training in a file of several.
struct Figures {
    number: u64,
    accuracy: f64,
    loss: f64,
}

fn trainings(first: &Path, second: &Path, file: &str, key: &str) -> Result<Comparison> {
    let read = |folder: &Path| -> Result<(bool, Vec<Figures>)> {
        let path = folder.join(file);
        let damaged = |problem: String| taper_run::Error::Resume { path: path.clone(), problem };
        let text = std::fs::read_to_string(&path).map_err(|error| damaged(error.to_string()))?;
        let value: Value =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        figures(&value, key).ok_or_else(|| damaged("it has no figures".into()).into())
    };
    let ((tested, own), (also, other)) = (read(first)?, read(second)?);
    let paired: Vec<(&Figures, &Figures)> = own
        .iter()
        .filter_map(|own| Some((own, other.iter().find(|other| other.number == own.number)?)))
        .collect();
    let means = |of: fn(&Figures) -> f64| {
        let (a, b): (Vec<f64>, Vec<f64>) = paired.iter().map(|(a, b)| (of(a), of(b))).unzip();
        PairedMeans::of(&a, &b)
    };
    match (means(|f| f.accuracy), means(|f| f.loss)) {
        (Some(accuracy), Some(loss)) if tested == also => Ok(Comparison::Trainings {
            first: first.display().to_string(),
            second: second.display().to_string(),
            by: key.to_owned(),
            on: if tested { "test" } else { "validation" }.to_owned(),
            accuracy,
            loss,
        }),
        (Some(_), Some(_)) => {
            let problem = "only one of them has figures on test pictures".to_owned();
            Err(pictures(first, second, problem))
        }
        _ => {
            let problem = format!("fewer than two of their {key} are the same");
            Err(pictures(first, second, problem))
        }
    }
}

/// The figures of trainings, and whether they are those on test pictures.
fn figures(value: &Value, key: &str) -> Option<(bool, Vec<Figures>)> {
    let all = value.get(key)?.as_array()?;
    let tested = all.iter().all(|own| own["test"].is_object());
    let part = if tested { "test" } else { "validation" };
    let figure = |(at, own): (usize, &Value)| {
        Some(Figures {
            number: if key == "seeds" { own["seed"].as_u64()? } else { at as u64 },
            accuracy: own[part]["accuracy"].as_f64()?,
            loss: own[part]["loss"].as_f64()?,
        })
    };
    Some((tested, all.iter().enumerate().map(figure).collect::<Option<_>>()?))
}
