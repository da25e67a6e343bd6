use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_callbacks::{CheckpointId, StopReason};
use taper_core::file::write_atomically;
use taper_graph::{WeightSource, Weights};
use taper_metrics::{Mean, Metrics};
use taper_weights::{TensorWriter, WeightFile};

use crate::{Error, Result, State};

/// The key of a checkpoint's description in its safetensors header.
const KEY: &str = "taper-checkpoint";
/// Version 1 called the tensors of the network `head.` and made the identity from `Debug` texts.
const VERSION: u32 = 2;

/// The position of training within its epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// The epoch that is being trained, or comes next.
    pub(crate) epoch: u32,
    /// Its steps that are done.
    pub(crate) steps: usize,
    /// The mean loss of those.
    pub(crate) loss: Mean,
    /// The figures of those.
    pub(crate) metrics: Metrics,
}

/// Everything about a moment of training except its tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moment {
    pub(crate) version: u32,
    /// What the checkpoint belongs to: settings and features.
    pub(crate) training: String,
    /// Steps of the optimizer over all epochs.
    pub(crate) step: u64,
    #[serde(with = "taper_core::float")]
    pub(crate) base_rate: f64,
    pub(crate) epochs: u64,
    pub(crate) cursor: Cursor,
    pub(crate) optimizer_steps: u64,
    pub(crate) callbacks: Value,
    /// The callbacks that keep weights, and from which epoch.
    pub(crate) kept: Vec<(usize, u64)>,
    pub(crate) stop: Option<StopReason>,
    /// Whether it was written because training was interrupted, so that no callback knows about it.
    pub(crate) interrupted: bool,
}

/// A moment of training, from which it continues to the same bytes.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) moment: Moment,
    pub(crate) state: State,
    pub(crate) kept: HashMap<usize, (u64, Weights)>,
}

impl Checkpoint {
    pub(crate) fn version() -> u32 {
        VERSION
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = TensorWriter::new();
        tensors.extend("network.", &self.state.network);
        tensors.extend("optimizer.", &self.state.optimizer);
        if let Some(average) = &self.state.average {
            tensors.extend("average.", average);
        }
        for (index, _) in &self.moment.kept {
            if let Some((_, weights)) = self.kept.get(index) {
                tensors.extend(&format!("kept{index}."), weights);
            }
        }
        let text = serde_json::to_string(&self.moment)
            .map_err(|e| Error::Checkpoint { path: path.into(), problem: e.to_string() })?;
        let bytes = tensors.into_bytes([(KEY, text)])?;
        write_atomically(path, &bytes).map_err(Error::io("write the checkpoint", path))
    }

    fn read(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?;
        let fail = |problem: String| Error::Checkpoint { path: path.into(), problem };
        let text = file.metadata().get(KEY).ok_or_else(|| fail("it has no description".into()))?;
        let moment: Moment = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
        if moment.version != VERSION {
            let version = moment.version;
            return Err(fail(format!(
                "it has version {version} and this program reads version {VERSION}: continue with the program that wrote it, or start a new run"
            )));
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
            network: part("network."),
            optimizer_steps: moment.optimizer_steps,
            optimizer: part("optimizer."),
            average: (!average.names().is_empty()).then_some(average),
        };
        let kept = moment.kept.iter().map(|&(i, epoch)| (i, (epoch, part(&format!("kept{i}.")))));
        Ok(Self { state, kept: kept.collect(), moment })
    }
}

/// What a folder of checkpoints offers to resume from.
#[derive(Debug)]
pub(crate) struct Latest {
    /// The latest checkpoint that can be read.
    pub(crate) found: Option<(CheckpointId, Checkpoint)>,
    /// What is wrong with later ones.
    pub(crate) problems: Vec<Error>,
}

/// A folder of checkpoints of one training.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
}

impl CheckpointFolder {
    /// The folder; it is created when the first checkpoint is written.
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

    pub(crate) fn save(&self, id: CheckpointId, checkpoint: &Checkpoint) -> Result<()> {
        fs::create_dir_all(&self.path)
            .map_err(Error::io("make the folder for checkpoints", &self.path))?;
        checkpoint.write(&self.file(id))
    }

    pub(crate) fn delete(&self, id: CheckpointId) -> Result<()> {
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

    pub(crate) fn latest(&self) -> Result<Latest> {
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
