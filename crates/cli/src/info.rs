//! `taper info`.

use taper_args::InfoArgs;
use taper_core::Fit;
use taper_graph::grouped;
use taper_model::{Calibration, CalibrationChange, Figure, FineTuning};
use taper_predict::ModelInfo;

use crate::output::{Status, answer_json, answer_line, in_line, temperature_line};

pub(crate) fn info(args: &InfoArgs) -> anyhow::Result<Status> {
    let info = taper_predict::info(&args.artefact)?;
    if args.json {
        answer_json(&info)?;
    } else {
        describe(&info)?;
    }
    Ok(Status::Done)
}

fn describe(info: &ModelInfo) -> anyhow::Result<()> {
    let row = |name: &str, text: &str| answer_line(&format!("{name:13} {text}"));
    row("model", &format!("{} ({:.1} MB)", info.file, info.bytes as f64 / 1e6))?;
    row("classes", &format!("{}: {}", info.classes.len(), in_line(&info.classes.join(", "))))?;
    row(
        "network",
        &format!(
            "{} up to {} features, {} parameters; head of {}",
            info.model,
            info.features,
            grouped(info.backbone_parameters as u64),
            grouped(info.head_parameters as u64)
        ),
    )?;
    let p = &info.preprocessing;
    let fit = match p.fit {
        Fit::Squash => "both sides scaled".to_owned(),
        Fit::Crop { fraction } => format!("central {:.1} %", 100.0 * fraction),
    };
    row(
        "pictures",
        &format!(
            "{0} × {0} pixels, {fit}, {1}, mean {2:?}, standard deviation {3:?}",
            p.size,
            format!("{:?}", p.interpolation).to_lowercase(),
            p.mean,
            p.std
        ),
    )?;
    row("precision", &info.precision.to_string())?;
    let figure = |f: &Figure| {
        format!("accuracy {:.4}, loss {:.4} ({} pictures", f.accuracy, f.loss, f.pictures)
    };
    match &info.figures {
        Some(figures) => {
            let validation = figure(&figures.validation);
            row("validation", &format!("{validation}: {})", figures.validated_on))?;
            match &figures.test {
                Some(test) => row("test", &format!("{}, untouched)", figure(test)))?,
                None => row("test", "no untouched pictures")?,
            }
        }
        None => row("measured", "not recorded: an earlier program wrote the model")?,
    }
    let tuned = info.fine_tuning.as_ref();
    if let Some(own) = tuned {
        let figures = &own.before;
        let test = figures.test.as_ref();
        let test = test.map_or(String::new(), |test| format!("; test {})", figure(test)));
        row("head alone", &format!("validation {}){test}", figure(&figures.validation)))?;
        row("fine-tuned", &how_tuned(own))?;
    }
    match &info.calibration {
        Some(own) => knows(own, info)?,
        None => row("calibration", "none: an earlier program wrote the model")?,
    }
    row("weights", &info.weights)?;
    row(
        "licence",
        &match (&info.licence, &info.source) {
            (Some(licence), Some(source)) => format!("{licence} (the network's weights: {source})"),
            _ if info.weights.starts_with("random") => {
                "none: the network's weights are random".into()
            }
            _ => "not known: the network's weights came from a file of your own".into(),
        },
    )?;
    row("SHA-256", &format!("{} (model)", info.sha256))?;
    let of_weights = match tuned {
        Some(own) if own.alpha > 0.0 => "the weights that fine-tuning began with",
        _ => "the network's weights",
    };
    row("", &format!("{} ({of_weights})", info.weights_sha256))?;
    row("", &format!("{} (data)", info.data))?;
    answer_line("recipe")?;
    for line in info.recipe.trim_end().lines() {
        answer_line(format!("  {line}").trim_end())?;
    }
    Ok(())
}

/// What the model knows about its own answers.
fn knows(own: &Calibration, info: &ModelInfo) -> anyhow::Result<()> {
    let row = |name: &str, text: &str| answer_line(&format!("{name:13} {text}"));
    row("temperature", &temperature_line(own.temperature, own.limit))?;
    let change =
        |change: &CalibrationChange| format!("error {:.4}, raw {:.4}", change.after, change.before);
    let test = own.test.as_ref().map_or(String::new(), |own| format!("; test {}", change(own)));
    row("calibration", &format!("validation {}{test}", change(&own.validation)))?;
    let most = info.scores as f64 / (info.scores as f64 + 1.0);
    row("sets", &format!("up to a coverage of {most:.4} ({} validation pictures)", info.scores))?;
    match &own.familiarity {
        Some(familiarity) => row(
            "unfamiliar",
            &format!(
                "farther than {:.4} from the training pictures (neighbour {}; {} of {} kept)",
                familiarity.threshold,
                familiarity.neighbours,
                info.reference,
                familiarity.training_pictures
            ),
        ),
        None => row("unfamiliar", "not known"),
    }
}

/// How the network was trained too.
fn how_tuned(own: &FineTuning) -> String {
    let kept = match own.alpha {
        0.0 => ": nothing of it helped on the validation pictures, and nothing was kept".to_owned(),
        1.0 => String::new(),
        alpha => format!(", {alpha:.1} of the way from the head alone"),
    };
    let parameters = grouped(own.trained_parameters);
    format!("from '{}' on, {parameters} parameters beside the head's{kept}", own.from)
}
