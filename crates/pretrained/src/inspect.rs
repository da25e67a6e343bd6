use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use taper_core::{DeviceChoice, Fit, OutOfRange, Precision};
use taper_data::{Dataset, Item};
use taper_graph::{WeightSource, heads::COSINE_SCALE};
use taper_health::{Embeddings, Health, Names, Watch};
use taper_plan::{Kernels, Output};
use taper_zoo::{WeightsChoice, resolve};

use taper_run::{
    BackboneSpec, Error, OutFolder, Place, PromptChoice, Result, Session, extract, named_head,
};

/// The network whose features an inspection uses.
#[derive(Debug, Clone)]
pub struct EmbedWith {
    /// A network of the zoo.
    pub model: String,
    /// Its weights.
    pub weights: WeightsChoice,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Which instructions on the CPU.
    pub kernels: Kernels,
}

impl Default for EmbedWith {
    /// The network whose weights are built in, on the CPU.
    fn default() -> Self {
        Self {
            model: taper_zoo::DEFAULT_MODEL.into(),
            weights: WeightsChoice::Pretrained,
            device: DeviceChoice::default(),
            kernels: Kernels::default(),
        }
    }
}

impl EmbedWith {
    /// Sets the weights, as given on the command line.
    pub fn weights(mut self, file: Option<PathBuf>) -> Self {
        if let Some(file) = file {
            self.weights = WeightsChoice::File(file);
        }
        self
    }
}

/// Asks a network that was trained with texts what the names of the classes say about the pictures:
/// a further witness for label errors ([`Health::ask_names`]).
#[derive(Debug, Clone)]
pub struct TextWith {
    /// The network, its weights (both halves in one file), and where its half for pictures
    /// computes.
    pub network: EmbedWith,
    /// The sentences about each name.
    pub prompts: PromptChoice,
}

/// What the names of the classes are to a network.
struct Asked {
    model: &'static str,
    directions: Vec<f32>,
    factor: f32,
}

impl TextWith {
    fn ask(&self, dataset: &Dataset, session: &Session) -> Result<Asked> {
        let EmbedWith { model, weights, kernels, .. } = &self.network;
        let model = taper_zoo::find(model)?;
        let head =
            named_head((model, weights), dataset.classes(), &self.prompts, *kernels, session)?;
        let values = |name| head.weights.values(name).map(Cow::into_owned).unwrap_or_default();
        let factor = COSINE_SCALE * values("cosine.gamma").first().copied().unwrap_or_default();
        Ok(Asked { model: model.name, directions: values("cosine.weight"), factor })
    }
}

/// Inspects a data set; with embeddings, if a network is given, and with what the names of the
/// classes say, if one that was trained with texts is.
///
/// # Errors
/// If a network is not available, was not trained with texts, or cannot tell the names apart;
/// [`Error::Interrupted`]. Problems with the data are not an error.
pub fn inspect(
    dataset: &Dataset,
    embed: Option<&EmbedWith>,
    text: Option<&TextWith>,
    session: &Session,
) -> Result<Health> {
    // Much can be wrong with names.
    let asked = text.map(|text| Ok::<_, Error>((text, text.ask(dataset, session)?))).transpose()?;
    let named = asked
        .map(|(text, asked)| Ok::<_, Error>((asked, embeddings(dataset, &text.network, session)?)));
    let named = named.transpose()?;
    let embeddings = match embed {
        Some(with) => Some(embeddings(dataset, with, session)?),
        None => None,
    };
    let progress = session.progress();
    progress.begin("inspect", dataset.indices(None).len() as u64, "pictures");
    let tick = || progress.advance(1);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let health = std::thread::scope(|scope| {
        // The inspection watches a flag; the session has to be polled.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if session.interrupted() {
                    stop.store(true, Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        // The thread above must end even after a panic, or the scope would wait for it for ever.
        let _done = SetOnDrop(&done);
        let watch = Watch { tick: Some(&tick), stop: Some(&stop) };
        taper_health::inspect(dataset, embeddings.as_ref(), &watch)
    });
    progress.end();
    let mut health = health.map_err(|error| match error {
        taper_health::Error::Interrupted => Error::Interrupted,
        other => other.into(),
    })?;
    if let Some((Asked { model, directions, factor }, embeddings)) = &named {
        let names = Names { model, embeddings, directions, factor: *factor };
        health.ask_names(dataset, &names)?;
    }
    Ok(health)
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The features of all pictures: those that failed are missing, and are found again by the
/// inspection.
fn embeddings(dataset: &Dataset, with: &EmbedWith, session: &Session) -> Result<Embeddings> {
    let model = taper_zoo::find(&with.model)?;
    let weights = resolve(model, &with.weights)?;
    let place = Place::open(with.device)?;
    let mut preprocessing = model.preprocessing;
    // A crop's border belongs to the picture too.
    preprocessing.fit = Fit::Squash;
    let spec = BackboneSpec {
        graph: &model.graph(),
        weights: weights.source.as_ref(),
        preprocessing,
        output: Output::Features,
        precision: Precision::default(),
        kernels: with.kernels,
        identified: session.cache().is_some(),
    };
    let backbone = place.backbone(&spec)?;
    let shared = Arc::new(dataset.clone());
    let items = Item::untouched(&dataset.indices(None));
    let features = extract(backbone.as_ref(), &shared, items, None, false, session)?;
    Ok(Embeddings {
        width: features.table.width,
        values: features.table.values,
        samples: features.items.into_iter().map(|item| item.sample).collect(),
    })
}

/// Finds out before an inspection whether a cleaned manifest can be written into a folder.
///
/// # Errors
/// If there is something in the folder, or it cannot be made.
pub fn check_fix(folder: &Path) -> Result<()> {
    for path in [folder.join("manifest.csv"), folder.join("left-out.csv")] {
        if path.symlink_metadata().is_ok() {
            return Err(taper_health::Error::Exists { path }.into());
        }
    }
    if folder.is_dir() {
        let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            return Ok(());
        }
        let remedy = "there are files in it: give a new folder for manifest.csv";
        return Err(OutOfRange::new("fix", folder.display(), remedy).into());
    }
    if folder.exists() {
        let remedy = "this is a file: give a folder for manifest.csv";
        return Err(OutOfRange::new("fix", folder.display(), remedy).into());
    }
    Ok(OutFolder::from(folder).check()?)
}
