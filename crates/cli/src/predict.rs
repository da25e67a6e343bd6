//! `taper predict`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use taper_args::{Given, PredictArgs, flags};
use taper_core::{ClassNames, OutOfRange};
use taper_model::{Classifier, OpenOptions, Prediction};
use taper_picture::Finding;
use taper_predict::{Explainer, Inputs, PredictionTable, Sorter, UNSURE, as_json, ranked};
use taper_pretrained::{ByName, pretrained_classifier};
use taper_run::{Error, Session, model_file, open_classifier};
use taper_zoo::WeightsChoice;

use crate::{
    errors::{already_done, in_flags},
    output::{Status, answer_json, answer_line, in_line},
};

/// From this many pictures on, progress is shown.
const MANY: usize = 16;

pub(crate) fn predict(
    args: &PredictArgs,
    given: &Given,
    session: &Session,
) -> anyhow::Result<Status> {
    flags::of_prediction(given)?;
    if let Some(out) = &args.out {
        PredictionTable::check(out, args.overwrite)?;
    }
    if let Some((name, own)) = args.model.as_ref().zip(args.paths.iter().find(|p| is_model(p))) {
        let remedy = format!(
            "'{}' is a model too, and one of them classifies the pictures: leave out the other",
            own.display()
        );
        return Err(Error::from(OutOfRange::new("model", format!("'{name}'"), remedy)).into());
    }
    let Some((artefact, pictures)) = split(args) else {
        let remedy =
            "give the model.safetensors of a run and then at least one picture, or `model`";
        return Err(Error::from(OutOfRange::new("model", "missing", remedy)).into());
    };
    // Before the network is built: what is missing is known at once.
    let inputs = Inputs::find(pictures, &mut io::stdin().lock(), session);
    if let (Err(_), Some(artefact)) = (&inputs, artefact) {
        // A model that cannot be used comes first, as it is given first.
        taper_predict::info(artefact)?;
    }
    let inputs = inputs?;
    let inputs = match args.max_pixels {
        Some(max_pixels) => inputs.with_max_pixels(max_pixels),
        None => inputs,
    };
    for remark in inputs.remarks() {
        session.progress().warn(&in_flags(remark));
    }
    let sorter = match (&args.copy_to, &args.move_to) {
        (Some(folder), _) => Some(Sorter::new(folder, false, args.dry_run, &inputs)?),
        (None, Some(folder)) => Some(Sorter::new(folder, true, args.dry_run, &inputs)?),
        (None, None) => None,
    };
    let classifier = open(args, artefact, session)?;
    let sorter = sorter.map(|sorter| sorter.with_classes(classifier.classes()));
    let explainer = match (&args.explain, artefact) {
        (Some(folder), Some(artefact)) => {
            // Maps are computed on the CPU, wherever the pictures are classified.
            let precision = args.precision.filter(|precision| precision.is_for_cpu());
            let options = OpenOptions { precision, kernels: args.compute.kernels };
            let own = Classifier::open(model_file(artefact)?, &options).map_err(Error::from)?;
            Some(Explainer::new(folder, own)?)
        }
        _ => None,
    };
    let table = match &args.out {
        Some(out) => Some(PredictionTable::begin(out, &classifier, args.overwrite)?),
        None => None,
    };
    let muted = session.muted();
    let aside = table.is_some() || sorter.is_some() || !io::stdout().is_terminal();
    let shown = if inputs.len() >= MANY && aside { session } else { &muted };
    let mut teller = Teller {
        args,
        inputs: &inputs,
        table,
        sorter,
        explainer,
        counts: BTreeMap::new(),
        unreadable: Vec::new(),
    };
    let outcome = taper_predict::predict(&classifier, &inputs, shown, |index, predicted| {
        teller.tell(index, predicted).map_err(Told)
    });
    match outcome {
        Ok(()) => teller.finish(),
        Err(Told(error)) => {
            let done = teller.done();
            if teller.sorter.is_some() && done > 0 && !args.dry_run {
                let sorted = format!("{done} of {} pictures were sorted before this", inputs.len());
                match error.downcast_ref::<Error>() {
                    Some(Error::Interrupted) => already_done(format!(
                        "{sorted}; the same command again goes on, without copying them twice"
                    )),
                    _ => eprintln!("{sorted}"),
                }
            }
            Err(error)
        }
    }
}

/// An error of either side.
struct Told(anyhow::Error);

impl From<Error> for Told {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

/// Whether a path is that of a trained model rather than of pictures, by its ending.
fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"))
}

/// The model's file, unless a pretrained network is asked for, and the pictures.
fn split(args: &PredictArgs) -> Option<(Option<&PathBuf>, &[PathBuf])> {
    match &args.model {
        Some(_) => Some((None, &args.paths)),
        None => {
            let (artefact, pictures) = args.paths.split_first()?;
            (!pictures.is_empty()).then_some((Some(artefact), pictures))
        }
    }
}

fn open(
    args: &PredictArgs,
    artefact: Option<&PathBuf>,
    session: &Session,
) -> anyhow::Result<Classifier> {
    let device = args.compute.device;
    let options = OpenOptions { precision: args.precision, kernels: args.compute.kernels };
    if let Some(artefact) = artefact {
        let mut classifier = open_classifier(artefact, device, &options, session)?;
        if args.raw {
            if classifier.calibration().is_none() {
                let remedy = "an earlier program wrote the model, whose probabilities are raw anyway: leave it out";
                return Err(Error::from(OutOfRange::new("raw", true, remedy)).into());
            }
            classifier = classifier.with_raw_probabilities();
        }
        if let Some(coverage) = args.coverage {
            classifier = classifier.with_coverage(coverage).map_err(Error::from)?;
        }
        return Ok(classifier);
    }
    let name = args.model.as_deref().unwrap_or_default();
    if !args.labels.is_empty() {
        let by_name = ByName {
            model: name,
            weights: args.weights.clone(),
            prompts: args.prompts.clone().unwrap_or_default(),
            device,
            options,
        };
        let names = args.labels.iter().map(|name| name.trim().to_owned()).collect();
        let names = ClassNames::new(names).map_err(|error| {
            let value = format!("'{}'", args.labels.join(","));
            Error::from(OutOfRange::new("labels", value, format!("{error}: name each once")))
        })?;
        return Ok(by_name.classifier(names, session)?);
    }
    let model = taper_zoo::find(name).map_err(Error::from)?;
    let weights = args.weights.clone().map_or(WeightsChoice::Pretrained, WeightsChoice::File);
    Ok(pretrained_classifier(model, &weights, device, &options)?)
}

/// What there is to say beside the probabilities: the set of classes, and that a picture is
/// unfamiliar.
fn further(prediction: &Prediction, coverage: Option<f64>) -> String {
    let mut text = String::new();
    if let (Some(set), Some(coverage)) = (&prediction.set, coverage) {
        let names: Vec<_> = set.iter().map(|class| in_line(class)).collect();
        let names = if names.is_empty() { "no class".into() } else { names.join(", ") };
        text += &format!("; {:.4} %: {names}", 100.0 * coverage).replace(".0000", "");
    }
    if prediction.unfamiliar == Some(true) {
        text += "; unfamiliar";
    }
    text
}

/// Tells what was predicted: to people, to scripts, in a table, by sorting the pictures.
struct Teller<'a> {
    args: &'a PredictArgs,
    inputs: &'a Inputs,
    table: Option<PredictionTable>,
    sorter: Option<Sorter>,
    explainer: Option<Explainer>,
    /// Pictures by class, or by the folder that they were sorted into.
    counts: BTreeMap<String, usize>,
    unreadable: Vec<Finding>,
}

impl Teller<'_> {
    fn tell(&mut self, index: usize, predicted: Result<Prediction, Finding>) -> anyhow::Result<()> {
        let name = self.inputs.name(index);
        if let Some(table) = &mut self.table {
            table.add(name, &predicted)?;
        }
        match predicted {
            Ok(prediction) => self.sure_or_not(index, &prediction),
            Err(finding) => {
                if self.args.json && self.table.is_none() {
                    answer_json(&json!({ "path": name, "error": finding.reason }))?;
                } else {
                    eprintln!("error: {name}: {}", in_flags(&finding.reason));
                }
                self.unreadable.push(finding);
                Ok(())
            }
        }
    }

    fn sure_or_not(&mut self, index: usize, prediction: &Prediction) -> anyhow::Result<()> {
        let name = self.inputs.name(index);
        let explained = match &self.explainer {
            Some(explainer) => explainer.put(self.inputs, index)?,
            None => None,
        };
        let sure = self.args.min_probability.is_none_or(|least| prediction.probability >= least);
        let class = if sure { prediction.label.as_str() } else { UNSURE };
        let target = match &mut self.sorter {
            Some(sorter) => Some(sorter.put(self.inputs, index, class)?),
            None => None,
        };
        *self.counts.entry(class.to_owned()).or_default() += 1;
        if self.args.json && self.table.is_none() {
            let most = self.args.top.map_or(usize::MAX, |k| k as usize);
            let mut row = as_json(name, prediction, most);
            if let Some(target) = &target {
                row["to"] = target.display().to_string().into();
            }
            if let Some(path) = &explained {
                row["explained"] = path.display().to_string().into();
            }
            return answer_json(&row);
        }
        match &target {
            Some(target) if self.args.dry_run => {
                let does = if self.args.move_to.is_some() { "move" } else { "copy" };
                answer_line(&format!(
                    "would {does} {name} to {} ({:.1} %)",
                    target.display(),
                    100.0 * prediction.probability
                ))
            }
            None if self.table.is_none() => {
                // A thousand classes on one line are of no use.
                let most = self.args.top.map_or(5, |k| k as usize);
                let ranked: Vec<String> = ranked(prediction, most)
                    .into_iter()
                    .map(|(class, p)| format!("{} {:.1} %", in_line(class), 100.0 * p))
                    .collect();
                answer_line(&format!(
                    "{}: {}{}",
                    in_line(name),
                    ranked.join(", "),
                    further(prediction, self.args.coverage)
                ))?;
                explained.map_or(Ok(()), |path| answer_line(&format!("  {}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// How many pictures have been classified.
    fn done(&self) -> usize {
        self.counts.values().sum()
    }

    fn finish(self) -> anyhow::Result<Status> {
        let (out, done) =
            (self.args.out.as_ref().map(|out| out.display().to_string()), self.done());
        if let Some(table) = self.table {
            table.finish()?;
        }
        if let Some(folder) = self.args.explain.as_ref().filter(|_| !self.args.json) {
            answer_line(&format!("explained in {}", folder.display()))?;
        }
        let folder = self.args.copy_to.as_ref().or(self.args.move_to.as_ref());
        if self.args.json {
            if out.is_some() {
                answer_json(&json!({
                    "out": out,
                    "pictures": done,
                    "classes": self.counts,
                    "remarks": self.inputs.remarks(),
                    "explained_in": self.args.explain,
                    "sorted_into": folder.map(|folder| folder.display().to_string()),
                    "unreadable": serde_json::to_value(&self.unreadable).unwrap_or(Value::Null),
                }))?;
            }
        } else if out.is_some() || folder.is_some() {
            for (class, count) in &self.counts {
                answer_line(&format!("{count:>8} {}", in_line(class)))?;
            }
            if let Some(folder) = folder {
                let did = match (self.args.dry_run, self.args.move_to.is_some()) {
                    (true, _) => "would be sorted into",
                    (false, true) => "moved into",
                    (false, false) => "copied into",
                };
                answer_line(&format!("{done} pictures {did} {}", folder.display()))?;
            }
            if let Some(out) = out {
                answer_line(&format!("table    {out}"))?;
            }
        }
        Ok(if self.unreadable.is_empty() { Status::Done } else { Status::SomeInputUnusable })
    }
}
