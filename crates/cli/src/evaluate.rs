//! `taper evaluate`.

use std::path::Path;

use serde_json::{Value, json};
use taper_args::EvaluateArgs;
use taper_core::{OutOfRange, Split};
use taper_data::Dataset;
use taper_model::{Classifier, OpenOptions};
use taper_picture::Finding;
use taper_predict::{Evaluated, evaluate as measure, write_evaluation};
use taper_pretrained::ByName;
use taper_run::{
    Error, OutFolder, Session, about_memorised, check_present, data_name, model_file,
    open_classifier, open_data_with, remark,
};
use taper_run_report::{EvaluationOf, check_report, evaluation_report, write_report};

use crate::output::{Status, answer_json, answer_line, confused, judgement, per_class, status};

/// The coverage of sets if none is asked for.
const COVERAGE: f64 = 0.9;

pub(crate) fn evaluate(args: &EvaluateArgs, session: &Session) -> anyhow::Result<Status> {
    check_present(&args.data)?;
    let out = args.out.as_ref().map(OutFolder::from);
    if let Some(out) = &out {
        out.check().map_err(Error::from)?;
    }
    args.report.as_deref().map_or(Ok(()), check_report)?;
    let options = OpenOptions { precision: args.precision, kernels: args.compute.kernels };
    let (dataset, classifier) = opened(args, &options, session)?;
    let classifier = match args.coverage {
        Some(coverage) => classifier.with_coverage(coverage).map_err(Error::from)?,
        None if classifier.calibration().is_some_and(|own| own.sets(COVERAGE).is_ok()) => {
            classifier.with_coverage(COVERAGE).map_err(Error::from)?
        }
        None => classifier,
    };
    let split = match args.split.as_deref() {
        Some("all") => None,
        Some(name) => Some(name.parse::<Split>().map_err(Error::from)?),
        None => [Split::Test, Split::Val]
            .into_iter()
            .find(|split| !dataset.indices(Some(*split)).is_empty()),
    };
    let mut evaluated = measure(&classifier, dataset.clone(), split, args.strict, session)?;
    let mut findings = std::mem::take(&mut evaluated.findings);
    let evaluation = &evaluated.evaluation;
    if let Some(artefact) = &args.artefact {
        let memorised = about_memorised(artefact, &dataset, split)?;
        findings.extend(memorised.map(|text| remark(&dataset, &text)));
    }
    let (remarks, unreadable): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::usable);
    for finding in unreadable.iter().chain(&remarks) {
        session.progress().warn(&format!("{}: {}", finding.path, finding.reason));
    }
    let split = split.map_or("all", Split::name);
    let name = match (&args.artefact, &args.zero_shot) {
        (Some(artefact), _) => artefact.display().to_string(),
        (None, model) => format!("{} by names alone", model.as_deref().unwrap_or_default()),
    };
    if let Some(path) = &args.report {
        let findings: Vec<Finding> = unreadable.iter().chain(&remarks).cloned().collect();
        let of = Named { name: &name, split, findings: &findings };
        report(path, args, &of, (&classifier, &evaluated))?;
    }
    let mut value = serde_json::to_value(evaluation)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("split".into(), json!(split));
        fields.insert("data".into(), json!(args.data));
        if let Some(model) = &args.zero_shot {
            fields.insert("model".into(), json!(model));
            fields.insert("prompts".into(), json!(args.prompts.clone().unwrap_or_default()));
        }
        let temperature = classifier.calibration().map(|own| own.temperature);
        if let (Some(judged), Some(temperature)) = (&evaluated.judged, temperature) {
            let mut own = serde_json::to_value(judged)?;
            own["temperature"] = json!(temperature);
            fields.insert("calibrated".into(), own);
        }
        fields.insert("unreadable".into(), serde_json::to_value(&unreadable)?);
        fields.insert("remarks".into(), serde_json::to_value(&remarks)?);
        let report = args.report.as_ref().map(|path| path.display().to_string());
        fields.extend(report.map(|path| ("report".into(), json!(path))));
    }
    let folder = match &out {
        Some(out) => {
            let title = format!("{name} on {} ({split})", data_name(&args.data));
            Some(write_evaluation(out, &title, &evaluated, &value)?)
        }
        None => None,
    };
    if args.reply.json {
        if let (Value::Object(fields), Some(folder)) = (&mut value, &folder) {
            fields.insert("out".into(), json!(folder.display().to_string()));
        }
        answer_json(&value)?;
    } else {
        answer_line(&format!(
            "accuracy {:.4}, loss {:.4}, {} pictures ({split})",
            evaluation.accuracy, evaluation.loss, evaluation.n
        ))?;
        per_class(evaluation)?;
        confused(evaluation)?;
        if let Some(judged) = &evaluated.judged {
            judgement(split, judged)?;
        }
        if let Some(report) = &args.report {
            answer_line(&format!("report        {}", report.display()))?;
        }
        if let Some(folder) = &folder {
            answer_line(&format!("figures       {}", folder.join("evaluation.json").display()))?;
            answer_line(&format!("confusion     {}", folder.join("confusion.png").display()))?;
        }
    }
    Ok(status(&unreadable))
}

/// The pictures, and what classifies them.
fn opened(
    args: &EvaluateArgs,
    options: &OpenOptions,
    session: &Session,
) -> anyhow::Result<(Dataset, Classifier)> {
    let read = || open_data_with(&args.data, args.source.reading(None), session);
    // What a trained model is comes first, since it is given first.
    Ok(match (&args.artefact, &args.zero_shot) {
        (Some(artefact), _) => {
            let classifier = open_classifier(artefact, args.compute.device, options, session)?;
            (read()?, classifier)
        }
        (None, model) => {
            let dataset = read()?;
            if dataset.classes().len() < 2 {
                let remedy = "all of its pictures are of one class, so that there is nothing to tell apart: give data with two or more";
                let data = format!("'{}'", args.data);
                return Err(taper_run::Error::from(OutOfRange::new("data", data, remedy)).into());
            }
            let by_name = ByName {
                model: model.as_deref().unwrap_or_default(),
                weights: args.weights.clone(),
                prompts: args.prompts.clone().unwrap_or_default(),
                device: args.compute.device,
                options: *options,
            };
            let classifier = by_name.classifier(dataset.classes().clone(), session)?;
            (dataset, classifier)
        }
    })
}

/// What a report says about an evaluation beside its figures.
struct Named<'a> {
    name: &'a str,
    split: &'a str,
    findings: &'a [Finding],
}

fn report(
    path: &Path,
    args: &EvaluateArgs,
    of: &Named<'_>,
    (classifier, evaluated): (&Classifier, &Evaluated),
) -> anyhow::Result<()> {
    // Maps are computed on the CPU.
    let own = match &args.artefact {
        Some(artefact) => {
            let own = Classifier::open(model_file(artefact)?, &OpenOptions::default());
            Some(own.map_err(Error::from)?)
        }
        None => None,
    };
    let of = EvaluationOf {
        model: of.name,
        data: &args.data,
        split: of.split,
        classifier: own.as_ref().unwrap_or(classifier),
        temperature: classifier.calibration().map_or(1.0, |own| own.temperature),
        findings: of.findings,
    };
    write_report(path, &evaluation_report(&of, evaluated))?;
    Ok(())
}
