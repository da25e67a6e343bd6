//! Trained models, opened.

use std::path::{Path, PathBuf};

use taper_core::{DeviceChoice, OutOfRange, Split};
use taper_data::Dataset;
use taper_grad::Head;
use taper_model::{Artefact, Classifier, OpenOptions};
use taper_picture::FileKind;
use taper_plan::Output;

use crate::{
    PrecisionChoice, Result, Session, data_record,
    place::{BackboneSpec, Place, plan},
    precision::resolve_precision,
};

/// The trained model in a run folder.
const MODEL: &str = "model.safetensors";

/// Opens an artefact, `model.safetensors` of a run folder or the folder, on a device. On the CPU
/// without a cache, it is what [`Classifier::open`] gives.
///
/// # Errors
/// [`OutOfRange`] if there is no such file, [`taper_model::Error::Artefact`] if it is something
/// else, and any error that prevents the network from being built.
pub fn open_classifier(
    path: &Path,
    device: DeviceChoice,
    options: &OpenOptions,
    session: &Session,
) -> Result<Classifier> {
    let place = Place::open(device)?;
    let (artefact, weights) = Artefact::open(&model_file(path)?)?;
    let trained_in = if place.is_cpu() { artefact.cpu_precision() } else { artefact.precision };
    let precision = options.precision.unwrap_or(trained_in);
    if precision != artefact.precision {
        session.progress().say(&format!(
            "the model was trained in {} and computes in {precision} here",
            artefact.precision
        ));
    }
    let spec = BackboneSpec {
        graph: &artefact.backbone,
        weights: &weights.backbone(),
        preprocessing: artefact.preprocessing,
        output: Output::Features,
        precision,
        kernels: options.kernels,
        identified: session.cache().is_some(),
    };
    if let Some(precision) = options.precision {
        // Says so if there is a faster one.
        resolve_precision(PrecisionChoice::Fixed(precision), &place, &spec, session)?;
    }
    if place.is_cpu() {
        return Ok(Classifier::on_plan(&artefact, &weights, plan(&spec)?)?);
    }
    let backbone = place.backbone(&spec)?;
    let head = Head::loaded(&artefact.head, &weights.head())?;
    let classifier = Classifier::assemble(artefact.classes.clone(), backbone, Some(head))?;
    Ok(classifier.with_calibration(artefact.calibration))
}

/// The file of a model: the path itself, or `model.safetensors` in it if it is a run folder.
///
/// # Errors
/// [`OutOfRange`] if there is no such file.
pub fn model_file(path: &Path) -> Result<PathBuf> {
    let file = if path.is_dir() { path.join(MODEL) } else { path.to_path_buf() };
    if file.is_file() && FileKind::of_file(&file) != FileKind::Other {
        let remedy = "this is a picture: give the model.safetensors of a run, or the run's folder";
        return Err(OutOfRange::new("the model", format!("'{}'", path.display()), remedy).into());
    }
    if file.is_file() {
        return Ok(file);
    }
    if path.is_dir() {
        let remedy = "the folder has no model.safetensors: give the folder of a run, or the model in it; pictures and data come after the model";
        return Err(OutOfRange::new("the model", format!("'{}'", path.display()), remedy).into());
    }
    let remedy = "there is no such file: give the model.safetensors of a run, or the run's folder";
    Err(OutOfRange::new("the model", format!("'{}'", path.display()), remedy).into())
}

/// What to say if pictures of these were trained on, so that figures on them measure memorisation
/// too. `model`: as given to [`open_classifier`]. A run's folder tells picture by picture, a model
/// alone whether it is the same data set.
///
/// # Errors
/// As [`model_file`], and if the artefact cannot be read.
pub fn about_memorised(
    model: &Path,
    dataset: &Dataset,
    split: Option<Split>,
) -> Result<Option<String>> {
    let file = model_file(model)?;
    let indices = dataset.indices(split);
    let record = file.parent().and_then(data_record::read);
    let shared = match record.map(|record| record.shared(dataset, &indices)) {
        Some(shared) if shared > 0 => shared,
        _ if split.is_some_and(|split| split != Split::Train) => 0,
        _ if Artefact::open(&file)?.0.data == dataset.fingerprint() => indices.len(),
        _ => 0,
    };
    Ok((shared > 0).then(|| {
        format!(
            "{shared} of {} picture(s) are among those that the model was made with, so these figures measure memorisation too: those on untouched pictures are in the run's result.json",
            indices.len()
        )
    }))
}
