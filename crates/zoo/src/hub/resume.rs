//! Downloads that go on where they were interrupted, in this process or in an earlier one.
//!
//! hf-hub 1.0 writes what arrives to `blobs/ETAG.incomplete`, but starts from nothing the next time. Here the missing end is
//! asked for with a range, and the blob gets its name, so that hf-hub finds it whole. Whether it is the right one shows its
//! digest, as for every download; if not, the download starts afresh, once.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use futures::{Stream, StreamExt};
use hf_hub::{HFError, RepoType, progress::Progress, repository::HFRepository};

use super::is_sha256;
use crate::HubFile;

/// Bytes that are asked for again: if they differ, the server has ignored the range or the file is another one.
const OVERLAP: u64 = 4096;
/// Beyond the end of every file; servers send what there is. Fits the integers of all of them.
const FAR: u64 = 1 << 50;
const INCOMPLETE: &str = ".incomplete";

/// How an attempt to go on ended, if no error ended it.
pub(super) enum Resumed {
    /// The end is there; whether all is well shows the digest.
    Whole,
    /// There was nothing to go on from.
    Nothing,
}

/// What is there of a file that is named by its digest, and how much.
pub(super) fn partial(blobs: &Path) -> Option<(PathBuf, u64)> {
    let entries = fs::read_dir(blobs).ok()?;
    let candidates = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let length = entry.metadata().ok()?.len();
        let named = name.strip_suffix(INCOMPLETE).is_some_and(is_sha256);
        (named && length > OVERLAP).then(|| (entry.path(), length))
    });
    candidates.max_by_key(|(_, length)| *length)
}

/// Fetches what is missing of a partial file.
///
/// # Errors
/// If the connection fails again: what has arrived until then is kept.
pub(super) async fn resume<T: RepoType>(
    repository: &HFRepository<T>,
    file: &HubFile<'_>,
    blobs: &Path,
    progress: Progress,
) -> Result<Resumed, HFError> {
    let Some((path, length)) = partial(blobs) else { return Ok(Resumed::Nothing) };
    let start = length - OVERLAP;
    tracing::info!(bytes = length, "going on where the last download ended");
    let answer = repository
        .download_file_stream()
        .filename(file.file)
        .revision(file.revision)
        .range(start..FAR)
        .progress(progress)
        .send()
        .await;
    let stream = match answer {
        Ok((_, stream)) => stream,
        Err(error) if is_hopeless(&error) => return discard(&path),
        Err(error) => return Err(error),
    };
    match append(&path, start, stream).await {
        Ok(true) => {
            fs::rename(&path, path.with_extension(""))?;
            Ok(Resumed::Whole)
        }
        Ok(false) => discard(&path),
        Err(error) if is_hopeless(&error) => discard(&path),
        Err(error) => Err(error),
    }
}

/// Fetches a whole file of a known digest over HTTP.
///
/// # Errors
/// If the connection fails: what has arrived until then is kept.
pub(super) async fn whole<T: RepoType>(
    repository: &HFRepository<T>,
    file: &HubFile<'_>,
    blobs: &Path,
    digest: &str,
    progress: Progress,
) -> Result<(), HFError> {
    let blob = blobs.join(digest);
    if blob.exists() {
        return Ok(());
    }
    let stream = repository.download_file_stream().filename(file.file).revision(file.revision);
    let (_, stream) = stream.progress(progress).send().await?;
    fs::create_dir_all(blobs)?;
    let path = blobs.join(format!("{digest}{INCOMPLETE}"));
    File::create(&path)?;
    append(&path, 0, stream).await?;
    fs::rename(path, blob)?;
    Ok(())
}

/// Whether going on will fail again, so that only a fresh start can help.
fn is_hopeless(error: &HFError) -> bool {
    match error {
        // The partial file may be longer than what the server has now.
        HFError::Http { .. } => error.to_string().contains("416"),
        HFError::Request { .. }
        | HFError::RateLimited { .. }
        | HFError::AuthRequired { .. }
        | HFError::Forbidden { .. }
        | HFError::RepoNotFound { .. }
        | HFError::RevisionNotFound { .. }
        | HFError::EntryNotFound { .. }
        | HFError::Io(_) => false,
        // Other ways of transfer (Xet) may not know ranges beyond the end.
        _ => true,
    }
}

fn discard(path: &Path) -> Result<Resumed, HFError> {
    tracing::info!("the server cannot go on from there; starting afresh");
    fs::remove_file(path)?;
    Ok(Resumed::Nothing)
}

/// Compares the overlap and appends the rest; false if the overlap differs.
async fn append<B: AsRef<[u8]>>(
    path: &Path,
    start: u64,
    mut stream: impl Stream<Item = Result<B, HFError>> + Unpin,
) -> Result<bool, HFError> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut known = read_from(&mut file, start)?;
    known.reverse();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        let chunk = chunk.as_ref();
        let old = chunk.len().min(known.len());
        for byte in &chunk[..old] {
            if known.pop() != Some(*byte) {
                return Ok(false);
            }
        }
        file.write_all(&chunk[old..])?;
    }
    file.sync_all()?;
    Ok(known.is_empty())
}

fn read_from(file: &mut File, start: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut known = Vec::new();
    file.read_to_end(&mut known)?;
    Ok(known)
}
