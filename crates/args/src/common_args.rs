//! What several commands take.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use taper_core::DeviceChoice;
use taper_feature_cache::FeatureCache;
use taper_fetch::folders;
use taper_plan::Kernels;

/// Where and how a network computes.
#[derive(Debug, clap::Args)]
pub struct ComputeArgs {
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Which instructions the network uses on the CPU: auto, avx512, avx2 or portable.
    #[arg(long, value_name = "KERNELS", default_value = "auto")]
    pub kernels: Kernels,
}

/// How a command reports.
#[derive(Debug, clap::Args)]
pub struct ReplyArgs {
    /// Answer with one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Print only warnings and the answer.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Where features are kept for later.
#[derive(Debug, clap::Args)]
pub struct CacheArgs {
    /// The folder for cached features, or off [default: $TAPER_CACHE, else taper in the user's
    /// cache folder].
    #[arg(long, value_name = "FOLDER|off")]
    cache: Option<PathBuf>,
    /// The size limit of the cache in GiB [default: 4].
    #[arg(long, value_name = "GIB", default_value = "4", hide_default_value = true, value_parser = gibibytes)]
    cache_size: u64,
}

impl CacheArgs {
    /// The cache, unless there is none.
    pub fn open(&self) -> Option<FeatureCache> {
        Some(FeatureCache::new(self.folder()?, self.cache_size))
    }

    /// The arguments that give it to another process.
    pub fn given(&self) -> Vec<OsString> {
        let size = (self.cache_size as f64 / (1u64 << 30) as f64).to_string();
        let mut given: Vec<OsString> = Vec::new();
        if let Some(cache) = &self.cache {
            given.extend(["--cache".into(), cache.into()]);
        }
        if self.folder().is_some() {
            given.extend(["--cache-size".into(), size.into()]);
        }
        given
    }

    /// Its folder, unless there is none.
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(off) if off == Path::new("off") => None,
            Some(folder) => Some(folder.clone()),
            None => folders::features(),
        }
    }
}

/// A size in GiB as bytes.
fn gibibytes(text: &str) -> Result<u64, String> {
    match text.trim().parse::<f64>() {
        // Beyond the largest number of bytes there is no limit.
        Ok(size) if size >= 0.0 => Ok((size * (1u64 << 30) as f64) as u64),
        _ => Err("give a number of GiB that is at least 0, such as 0.5".into()),
    }
}
