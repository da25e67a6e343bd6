use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow, bail};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taper_augment::{Augmenter, Factors, Policy};
use taper_core::{Fit, Interpolation, Preprocessing};
use taper_data::{Augment, Dataset, Item, Loader, LoaderOptions};
use taper_picture::{Preparer, prepare};
use taper_sources::{FolderUse, open_folder};

use super::case::Case;
use crate::protocol::{Loaded, Worker, serve};

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) case: Case,
    /// A folder with one folder per class.
    pub(crate) pictures: PathBuf,
    pub(crate) threads: usize,
}

/// Who is to work.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerOptions {
    /// taper.
    name: String,
}

/// Works as requested on standard input.
pub(crate) fn work(options: &WorkerOptions) -> anyhow::Result<()> {
    match options.name.as_str() {
        "taper" => serve(&mut Taper::default()),
        other => bail!("no worker is called {other}"),
    }
}

const SPEC: Preprocessing = Preprocessing {
    size: 256,
    interpolation: Interpolation::Bilinear,
    fit: Fit::Squash,
    mean: Preprocessing::IMAGENET_MEAN,
    std: Preprocessing::IMAGENET_STD,
};

struct Views(Augmenter);

impl Augment for Views {
    fn augment_into(
        &self,
        picture: &image::RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> taper_data::Result<()> {
        self.0
            .render(picture, view, key, &SPEC, preparer.warper(), out)
            .map_err(|e| taper_data::Error::View(e.into()))
    }
}

/// The loader.
#[derive(Default)]
struct Taper(Option<Ready>);

struct Ready {
    dataset: Arc<Dataset>,
    views: Arc<dyn Augment>,
    pool: ThreadPool,
    epoch: u32,
}

impl Worker for Taper {
    fn load(&mut self, work: &Value) -> anyhow::Result<Loaded> {
        let work = Work::deserialize(work)?;
        let dataset = Arc::new(open_folder(&work.pictures, FolderUse::Evaluate)?);
        let augmenter = match work.case {
            Case::Jpeg300 | Case::Photo500 => Augmenter::of(Policy::Flip, 0),
            Case::Augment300 => {
                let factors = Factors {
                    crop_area: [0.08, 1.0],
                    flip: 0.5,
                    rotation: 15.0 / 360.0,
                    contrast: 0.2,
                    brightness: 0.2,
                    saturation: 0.2,
                    hue: 0.05,
                    ..Factors::default()
                };
                Augmenter::new(factors.check()?, 0)
            }
        };
        let first = dataset.read(0).map_err(|f| anyhow!("{}: {}", f.path, f.reason))?;
        let first = prepare(&first.pixels, &SPEC)?;
        let mut sample = [0.0f64; 3];
        for pixel in first.as_chunks::<3>().0 {
            sample.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let pixels = first.len() as f64 / 3.0;
        let mut ready = Ready {
            dataset,
            views: Arc::new(Views(augmenter)),
            pool: ThreadPoolBuilder::new().num_threads(work.threads).build()?,
            epoch: 0,
        };
        // All files are read once: they are in the page cache from here on.
        ready.pass()?;
        self.0 = Some(ready);
        Ok(Loaded {
            version: format!("taper {}", env!("CARGO_PKG_VERSION")),
            sample: sample.iter().map(|sum| (sum / pixels) as f32).collect(),
        })
    }

    fn pass(&mut self) -> anyhow::Result<f64> {
        self.0.as_mut().context("nothing is loaded")?.pass()
    }
}

impl Ready {
    /// One epoch: every picture once, each time in another view.
    fn pass(&mut self) -> anyhow::Result<f64> {
        self.epoch += 1;
        let view = self.epoch;
        let items = self.dataset.indices(None).into_iter().map(|sample| Item { sample, view });
        let loader = Loader::new(
            Arc::clone(&self.dataset),
            SPEC,
            items.collect(),
            Some(Arc::clone(&self.views)),
            LoaderOptions::default(),
        )?;
        self.pool.install(|| {
            let mut loaded = 0;
            for batch in loader {
                let batch = batch?;
                if let Some(finding) = batch.failed.first() {
                    bail!("{}: {}", finding.path, finding.reason);
                }
                loaded += batch.len();
            }
            Ok(loaded as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_loads_every_picture_in_every_case() {
        let folder = tempfile::tempdir().unwrap();
        taper_data::fixture::write_folder(folder.path(), &[("train", 3)], &["a", "b"]).unwrap();
        for case in Case::ALL {
            let pictures = folder.path().to_owned();
            let work = serde_json::to_value(Work { case, pictures, threads: 2 }).unwrap();
            let mut taper = Taper::default();
            assert!(taper.pass().is_err(), "nothing is loaded yet");
            let loaded = taper.load(&work).unwrap();
            assert!(loaded.sample.iter().all(|v| (0.0..=255.0).contains(v)));
            assert_eq!(loaded.sample.len(), 3);
            assert_eq!(taper.pass().unwrap(), 6.0);
        }
    }
}
