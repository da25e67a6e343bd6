use serde::Serialize;
use taper_args::ListArgs;
use taper_core::{Fit, Interpolation};
use taper_fetch::HubOptions;
use taper_zoo::{ModelSpec, Place, models};

use crate::output::{Status, answer_json, answer_line};

pub(crate) fn list_models(args: &ListArgs) -> anyhow::Result<Status> {
    let options = HubOptions::from_env();
    if args.json {
        let entries: Vec<Entry> =
            models().iter().map(|model| Entry::new(model, &model.place(&options))).collect();
        return answer_json(&entries).map(|()| Status::Done);
    }
    table("networks for pictures", false, &options)?;
    answer_line("")?;
    table(
        "networks for pictures and texts: --labels, --zero-shot, --head zero-shot",
        true,
        &options,
    )?;
    answer_line("")?;
    for (licence, terms) in OWN_LICENCES {
        answer_line(&format!("{licence:21} {terms}"))?;
    }
    Ok(Status::Done)
}

/// Licences that have no name of their own, and what is to be known before the weights are used.
const OWN_LICENCES: [(&str, &str); 3] = [
    ("LicenseRef-apple-amlr", "Apple's; for research only"),
    ("LicenseRef-fastvit", "Apple's; read it in the repository of the weights"),
    ("LicenseRef-mobileone", "Apple's; read it in the repository of the weights"),
];

/// The networks that know texts, or those that do not.
fn table(title: &str, texts: bool, options: &HubOptions) -> anyhow::Result<()> {
    answer_line(title)?;
    answer_line(&format!(
        "{:21} {:>5} {:>8} {:>11} {:>6} {:>10}  {:21} weights",
        "model", "input", "features", "parameters", "GFLOP", "on disk", "licence"
    ))?;
    for model in models().iter().filter(|model| model.text.is_some() == texts) {
        let place = model.place(options);
        let size = format!("{:.1} MB", model.bytes(&place) as f64 / 1e6);
        let at = match &place {
            Place::Embedded => "embedded".to_owned(),
            other => format!("{}: {}", other.name(), model.hub.repository),
        };
        answer_line(&format!(
            "{:21} {:>5} {:>8} {:>11} {:>6.2} {size:>10}  {:21} {at}",
            model.name,
            model.preprocessing.size,
            model.feature_width,
            model.parameters,
            model.flops() as f64 / 1e9,
            model.licence,
        ))?;
    }
    Ok(())
}

/// Everything known about a network, for scripts.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    repository: &'static str,
    revision: &'static str,
    source: &'static str,
    paper: &'static str,
    licence: &'static str,
    size: u32,
    interpolation: Interpolation,
    fit: Fit,
    mean: [f32; 3],
    std: [f32; 3],
    features: usize,
    classes: usize,
    texts: bool,
    parameters: usize,
    flops: u64,
    bytes: u64,
    digest: Option<String>,
    place: &'static str,
    embedded: bool,
    path: Option<String>,
}

impl Entry {
    fn new(model: &'static ModelSpec, place: &Place) -> Self {
        Self {
            name: model.name,
            repository: model.hub.repository,
            revision: model.hub.revision,
            source: model.source,
            paper: model.paper,
            licence: model.licence,
            size: model.preprocessing.size,
            interpolation: model.preprocessing.interpolation,
            fit: model.preprocessing.fit,
            mean: model.preprocessing.mean,
            std: model.preprocessing.std,
            features: model.feature_width,
            classes: model.classes,
            texts: model.text.is_some(),
            parameters: model.parameters,
            flops: model.flops(),
            bytes: model.bytes(place),
            digest: model.known_digest(place),
            place: place.name(),
            embedded: model.is_embedded(),
            path: match place {
                Place::Cached(path) => Some(path.display().to_string()),
                _ => None,
            },
        }
    }
}
