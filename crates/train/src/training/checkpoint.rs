use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_callbacks::{CheckpointId, StopReason};
use taper_graph::{WeightSource, Weights};
use taper_metrics::{Mean, Metrics};
use taper_zoo::WeightFile;

use super::engine::State;
use crate::{Error, Result, file::write_atomically};

/// The key of a checkpoint's description in its safetensors header.
const KEY: &str = "taper-checkpoint";
const VERSION: u32 = 1;

/// Where training stands inside its epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The epoch that is being trained, or comes next.
    pub(super) epoch: u32,
    /// Its steps that are done.
    pub(super) steps: usize,
    /// The mean loss of those.
    pub(super) loss: Mean,
    /// The figures of those.
    pub(super) metrics: Metrics,
}

/// Everything about a moment of training but its tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    pub(super) version: u32,
    /// What the checkpoint belongs to: settings and features.
    pub(super) training: String,
    /// Steps of the optimizer over all epochs.
    pub(super) step: u64,
    #[serde(with = "taper_core::float")]
    pub(super) base_rate: f64,
    pub(super) epochs: u64,
    pub(super) cursor: Cursor,
    pub(super) optimizer_steps: u64,
    pub(super) callbacks: Value,
    /// The callbacks that have weights kept, and of which epoch.
    pub(super) kept: Vec<(usize, u64)>,
    pub(super) stop: Option<StopReason>,
    /// Whether it was written because training was interrupted, so that no callback knows of it.
    pub(super) interrupted: bool,
}

/// A moment of training: it continues from here to the same bytes.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) moment: Moment,
    pub(super) state: State,
    pub(super) kept: HashMap<usize, (u64, Weights)>,
}

impl Checkpoint {
    pub(super) fn version() -> u32 {
        VERSION
    }

    fn tensors(&self) -> Vec<(String, &Weights)> {
        let mut parts = vec![
            ("head.".to_owned(), &self.state.head),
            ("optimizer.".to_owned(), &self.state.optimizer),
        ];
        parts.extend(self.state.average.iter().map(|w| ("average.".to_owned(), w)));
        for (index, _) in &self.moment.kept {
            parts.extend(self.kept.get(index).map(|(_, w)| (format!("kept{index}."), w)));
        }
        parts
    }

    fn write(&self, path: &Path) -> Result<()> {
        let fail = |problem: String| Error::Artefact { file: path.display().to_string(), problem };
        let mut all: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (prefix, weights) in self.tensors() {
            for name in weights.names() {
                let (Some(shape), Some(values)) = (weights.shape(name), weights.values(name))
                else {
                    continue;
                };
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                all.push((format!("{prefix}{name}"), shape.to_vec(), bytes));
            }
        }
        let views = all.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            view.map(|view| (name.as_str(), view)).map_err(|e| fail(e.to_string()))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let text = serde_json::to_string(&self.moment).map_err(|e| fail(e.to_string()))?;
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        let bytes = serialize(views, Some(metadata)).map_err(|e| fail(e.to_string()))?;
        write_atomically(path, &bytes)
    }

    fn read(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let fail = |problem: String| Error::Checkpoint { path: path.into(), problem };
        let text = file.metadata().get(KEY).ok_or_else(|| fail("it has no description".into()))?;
        let moment: Moment = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
        if moment.version != VERSION {
            let version = moment.version;
            return Err(fail(format!("it has version {version}, this program reads {VERSION}")));
        }
        let part = |prefix: &str| {
            let mut weights = Weights::new();
            for name in file.names() {
                if let (Some(own), Some(shape), Some(values)) =
                    (name.strip_prefix(prefix), file.shape(name), file.values(name))
                {
                    weights.insert(own, shape.to_vec(), values.into_owned());
                }
            }
            weights
        };
        let average = part("average.");
        let state = State {
            head: part("head."),
            optimizer_steps: moment.optimizer_steps,
            optimizer: part("optimizer."),
            average: (!average.names().is_empty()).then_some(average),
        };
        let kept = moment.kept.iter().map(|&(i, epoch)| (i, (epoch, part(&format!("kept{i}.")))));
        Ok(Self { state, kept: kept.collect(), moment })
    }
}

/// What a folder of checkpoints has to go on from.
#[derive(Debug)]
pub(super) struct Latest {
    /// The latest checkpoint that can be read.
    pub(super) found: Option<(CheckpointId, Checkpoint)>,
    /// What is wrong with later ones.
    pub(super) problems: Vec<Error>,
}

/// A folder of checkpoints of one training.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
}

impl CheckpointFolder {
    /// The folder; it is made when the first checkpoint is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, id: CheckpointId) -> PathBuf {
        self.path.join(format!("{id}.safetensors"))
    }

    pub(super) fn save(&self, id: CheckpointId, checkpoint: &Checkpoint) -> Result<()> {
        fs::create_dir_all(&self.path)
            .map_err(Error::io("make the folder for checkpoints", &self.path))?;
        checkpoint.write(&self.file(id))
    }

    pub(super) fn delete(&self, id: CheckpointId) -> Result<()> {
        let path = self.file(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove the checkpoint", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// All checkpoints, the latest first.
    fn list(&self) -> Result<Vec<(CheckpointId, PathBuf)>> {
        let mut all = Vec::new();
        match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(Error::io("read the folder", &self.path)(error)),
            Ok(entries) => {
                for path in entries.flatten().map(|entry| entry.path()) {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    let id = name.strip_suffix(".safetensors").and_then(|name| {
                        let (epoch, step) = name.strip_prefix("epoch-")?.split_once("-step-")?;
                        Some(CheckpointId { epoch: epoch.parse().ok()?, step: step.parse().ok()? })
                    });
                    all.extend(id.map(|id| (id, path.clone())));
                }
            }
        }
        all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        Ok(all)
    }

    pub(super) fn latest(&self) -> Result<Latest> {
        let mut problems = Vec::new();
        for (id, path) in self.list()? {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok(Latest { found: Some((id, checkpoint)), problems }),
                Err(error) => problems.push(error),
            }
        }
        Ok(Latest { found: None, problems })
    }
}
