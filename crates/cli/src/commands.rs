use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use serde_json::{Map, Value, json};
use taper_core::{OutOfRange, Split};
use taper_data::FolderUse;
use taper_lr_finder::Method;
use taper_model::{OpenOptions, Prediction};
use taper_picture::Finding;
use taper_run::{
    Answer, CrossValidation, KNOWN_DATASETS, Outcome, Recipe, Resumed, Session, open_classifier,
    open_data_with, pretrained_classifier,
};
use taper_zoo::WeightsChoice;

use crate::{
    args::{
        AugmentArgs, CacheArgs, Command, EvaluateArgs, ListArgs, LrFindArgs, PredictArgs, TrainArgs,
    },
    embed::embed,
    inspect::inspect,
    models::list_models,
    output::{Status, answer_json, answer_line},
    progress::Console,
    runs::{go_on, next_run},
    summary::summary,
};

/// The trained model in a run folder.
const MODEL: &str = "model.safetensors";

pub(crate) fn run(command: Command, interrupted: Arc<AtomicBool>) -> anyhow::Result<Status> {
    let session = |quiet| Session::new(Arc::new(Console::new(quiet)), Arc::clone(&interrupted));
    match command {
        Command::Train(args) => train(&args, &cached(session(args.reply.quiet), &args.cache)),
        Command::LrFind(args) => lr_find(&args, &cached(session(args.reply.quiet), &args.cache)),
        Command::Inspect(args) => inspect(&args, &cached(session(args.reply.quiet), &args.cache)),
        Command::Evaluate(args) => evaluate(&args, &cached(session(args.reply.quiet), &args.cache)),
        Command::Augment(args) => augment(&args, &session(args.reply.quiet)),
        Command::Predict(args) => predict(&args, &session(true)),
        Command::Embed(args) => embed(&args, &cached(session(args.reply.quiet), &args.cache)),
        Command::Summary(args) => summary(&args),
        Command::Models(args) => list_models(&args),
        Command::Datasets(args) => list_datasets(&args),
    }
}

fn cached(session: Session, args: &CacheArgs) -> Session {
    match args.open() {
        Some(cache) => session.with_cache(cache),
        None => session,
    }
}

fn read_recipe(path: Option<&Path>) -> anyhow::Result<Recipe> {
    Ok(path.map_or_else(|| Ok(Recipe::default()), Recipe::read)?)
}

fn train(args: &TrainArgs, session: &Session) -> anyhow::Result<Status> {
    let answered = if let Some(run) = &args.resume {
        match taper_run::resume(run, session)? {
            Resumed::Trained(answer) => *answer,
            Resumed::Complete(answer) => {
                session.progress().say("the run is complete: there is nothing left to do");
                *answer
            }
            Resumed::CrossValidated(answer) => {
                return cross_validated(&answer, args.reply.json);
            }
        }
    } else {
        let recipe = args.recipe.resolve(read_recipe(args.recipe.recipe.as_deref())?).check()?;
        let out = match &args.out {
            Some(out) => out.clone(),
            None => next_run(&recipe.recipe().data, recipe.model().name, "")?,
        };
        if recipe.recipe().folds.is_some() && recipe.recipe().fold.is_none() {
            let answer = taper_run::cross_validate(recipe, &out, session)?;
            return cross_validated(&answer, args.reply.json);
        }
        taper_run::train(recipe, &out, session)?
    };
    if answered.stopped == Outcome::Interrupted {
        session.progress().say(&go_on(Path::new(&answered.run)));
    }
    if args.reply.json {
        answer_json(&answered)?;
    } else {
        describe(&answered)?;
    }
    Ok(status(&answered.unreadable))
}

fn cross_validated(answer: &CrossValidation, json: bool) -> anyhow::Result<Status> {
    if json {
        answer_json(answer)?;
    } else {
        for (fold, own) in answer.folds.iter().enumerate() {
            answer_line(&format!(
                "fold {fold:<8} accuracy {:.4}, loss {:.4} ({} pictures)",
                own.val_accuracy, own.val_loss, own.validation.n
            ))?;
        }
        let mut spreads = vec![("accuracy", Some(answer.val_accuracy))];
        spreads.push(("loss", Some(answer.val_loss)));
        spreads.push(("on test", answer.test_accuracy));
        for (name, spread) in spreads {
            let Some(s) = spread else { continue };
            answer_line(&format!(
                "{name:13} {:.4} ± {:.4} ({:.4} to {:.4})",
                s.mean, s.std, s.min, s.max
            ))?;
        }
        answer_line(&format!("folds         {}", answer.run))?;
    }
    Ok(status(&answer.unreadable))
}

fn lr_find(args: &LrFindArgs, session: &Session) -> anyhow::Result<Status> {
    let recipe = args.resolve(read_recipe(args.recipe.recipe.as_deref())?).check()?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => next_run(&recipe.recipe().data, recipe.model().name, "lr-")?,
    };
    let found = taper_run::find_rate(recipe, &out, session)?;
    if args.reply.json {
        answer_json(&found)?;
    } else {
        for method in Method::ALL {
            let rate = found.suggestions.get(method);
            let rate = rate.map_or("no descent seen".into(), |rate| format!("{rate:.3e}"));
            let chosen = if method.name() == found.method { "  chosen" } else { "" };
            answer_line(&format!("{method:8} {rate}{chosen}"))?;
        }
        let [low, high] = found.spread;
        if low != high {
            answer_line(&format!("sweeps   from {low:.3e} to {high:.3e}"))?;
        }
        answer_line(&format!("plot     {}", found.plot))?;
    }
    Ok(status(&found.unreadable))
}

fn describe(t: &Answer) -> anyhow::Result<()> {
    let ended = match t.stopped {
        Outcome::Completed => "",
        Outcome::Early => " (stopped early)",
        Outcome::Nan => " (the loss became NaN)",
        Outcome::Interrupted => " (interrupted)",
    };
    let from = match t.best_epoch {
        // Counted from 1, as in the lines of progress and the curves.
        Some(epoch) => format!("weights of epoch {}", epoch + 1),
        None => "weights of an unfinished epoch".into(),
    };
    answer_line(&format!("epochs        {}{ended}, {from}", t.epochs))?;
    answer_line(&format!(
        "validation    accuracy {:.4}, loss {:.4} ({} pictures: {})",
        t.val_accuracy, t.val_loss, t.validation.n, t.validated_on
    ))?;
    let honest = match &t.test {
        Some(test) => {
            answer_line(&format!(
                "test          accuracy {:.4}, loss {:.4} ({} untouched pictures)",
                test.accuracy, test.loss, test.n
            ))?;
            test
        }
        None => &t.validation,
    };
    let width = honest.per_class.iter().map(|c| c.label.chars().count()).max().unwrap_or(0).max(5);
    answer_line(&format!("{:width$}  precision  recall     f1  pictures", "class"))?;
    for class in &honest.per_class {
        answer_line(&format!(
            "{:width$}     {:.4}  {:.4} {:.4}  {:>8}",
            class.label, class.precision, class.recall, class.f1, class.support
        ))?;
    }
    if let Some(pair) = &honest.most_confused {
        answer_line(&format!(
            "most confused {} taken for {}: {} ({:.1} %)",
            pair.truth,
            pair.predicted,
            pair.count,
            100.0 * pair.share
        ))?;
    }
    answer_line(&format!(
        "time          {:.1} s: features {:.1} s, head {:.1} s",
        t.total_seconds, t.feature_seconds, t.head_seconds
    ))?;
    answer_line(&format!("model         {}", Path::new(&t.run).join(MODEL).display()))
}

fn status(unreadable: &[Finding]) -> Status {
    if unreadable.is_empty() { Status::Done } else { Status::SomeInputUnusable }
}

fn augment(args: &AugmentArgs, session: &Session) -> anyhow::Result<Status> {
    let recipe = args.recipe().check()?;
    let augmented = taper_run::augment_sheet(&recipe, &args.out, session)?;
    if args.reply.json {
        answer_json(&augmented)?;
    } else {
        answer_line(&format!("{} pictures to train on", augmented.cardinality()))?;
        answer_line(&format!(
            "{} fixed views of each with {}: the same in every epoch, so that features are computed once",
            augmented.views, augmented.augment
        ))?;
        answer_line(&format!("sheet {}", augmented.sheet))?;
    }
    Ok(status(&augmented.unreadable))
}

fn evaluate(args: &EvaluateArgs, session: &Session) -> anyhow::Result<Status> {
    let options = OpenOptions { precision: args.precision, kernels: args.compute.kernels };
    let classifier = open_classifier(&args.artefact, args.compute.device, &options, session)?;
    let dataset = open_data_with(&args.data, FolderUse::Evaluate, session)?;
    let split = match args.split.as_deref() {
        Some("all") => None,
        Some(name) => Some(name.parse::<Split>().map_err(taper_run::Error::from)?),
        None if dataset.indices(Some(Split::Test)).is_empty() => None,
        None => Some(Split::Test),
    };
    let (evaluation, findings) =
        taper_run::evaluate(&classifier, dataset, split, args.strict, session)?;
    let (remarks, unreadable): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::usable);
    for finding in unreadable.iter().chain(&remarks) {
        session.progress().warn(&format!("{}: {}", finding.path, finding.reason));
    }
    if args.reply.json {
        let mut value = serde_json::to_value(&evaluation)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("split".into(), json!(split.map_or("all", Split::name)));
            fields.insert("unreadable".into(), serde_json::to_value(&unreadable)?);
            fields.insert("remarks".into(), serde_json::to_value(&remarks)?);
        }
        answer_json(&value)?;
    } else {
        answer_line(&format!(
            "accuracy {:.4}, loss {:.4}, {} pictures",
            evaluation.accuracy, evaluation.loss, evaluation.n
        ))?;
        for class in evaluation.per_class.iter().filter(|c| c.support > 0.0) {
            answer_line(&format!(
                "{}: precision {:.4}, recall {:.4}, f1 {:.4}, {} pictures",
                class.label, class.precision, class.recall, class.f1, class.support
            ))?;
        }
    }
    Ok(status(&unreadable))
}

fn predict(args: &PredictArgs, session: &Session) -> anyhow::Result<Status> {
    let device = args.compute.device;
    let options = OpenOptions { precision: args.precision, kernels: args.compute.kernels };
    let (classifier, pictures) = match &args.model {
        Some(name) => {
            let model = taper_zoo::find(name).map_err(taper_run::Error::from)?;
            let weights =
                args.weights.clone().map_or(WeightsChoice::Pretrained, WeightsChoice::File);
            (pretrained_classifier(model, &weights, device, &options)?, &args.paths[..])
        }
        None => {
            let Some((artefact, pictures)) =
                args.paths.split_first().filter(|(_, p)| !p.is_empty())
            else {
                let remedy =
                    "give the model.safetensors of a run and then at least one picture, or `model`";
                let missing = OutOfRange::new("model", "missing", remedy);
                return Err(taper_run::Error::from(missing).into());
            };
            (open_classifier(artefact, device, &options, session)?, pictures)
        }
    };
    let mut ended = Status::Done;
    for path in pictures {
        if session.interrupted() {
            return Err(taper_run::Error::Interrupted.into());
        }
        let shown = path.display().to_string();
        match classifier.predict(path.as_path()) {
            Ok(prediction) => report(args, &shown, prediction)?,
            Err(taper_model::Error::File { defect, .. }) => {
                ended = Status::SomeInputUnusable;
                if args.json {
                    answer_json(&json!({ "path": shown, "error": defect.reason }))?;
                } else {
                    eprintln!("error: {shown}: {defect}");
                }
            }
            Err(error) => return Err(taper_run::Error::from(error).into()),
        }
    }
    Ok(ended)
}

fn report(args: &PredictArgs, path: &str, prediction: Prediction) -> anyhow::Result<()> {
    let mut ranked = prediction.probabilities;
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(args.top.map_or(usize::MAX, |k| k as usize));
    if args.json {
        let probabilities: Map<String, Value> =
            ranked.into_iter().map(|(name, p)| (name, json!(p))).collect();
        return answer_json(&json!({
            "path": path,
            "label": prediction.label,
            "probability": prediction.probability,
            "probabilities": probabilities,
        }));
    }
    // A thousand classes on one line are of no use.
    ranked.truncate(if args.top.is_none() { 5 } else { usize::MAX });
    let ranked: Vec<String> =
        ranked.into_iter().map(|(name, p)| format!("{name} {:.1} %", 100.0 * p)).collect();
    answer_line(&format!("{path}: {}", ranked.join(", ")))
}

fn list_datasets(args: &ListArgs) -> anyhow::Result<Status> {
    if args.json {
        let entries: Vec<Value> = KNOWN_DATASETS
            .iter()
            .map(|d| {
                json!({
                    "name": d.name,
                    "source": d.description,
                    "licence": d.licence,
                    "embedded": d.embedded,
                    "size": d.bytes,
                    "digest": d.digests,
                })
            })
            .collect();
        return answer_json(&entries).map(|()| Status::Done);
    }
    for d in &KNOWN_DATASETS {
        answer_line(&format!("{}: {} ({})", d.name, d.description, d.licence))?;
    }
    answer_line(
        "Any folder of pictures is a data set too (train/, val/, test/ or class folders alone), and any manifest, archive, Parquet file and hf:owner/name.",
    )?;
    Ok(Status::Done)
}
