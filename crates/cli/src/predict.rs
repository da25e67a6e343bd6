//! `taper predict`.

use serde_json::{Map, Value, json};
use taper_core::OutOfRange;
use taper_model::{OpenOptions, Prediction};
use taper_run::{Session, open_classifier, pretrained_classifier};
use taper_zoo::WeightsChoice;

use crate::{
    args::PredictArgs,
    flags::{self, Given},
    output::{Status, answer_json, answer_line},
};

pub(crate) fn predict(
    args: &PredictArgs,
    given: &Given,
    session: &Session,
) -> anyhow::Result<Status> {
    flags::of_prediction(given)?;
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
