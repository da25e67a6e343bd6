//! `taper evaluate`.

use serde_json::{Value, json};
use taper_core::Split;
use taper_data::FolderUse;
use taper_model::OpenOptions;
use taper_picture::Finding;
use taper_run::{Session, open_classifier, open_data_with};

use crate::{
    args::EvaluateArgs,
    output::{Status, answer_json, answer_line, status},
    runs::present,
};

pub(crate) fn evaluate(args: &EvaluateArgs, session: &Session) -> anyhow::Result<Status> {
    present(&args.data)?;
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
