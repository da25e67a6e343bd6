//! Pictures per second of the frozen backbones on a GPU: from pixels in memory, and from JPEG
//! files; and of steps that train whole networks.
//!
//! Made for a machine that has PyTorch and the CUDA libraries but neither Rust nor a network: this
//! program and `python/cuda.py` are all it needs. `docs/cuda.md` says how to copy them.

use std::{
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_candle::{DeviceBackbone, DeviceNetworkLearner, open_device};
use taper_core::{
    DeviceChoice, Fit, FrozenBackbone, Interpolation, Precision, Preprocessing,
    random::{Key, Purpose},
};
use taper_data::{Dataset, Item};
use taper_grad::{BatchNormMode, Boundary, Unfreeze};
use taper_graph::{Graph, WeightSource, Weights, heads};
use taper_optim::{Algorithm, EpsilonMode, OptimizerConfig};
use taper_run::{Session, extract};
use taper_sources::{FolderUse, open_path};
use taper_train::{Learner, RowBatch, StepContext, Table, TrainedPart, Training};

use crate::{
    backbone::{NETWORKS, PLAIN, graph, pixels},
    process::Process,
    protocol::{Loaded, Worker, serve},
    python,
    rounds::Rounds,
    row::{Row, print, write_json},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure PyTorch eager, channels last, with cudnn.benchmark, in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only cases with this in their name, e.g. resnet50, bf16 or jpeg; may be given several times.
    #[arg(long, value_name = "SUBSTRING")]
    cases: Vec<String>,
    /// Pictures that go through the network together; the best one counts.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 128, 256],
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,
    /// A folder with a folder of JPEG files per class, for the cases from files.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many turns each contestant has.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Length of a turn.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// The device: cuda:N, or cpu to try the benchmark itself.
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0")]
    device: DeviceChoice,
    /// The interpreter that has PyTorch [default: TAPER_BENCH_PYTHON, else python3].
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Where cuda.py is, if not where this program was built.
    #[arg(long, value_name = "FILE", default_value = python::CUDA)]
    script: PathBuf,
}

/// What a worker is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Work {
    network: String,
    /// Side of the pictures in pixels.
    size: usize,
    batch: usize,
    precision: Precision,
    device: DeviceChoice,
    threads: usize,
    mean: [f32; 3],
    std: [f32; 3],
    /// The network and its weights, for those who do not know them.
    graph: PathBuf,
    weights: PathBuf,
    /// Pictures are read from here instead of memory.
    data: Option<PathBuf>,
    /// Whether the whole network is trained on them.
    step: bool,
}

impl Work {
    fn all(options: &Options, threads: usize, folder: &Path) -> Vec<Self> {
        let mut all = Vec::new();
        let sources = [None].into_iter().chain(options.data.clone().map(Some));
        for data in sources {
            for (network, size) in NETWORKS.into_iter().take(PLAIN) {
                for precision in [Precision::F32, Precision::Tf32, Precision::Bf16, Precision::F16]
                {
                    // Decoding limits the cases from files: one precision shows it.
                    if data.is_some() && precision != Precision::Bf16 {
                        continue;
                    }
                    for &batch in &options.batch {
                        all.push(Self {
                            network: network.into(),
                            size,
                            batch: batch as usize,
                            precision,
                            device: options.device,
                            threads,
                            mean: Preprocessing::IMAGENET_MEAN,
                            std: Preprocessing::IMAGENET_STD,
                            graph: folder.join(format!("{network}.json")),
                            weights: folder.join(format!("{network}.f32")),
                            data: data.clone(),
                            step: false,
                        });
                    }
                }
            }
        }
        let mut steps: Vec<Self> = all.iter().filter(|work| work.data.is_none()).cloned().collect();
        steps.iter_mut().for_each(|work| work.step = true);
        all.append(&mut steps);
        all.retain(|work| {
            options.cases.is_empty() || options.cases.iter().any(|c| work.name().contains(c))
        });
        all
    }

    fn name(&self) -> String {
        let from = match (self.step, &self.data) {
            (true, _) => "step-",
            (false, Some(_)) => "jpeg-",
            (false, None) => "",
        };
        format!("cuda-{from}{}-{}-{}-b{}", self.network, self.size, self.precision, self.batch)
    }

    /// The network as JSON, its tensors one after the other as little-endian f32, in the order of
    /// the graph's parameters.
    fn write(&self) -> anyhow::Result<()> {
        let graph = graph(&self.network)?;
        let weights = Weights::seeded(&graph);
        let mut bytes = Vec::new();
        let mut tensors = Vec::new();
        for parameter in graph.parameters() {
            let values = weights.values(&parameter.name).context("a tensor is missing")?;
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            tensors.push(serde_json::json!({ "name": parameter.name, "shape": parameter.shape }));
        }
        let head = head(&graph);
        let weights = Weights::seeded(&head);
        for parameter in head.parameters() {
            let values = weights.values(&parameter.name).context("a tensor is missing")?;
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            let name = format!("trained_head.{}", parameter.name);
            tensors.push(serde_json::json!({ "name": name, "shape": parameter.shape }));
        }
        let features = graph.features();
        let text = serde_json::json!({ "graph": graph, "tensors": tensors, "features": features });
        fs::write(&self.graph, text.to_string())?;
        fs::write(&self.weights, bytes).with_context(|| self.weights.display().to_string())
    }
}

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // Reported immediately, not by the worker of a late case.
    open_device(options.device)?;
    if let Some(folder) = &options.data {
        open_path(folder, FolderUse::Evaluate)?;
    }
    let folder = env::temp_dir().join(format!("taper-bench-cuda-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = measure(options, &folder);
    fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(options: &Options, folder: &Path) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let cases = Work::all(options, threads, folder);
    if cases.is_empty() {
        bail!(
            "no case is called like that, e.g. cuda-resnet50-256-bf16-b128 or, with --data, cuda-jpeg-…"
        );
    }
    let mut ours = {
        let mut command = Command::new(env::current_exe()?);
        command.arg("cuda-work");
        Process::start("taper", command)?
    };
    let mut peer = match options.peers {
        true => {
            let python = options
                .python
                .clone()
                .or_else(|| env::var_os("TAPER_BENCH_PYTHON").map(Into::into));
            let mut command = Command::new(python.unwrap_or_else(|| "python3".into()));
            command.arg(&options.script);
            Some(Process::start("pytorch-eager-channels-last", command)?)
        }
        false => None,
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut measure = |work: &Work| -> anyhow::Result<()> {
        eprintln!("{}", work.name());
        work.write()?;
        let loaded = ours.load(serde_json::to_value(work)?)?;
        let mut turns = Vec::new();
        if let Some(peer) = &mut peer {
            let theirs = peer.load(serde_json::to_value(work)?)?;
            agree(work, &loaded, &theirs)?;
            turns.push((peer, theirs));
        }
        let name = work.name();
        let rounds = Rounds {
            case: &name,
            unit: "pictures/s",
            rounds: options.rounds as usize,
            seconds: options.seconds,
            threads,
        };
        rows.extend(rounds.run(&mut ours, &mut turns)?);
        // What was measured before something fails is not lost.
        if let Some(path) = &options.json {
            write_json(&rows, path)?;
        }
        Ok(())
    };
    let outcome = cases.iter().try_for_each(&mut measure);
    print(&rows)?;
    outcome
}

/// Whether the peer computes the same features, or losses of its first steps, as Taper.
fn agree(work: &Work, ours: &Loaded, theirs: &Loaded) -> anyhow::Result<()> {
    let (a, b) = (&ours.sample, &theirs.sample);
    let largest = b.iter().fold(0f32, |m, x| m.max(x.abs()));
    let apart = a.iter().zip(b).fold(0f32, |m, (x, y)| m.max((x - y).abs())) / largest;
    let bound = match work.precision {
        Precision::F32 => 1e-3,
        _ => 5e-2,
    };
    if a.len() != b.len() || apart.is_nan() || apart > bound {
        bail!(
            "{}: the features or losses differ by {apart:.1e} of the largest, more than {bound:.0e}",
            work.name()
        );
    }
    Ok(())
}

/// Works as requested on standard input.
pub(crate) fn work() -> anyhow::Result<()> {
    serve(&mut Taper::default())
}

/// The head of the networks that are trained.
fn head(graph: &Graph) -> Graph {
    heads::linear(graph.feature_width(), CLASSES)
}

/// Classes of the networks that are trained.
const CLASSES: usize = 10;

/// A network in training: rows of normalised pixels from memory, AdamW with a constant rate.
struct Steps {
    learner: DeviceNetworkLearner,
    batch: RowBatch,
    number: u32,
}

impl Steps {
    fn new(work: &Work) -> anyhow::Result<Self> {
        let backbone = graph(&work.network)?.without_classifier();
        let (weights, head) = (Weights::seeded(&backbone), head(&backbone));
        let head_weights = Weights::seeded(&head);
        let part = TrainedPart {
            backbone: &backbone,
            weights: &weights,
            boundary: Boundary::find(&backbone, &Unfreeze::All)?,
            head: &head,
            head_weights: &head_weights,
            size: [work.size; 2],
            batch_norm: BatchNormMode::Frozen,
            room: work.batch,
        };
        let pixels = pixels(work.batch, work.size).into_iter().enumerate();
        let normalised = |(i, pixel): (usize, u8)| {
            (f32::from(pixel) / 255.0 - work.mean[i % 3]) / work.std[i % 3]
        };
        let labels = (0..work.batch as u32).map(|row| row % CLASSES as u32).collect();
        let table = Table {
            width: work.size * work.size * 3,
            values: pixels.map(normalised).collect(),
            labels,
            mixed: Vec::new(),
        };
        let algorithm = Algorithm::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_mode: EpsilonMode::Torch,
            weight_decay: 0.01,
        };
        let settings = Training {
            batch_size: work.batch,
            optimizer: OptimizerConfig { algorithm, groups: Vec::new() },
            ..Training::default()
        };
        let device = open_device(work.device)?;
        let counts = table.counts(CLASSES);
        let learner =
            DeviceNetworkLearner::new(&part, &counts, &settings.check()?, work.precision, &device)?;
        let rows = (0..work.batch as u32).collect();
        Ok(Self { learner, batch: RowBatch { all: Arc::new(table), rows }, number: 0 })
    }

    /// Takes steps; their losses.
    fn take(&mut self, steps: usize) -> anyhow::Result<Vec<f32>> {
        for _ in 0..steps {
            let dropout = Key::new(0, Purpose::new("bench/step"));
            let context = StepContext { rate: 1e-4, dropout, number: self.number };
            self.learner.step(&self.batch, context)?;
            self.number += 1;
        }
        Ok(self.learner.outcomes()?.iter().map(|outcome| outcome.loss as f32).collect())
    }
}

#[derive(Default)]
struct Taper(Option<Ready>);

enum Ready {
    Frozen(Box<Frozen>),
    Trained(Box<Steps>),
}

struct Frozen {
    backbone: DeviceBackbone,
    batch: usize,
    source: Source,
}

enum Source {
    Memory(Vec<u8>),
    Files(Arc<Dataset>, Vec<Item>),
}

impl Worker for Taper {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        self.0 = None;
        let version = format!("taper {} on {}", env!("CARGO_PKG_VERSION"), work.device);
        if work.step {
            let mut steps = Steps::new(&work)?;
            let sample = steps.take(3)?;
            self.0 = Some(Ready::Trained(Box::new(steps)));
            return Ok(Loaded { version, sample });
        }
        let graph = graph(&work.network)?;
        let preprocessing = Preprocessing {
            size: u32::try_from(work.size)?,
            interpolation: Interpolation::Bilinear,
            fit: Fit::Squash,
            mean: work.mean,
            std: work.std,
        };
        let features_only = graph.without_classifier();
        let weights = Weights::seeded(&features_only);
        let device = open_device(work.device)?;
        let backbone =
            DeviceBackbone::new(&features_only, &weights, preprocessing, work.precision, &device)?;
        backbone.set_batch(work.batch);
        let pixels = pixels(work.batch, work.size);
        let mut features = backbone.forward(&pixels, work.batch)?;
        features.truncate(backbone.width());
        let source = match &work.data {
            None => Source::Memory(pixels),
            Some(folder) => {
                let dataset = open_path(folder, FolderUse::Evaluate)?;
                let items = (0..dataset.samples().len()).map(|sample| Item { sample, view: 0 });
                let items = items.collect();
                Source::Files(Arc::new(dataset), items)
            }
        };
        self.0 = Some(Ready::Frozen(Box::new(Frozen { backbone, batch: work.batch, source })));
        Ok(Loaded { version, sample: features })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        const STEPS: usize = 8;
        let Frozen { backbone, batch, source } = match &mut self.0 {
            Some(Ready::Frozen(frozen)) => frozen.as_mut(),
            Some(Ready::Trained(steps)) => {
                steps.take(STEPS)?;
                return Ok((STEPS * steps.batch.rows.len()) as f64);
            }
            None => bail!("nothing is loaded"),
        };
        match source {
            Source::Memory(pixels) => {
                // As in feature extraction: two batches ahead of the one being read back.
                const BATCHES: usize = 8;
                let mut ahead = VecDeque::new();
                for _ in 0..BATCHES {
                    ahead.push_back(backbone.submit(pixels, *batch)?);
                    if ahead.len() > 2
                        && let Some(first) = ahead.pop_front()
                    {
                        first.wait()?;
                    }
                }
                for rest in ahead {
                    rest.wait()?;
                }
                Ok((BATCHES * *batch) as f64)
            }
            Source::Files(dataset, items) => {
                let features =
                    extract(backbone, dataset, items.clone(), None, false, &Session::quiet())?;
                Ok(features.table.len() as f64)
            }
        }
    }
}
