use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use taper_core::OutOfRange;
use taper_data::Dataset;
use taper_fetch::{Problem, Watching, datasets_mirror, folders};
use taper_picture::{Defect, DefectKind, Finding};
use taper_sources::{FolderUse, KnownSet, Reading, open_path};
use taper_synthetic::{SyntheticConfig, SyntheticSource};

use crate::{Error, Result, Session};

/// What figures call a data set: its name, or that of its folder or file, without the path that
/// leads there.
pub fn data_name(data: &str) -> String {
    let path = Path::new(data).canonicalize().ok();
    let name = path.as_deref().and_then(Path::file_name);
    name.map_or_else(|| data.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// [`open_data_with`], quietly.
///
/// # Errors
/// As [`open_data_with`].
pub fn open_data(data: &str, reading: impl Into<Reading>) -> Result<Dataset> {
    open_data_with(data, reading, &Session::quiet())
}

/// Opens a data set by its name, its folder, its manifest or its archive. One on the network is
/// first downloaded into the folder `datasets` of the cache (`TAPER_CACHE`, else `taper` in the
/// user's cache folder).
///
/// # Errors
/// As [`open_path`], and any error of a download. For a folder with the same name as a known data
/// set, give `./NAME`.
pub fn open_data_with(
    data: &str,
    reading: impl Into<Reading>,
    session: &Session,
) -> Result<Dataset> {
    let reading = reading.into();
    match data {
        "synthetic" => {
            reading.options.refuse_all(data)?;
            if let Some(max_pixels) = reading.options.max_pixels {
                let remedy = "rendered pictures are small: leave it out";
                return Err(OutOfRange::new("max_pixels", max_pixels, remedy).into());
            }
            Ok(SyntheticSource::dataset(SyntheticConfig::default())?)
        }
        "rock-paper-scissors" => {
            reading.options.refuse_all(data)?;
            let mut set = KnownSet::rock_paper_scissors();
            if let Some(mirror) = datasets_mirror() {
                set = set.at(&mirror);
            }
            let dataset = open_known(&set, &datasets_folder()?, reading.purpose, session)?;
            Ok(reading.options.limits(dataset))
        }
        #[cfg(feature = "download")]
        data if data.starts_with("hf:") => {
            Ok(taper_hub_data::open(&data[3..], &datasets_folder()?, &reading, session.watch())?)
        }
        path => Ok(open_path(path, reading)?),
    }
}

/// The remarks about a data set as a whole, as findings, for answers: classes or splits that were
/// decided in a way that may surprise, folders that were left out.
pub fn remarks_of(dataset: &Dataset) -> Vec<Finding> {
    dataset.remarks().iter().map(|text| remark(dataset, text)).collect()
}

/// A remark about a data set as a whole.
pub fn remark(dataset: &Dataset, text: &str) -> Finding {
    Defect::new(DefectKind::Remark, text).at(None, dataset.place())
}

/// The folder for downloaded data sets.
fn datasets_folder() -> Result<PathBuf> {
    folders::datasets().ok_or_else(|| {
        let remedy = "there is no folder to store it in: set TAPER_CACHE";
        OutOfRange::new("data", "on the network", remedy).into()
    })
}

fn open_known(
    set: &KnownSet,
    folder: &Path,
    purpose: FolderUse,
    session: &Session,
) -> Result<Dataset> {
    if set.is_in(folder) {
        return Ok(set.open(folder, purpose, &Watching::default())?);
    }
    let progress = session.progress();
    progress.say(&format!(
        "fetching {} from {} into {}",
        set.name,
        set.base,
        folder.join(&set.name).display()
    ));
    progress.begin("fetching", set.bytes() >> 20, "MiB");
    let told = AtomicU64::new(0);
    let tell = |bytes: u64| {
        let (now, before) = (bytes >> 20, told.fetch_max(bytes >> 20, Ordering::Relaxed));
        progress.advance(now.saturating_sub(before));
    };
    let stop = || session.interrupted();
    let watching = Watching { progress: &tell, stop: &stop, ..Watching::default() };
    let opened = set.open(folder, purpose, &watching);
    progress.end();
    opened.map_err(|error| match error {
        taper_sources::Error::Fetch(taper_fetch::Error::Download {
            problem: Problem::Stopped,
            ..
        }) => Error::Interrupted,
        other => other.into(),
    })
}
