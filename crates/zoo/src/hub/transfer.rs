//! One download through hf-hub 1.0, and what it leaves open: it has no time limits, it does not look at digests, it starts
//! from nothing after an interruption (`resume.rs`), it takes the page of an error (403, 404, 429, 500) for the content, it gives
//! up on a lock after ten seconds, and where the Hub offers a file by Xet it knows no other way, although mirrors and firewalls
//! often let only HTTP through.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hf_hub::{
    HFClient, HFError, RepoType,
    progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler},
    repository::HFRepository,
};
use sha2::{Digest, Sha256};

use super::{
    Cause, HubOptions, HubProblem, cached, failure, is_commit, is_sha256, repository_folder,
    resume::{partial, resume, whole},
};
use taper_core::hex;

use crate::{HubFile, RepositoryKind, Result};

/// How often a download starts again after the connection broke.
const ATTEMPTS: usize = 3;
/// The longest wait that a server may ask for before it is an error.
const LONGEST_WAIT: u64 = 20;
const TICK: Duration = Duration::from_millis(100);

/// How the bytes come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As hf-hub chooses: by Xet, if the Hub offers it.
    Offered,
    /// Over HTTP.
    Http,
}

/// What went wrong, before the file's name is added to it.
struct Failed(HubProblem, Option<Cause>);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed(HubProblem::Cache, Some(error.into()))
    }
}

pub(super) fn fetch(file: &HubFile<'_>, options: &HubOptions) -> Result<PathBuf> {
    locked_fetch(file, options).map_err(|Failed(problem, source)| failure(file, problem, source))
}

fn locked_fetch(file: &HubFile<'_>, options: &HubOptions) -> std::result::Result<PathBuf, Failed> {
    // On the file system of the cache, so that a rename moves the file; Python lists no caches in ".locks".
    let flat = |name: &str| name.replace('/', "--");
    let staging = options.cache.join(".locks/taper").join(repository_folder(file));
    let staging = staging.join(flat(file.file));
    fs::create_dir_all(&staging)?;
    let Some(_lock) = wait_for_lock(&staging.join(".lock"), || cached(file, options).is_some())?
    else {
        return cached(file, options).ok_or_else(|| Failed(HubProblem::Cache, None));
    };
    if let Some(path) = cached(file, options) {
        return Ok(path);
    }
    tracing::info!(repository = file.repository, file = file.file, "fetching from the Hub");
    let blobs = staging.join(repository_folder(file)).join("blobs");
    let (mut attempt, mut way) = (1, Way::Offered);
    let mut pieced = false;
    let (arrived, verified) = loop {
        pieced |= partial(&blobs).is_some();
        let failed = match download(file, options, &staging, way) {
            Ok(arrived) => match verify(file, &arrived) {
                Err(Failed(HubProblem::Digest(..), _)) if pieced => {
                    // Put together from two downloads, perhaps of two versions.
                    tracing::info!("what was put together is damaged; starting afresh");
                    clean(file, &staging);
                    pieced = false;
                    continue;
                }
                verified => break (arrived, verified),
            },
            Err(failed) => failed,
        };
        match failed.0 {
            HubProblem::Other
            | HubProblem::Stalled(_)
            | HubProblem::Unreachable
            | HubProblem::Unauthorized
            | HubProblem::Forbidden
            | HubProblem::NotFound
                if way == Way::Offered && stated_digest(file, &staging).is_some() =>
            {
                tracing::info!("trying again over HTTP");
                way = Way::Http;
                continue;
            }
            HubProblem::Interrupted if attempt < ATTEMPTS => {}
            HubProblem::RateLimited(Some(seconds))
                if attempt < ATTEMPTS && seconds <= LONGEST_WAIT =>
            {
                tracing::info!(seconds, "the Hub asks to wait");
                std::thread::sleep(Duration::from_secs(seconds));
            }
            _ => return Err(failed),
        }
        attempt += 1;
        tracing::info!(attempt, "trying again");
    };
    let result = verified.and_then(|()| place(file, options, &arrived));
    // Whatever was wrong with it must not be found next time.
    clean(file, &staging);
    result
}

fn clean(file: &HubFile<'_>, staging: &Path) {
    for leftover in ["blobs", "snapshots", "refs", ".locks"] {
        let _ = fs::remove_dir_all(staging.join(leftover));
        let _ = fs::remove_dir_all(staging.join(repository_folder(file)).join(leftover));
    }
}

/// The digest that the Hub has stated for a file whose content did not come: hf-hub locks the blob by its name first.
/// Without such a lock, nothing is known of the file.
fn stated_digest(file: &HubFile<'_>, staging: &Path) -> Option<String> {
    let locks = fs::read_dir(staging.join(".locks").join(repository_folder(file))).ok()?;
    let latest =
        locks.flatten().max_by_key(|lock| lock.metadata().and_then(|m| m.modified()).ok())?;
    let name = latest.file_name().into_string().ok()?;
    name.strip_suffix(".lock").filter(|name| is_sha256(name)).map(str::to_owned)
}

/// Waits until no other process fetches this file, or until `done`; then there is no lock.
fn wait_for_lock(path: &Path, done: impl Fn() -> bool) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if done() => return Ok(None),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tracing::info!("another process is fetching the same file; waiting for it");
                    told = true;
                }
                std::thread::sleep(TICK);
            }
        }
    }
}

/// What hf-hub has made of a file.
struct Arrived {
    blob: PathBuf,
    etag: String,
    commit: String,
}

/// What is heard of a download.
struct Pulse(Mutex<Heard>);

struct Heard {
    /// How many bytes have arrived.
    bytes: u64,
    /// When the last of them.
    last: Instant,
    /// How long the whole file is; 0 if the server does not say.
    length: u64,
}

impl Pulse {
    fn new() -> Self {
        Self(Mutex::new(Heard { bytes: 0, last: Instant::now(), length: 0 }))
    }

    fn silence(&self) -> Duration {
        self.0.lock().map_or(Duration::ZERO, |heard| heard.last.elapsed())
    }

    fn bytes(&self, bytes: u64) {
        if let Ok(mut heard) = self.0.lock()
            && heard.bytes != bytes
        {
            (heard.bytes, heard.last) = (bytes, Instant::now());
        }
    }

    fn length(&self) -> u64 {
        self.0.lock().map_or(0, |heard| heard.length)
    }
}

impl ProgressHandler for Pulse {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            // The last of these is the one of the whole file.
            ProgressEvent::Download(DownloadEvent::Start { total_bytes, .. }) => {
                if let Ok(mut heard) = self.0.lock() {
                    heard.length = *total_bytes;
                }
            }
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                self.bytes(files.iter().map(|file| file.bytes_completed).sum());
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => {
                self.bytes(*bytes_completed);
            }
            _ => {}
        }
    }
}

fn download(
    file: &HubFile<'_>,
    options: &HubOptions,
    staging: &Path,
    way: Way,
) -> std::result::Result<Arrived, Failed> {
    let mut builder = HFClient::builder().cache_dir(staging).retry_max_attempts(3);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(token) = &options.token {
        builder = builder.token(token);
    }
    let client = builder.build().map_err(explain)?;
    let (owner, name) = hf_hub::split_id(file.repository);
    let pulse = Arc::new(Pulse::new());
    let folder = staging.join(repository_folder(file));
    let blobs = folder.join("blobs");
    let stated = stated_digest(file, staging).filter(|_| way == Way::Http);
    let stated = stated.as_deref();
    let download = async {
        let progress = Arc::clone(&pulse).into();
        match file.kind {
            RepositoryKind::Model => {
                transfer(&client.model(owner, name), file, &blobs, stated, progress).await
            }
            RepositoryKind::Dataset => {
                transfer(&client.dataset(owner, name), file, &blobs, stated, progress).await
            }
        }
    };

    // A thread of its own: the caller may itself be inside a runtime, which forbids blocking on another.
    let path = std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(async {
                let mut download = std::pin::pin!(download);
                loop {
                    match tokio::time::timeout(TICK, download.as_mut()).await {
                        Ok(result) => break result.map_err(explain),
                        Err(_) if pulse.silence() > options.patience => {
                            break Err(Failed(
                                HubProblem::Stalled(options.patience.as_secs()),
                                None,
                            ));
                        }
                        Err(_) => {}
                    }
                }
            });
            // Does not wait for a name server that does not answer.
            runtime.shutdown_background();
            result
        };
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;

    // …/snapshots/COMMIT/FILE → …/blobs/ETAG
    let inside = path.strip_prefix(folder.join("snapshots")).ok();
    let commit = inside.and_then(|inside| inside.iter().next()?.to_str());
    let blob = fs::canonicalize(&path)?;
    let (arrived, promised) = (blob.metadata()?.len(), pulse.length());
    if promised > 0 && arrived != promised {
        fs::remove_file(&blob)?;
        let problem = format!("{arrived} bytes arrived instead of {promised}");
        return Err(Failed(HubProblem::Other, Some(problem.into())));
    }
    let etag =
        fs::read_link(&path).ok().and_then(|link| link.file_name()?.to_str().map(str::to_owned));
    match (commit, etag) {
        (Some(commit), Some(etag)) if is_commit(commit) => {
            Ok(Arrived { blob, etag, commit: commit.into() })
        }
        (Some(commit), None) if is_commit(commit) => {
            // Where links need rights that few have (Windows), hf-hub copies: the digest then names the file.
            let etag = digest(&blob)?;
            Ok(Arrived { blob, etag, commit: commit.into() })
        }
        _ => {
            let problem = format!("the Hub named no commit, but '{}'", path.display());
            Err(Failed(HubProblem::Other, Some(problem.into())))
        }
    }
}

/// The path of the file in hf-hub's cache; with a digest, its content comes over HTTP.
async fn transfer<T: RepoType>(
    repository: &HFRepository<T>,
    file: &HubFile<'_>,
    blobs: &Path,
    digest: Option<&str>,
    progress: Progress,
) -> std::result::Result<PathBuf, HFError> {
    // With the blob whole, hf-hub asks for no content.
    resume(repository, file, blobs, progress.clone()).await?;
    if let Some(digest) = digest {
        whole(repository, file, blobs, digest, progress.clone()).await?;
    }
    let download = repository.download_file().filename(file.file).revision(file.revision);
    download.progress(progress).send().await
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn verify(file: &HubFile<'_>, arrived: &Arrived) -> std::result::Result<(), Failed> {
    let stated = is_sha256(&arrived.etag).then_some(arrived.etag.as_str());
    let promises = [file.sha256, stated];
    if promises == [None, None] {
        return Ok(());
    }
    let found = digest(&arrived.blob)?;
    match promises.into_iter().flatten().find(|promise| *promise != found) {
        None => Ok(()),
        Some(promise) => Err(Failed(HubProblem::Digest(promise.into(), found), None)),
    }
}

/// Puts a verified file into the cache: blob, snapshot and reference, each by a rename.
fn place(
    file: &HubFile<'_>,
    options: &HubOptions,
    arrived: &Arrived,
) -> std::result::Result<PathBuf, Failed> {
    let repository = options.cache.join(repository_folder(file));
    let blobs = repository.join("blobs");
    let snapshot = repository.join("snapshots").join(&arrived.commit).join(file.file);
    let snapshot_folder = snapshot.parent().unwrap_or(&repository);
    fs::create_dir_all(&blobs)?;
    fs::create_dir_all(snapshot_folder)?;
    let blob = blobs.join(&arrived.etag);
    File::open(&arrived.blob)?.sync_all()?;
    fs::rename(&arrived.blob, &blob)?;

    let temporary = snapshot_folder.join(format!(".taper-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    // As Python writes it: relative, so that the cache can be moved.
    let up = "../".repeat(2 + Path::new(file.file).components().count() - 1);
    link(&format!("{up}blobs/{}", arrived.etag), &blob, &temporary)?;
    fs::rename(&temporary, &snapshot)?;

    if !is_commit(file.revision) {
        let reference = repository.join("refs").join(file.revision);
        let folder = reference.parent().unwrap_or(&repository);
        fs::create_dir_all(folder)?;
        let temporary = folder.join(format!(".taper-{}", std::process::id()));
        fs::write(&temporary, &arrived.commit)?;
        fs::rename(&temporary, &reference)?;
    }
    Ok(snapshot)
}

#[cfg(unix)]
fn link(target: &str, _blob: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(not(unix))]
fn link(_target: &str, blob: &Path, at: &Path) -> io::Result<()> {
    fs::hard_link(blob, at).or_else(|_| fs::copy(blob, at).map(|_| ()))
}

fn explain(error: HFError) -> Failed {
    let problem = match &error {
        HFError::AuthRequired { .. } => HubProblem::Unauthorized,
        HFError::Forbidden { .. } => HubProblem::Forbidden,
        HFError::RepoNotFound { .. }
        | HFError::RevisionNotFound { .. }
        | HFError::EntryNotFound { .. } => HubProblem::NotFound,
        HFError::RateLimited { retry_after, .. } => {
            HubProblem::RateLimited(retry_after.map(|wait| wait.as_secs()))
        }
        HFError::Request { source, .. } if source.is_connect() || source.is_timeout() => {
            HubProblem::Unreachable
        }
        // A body that ends early arrives as an error of the stream.
        HFError::Request { .. } => HubProblem::Interrupted,
        HFError::Io(_) => HubProblem::Cache,
        _ => HubProblem::Other,
    };
    Failed(problem, Some(Box::new(error)))
}
