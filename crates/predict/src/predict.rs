use std::sync::Arc;

use taper_data::Item;
use taper_model::{Classifier, Prediction};
use taper_picture::{DefectKind, Finding};

use taper_run::{Error, Session, extract};

use crate::Inputs;

/// A picture's prediction, or what is wrong with the picture.
pub type Predicted = std::result::Result<Prediction, Finding>;

/// How many pictures are classified before their predictions are handed on.
const TOGETHER: usize = 2048;

/// Classifies pictures as [`evaluate`](crate::evaluate()) does, in batches and on all
/// processors, and hands each prediction, or what is wrong with the picture, to `each`, in the
/// order of the inputs.
///
/// # Errors
/// [`Error::Interrupted`] if interrupted, any error of the network, and those of `each`.
pub fn predict<E: From<Error>>(
    classifier: &Classifier,
    inputs: &Inputs,
    session: &Session,
    mut each: impl FnMut(usize, Predicted) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let dataset = Arc::new(inputs.dataset(classifier.classes())?);
    let part = session.part();
    session.progress().begin("predict", inputs.len() as u64, "pictures");
    let indices: Vec<usize> = (0..inputs.len()).collect();
    let mut outcome = Ok(());
    for some in indices.chunks(TOGETHER) {
        let items = Item::untouched(some);
        let features = extract(classifier.backbone(), &dataset, items, None, false, &part);
        let features = match features {
            Ok(features) => features,
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        };
        let predictions = classifier.predictions(&features.table.values);
        let mut rows = features.items.iter().zip(predictions).peekable();
        let handed = some.iter().try_for_each(|&index| {
            let row = rows.next_if(|(item, _)| item.sample == index);
            let predicted = match row {
                Some((_, predicted)) => Ok(predicted.map_err(Error::from)?),
                None => Err(defect(&features.findings, inputs, index)),
            };
            each(index, predicted)
        });
        if handed.is_err() {
            outcome = handed;
            break;
        }
    }
    session.progress().end();
    outcome
}

/// What is wrong with a picture that has no row, under its own name.
fn defect(findings: &[Finding], inputs: &Inputs, index: usize) -> Finding {
    let path = inputs.name(index).to_owned();
    match findings.iter().find(|finding| finding.sample == Some(index) && !finding.usable()) {
        Some(finding) => Finding { path, ..finding.clone() },
        None => Finding {
            path,
            kind: DefectKind::Io,
            reason: "was not read".into(),
            sample: Some(index),
        },
    }
}
