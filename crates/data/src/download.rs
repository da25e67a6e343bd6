//! Files from the network: resumed, verified, and only then there.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_RANGE, RANGE, RETRY_AFTER},
};
use sha2::{Digest, Sha256};

use crate::{DownloadProblem, Error, Result, dataset::hex};

/// How often a download starts again without a single new byte.
const ATTEMPTS: u32 = 4;
/// The longest wait that a server may ask for before it is an error, in seconds.
const LONGEST_WAIT: u64 = 20;
const TICK: Duration = Duration::from_millis(100);

/// A file on a server, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// The address: `https://…`.
    pub url: String,
    /// The file's name in the folder.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What surrounds a download.
pub struct Watching<'a> {
    /// Told how many bytes of the file are there, now and then.
    pub progress: &'a (dyn Fn(u64) + 'a),
    /// Asked now and then whether to stop. What has arrived stays for the next time.
    pub stop: &'a (dyn Fn() -> bool + 'a),
    /// How long nothing may arrive. Default 30 s.
    pub patience: Duration,
}

impl std::fmt::Debug for Watching<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Default for Watching<'_> {
    fn default() -> Self {
        Self { progress: &|_| {}, stop: &|| false, patience: Duration::from_secs(30) }
    }
}

/// The path of the file in a folder; fetches it first if it is not there.
///
/// What arrives goes to `NAME.partial`, is continued where it broke off, by this call or a later one, and gets its own
/// name only when size and SHA-256 are right: a file of that name is whole and verified. Two processes do not fetch the
/// same file at the same time.
///
/// # Errors
/// [`Error::Download`] with a [`DownloadProblem`] that says what to do; [`Error::Io`] if the folder cannot be written.
pub fn download(file: &RemoteFile, folder: &Path, watching: &Watching<'_>) -> Result<PathBuf> {
    let path = folder.join(&file.name);
    if is_there(file, &path) {
        return Ok(path);
    }
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(at(folder))?;
    let lock = folder.join(format!(".{}.lock", file.name));
    let Some(_lock) = wait_for_lock(&lock, watching).map_err(at(&lock))? else {
        return Err(fail(file, DownloadProblem::Stopped));
    };
    if is_there(file, &path) {
        return Ok(path);
    }
    let partial = folder.join(format!("{}.partial", file.name));
    fetch(file, &partial, watching).map_err(|failed| match failed {
        Failed::Io(source) => Error::Io { path: partial.clone(), source },
        Failed::Problem(problem) => fail(file, problem),
    })?;
    fs::rename(&partial, &path).map_err(at(&path))?;
    Ok(path)
}

fn fail(file: &RemoteFile, problem: DownloadProblem) -> Error {
    Error::Download { url: file.url.clone(), problem }
}

/// A file gets its name only when it was verified; the size tells those that somebody has cut since.
fn is_there(file: &RemoteFile, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == file.bytes)
}

fn wait_for_lock(path: &Path, watching: &Watching<'_>) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if (watching.stop)() => return Ok(None),
            Err(TryLockError::WouldBlock) => thread::sleep(TICK),
        }
    }
}

enum Failed {
    Io(io::Error),
    Problem(DownloadProblem),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Io(error)
    }
}

impl From<DownloadProblem> for Failed {
    fn from(problem: DownloadProblem) -> Self {
        Failed::Problem(problem)
    }
}

/// What has arrived, and its digest so far.
struct Partial {
    out: File,
    hash: Sha256,
    bytes: u64,
}

impl Partial {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let mut out =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        if out.metadata()?.len() > most {
            out.set_len(0)?;
        }
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 18]);
        // Leaves the position at the end.
        loop {
            match out.read(&mut buffer)? {
                0 => return Ok(Self { out, hash, bytes }),
                n => {
                    hash.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        use std::io::Seek;
        self.out.set_len(0)?;
        self.out.rewind()?;
        self.hash = Sha256::new();
        self.bytes = 0;
        Ok(())
    }
}

fn fetch(
    file: &RemoteFile,
    path: &Path,
    watching: &Watching<'_>,
) -> std::result::Result<(), Failed> {
    let client = Client::builder()
        .connect_timeout(watching.patience)
        .timeout(watching.patience)
        .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| DownloadProblem::Other(e.to_string()))?;
    let mut partial = Partial::open(path, file.bytes)?;
    // Damage may be of an earlier time, or of the way: once, everything is fetched anew.
    let mut fresh = partial.bytes == 0;
    let mut damaged = 0;
    loop {
        let mut attempt = 0;
        // Only what never arrived before is progress: a shorter file would be fetched again for ever.
        let mut furthest = partial.bytes;
        while partial.bytes < file.bytes {
            let (problem, wait) = match continue_with(&client, file, &mut partial, watching)? {
                None => continue,
                Some(broken) => broken,
            };
            attempt = if partial.bytes > furthest { 1 } else { attempt + 1 };
            furthest = furthest.max(partial.bytes);
            if attempt >= ATTEMPTS || !problem.is_passing() {
                return Err(problem.into());
            }
            pause(wait.unwrap_or(Duration::from_millis(200 << attempt)), watching)?;
        }
        let found = hex(&partial.hash.clone().finalize());
        if found == file.sha256 {
            partial.out.sync_all()?;
            return Ok(());
        }
        partial.clear()?;
        damaged += 1;
        if fresh && damaged > 1 {
            drop(partial);
            fs::remove_file(path)?;
            return Err(DownloadProblem::Digest { promised: file.sha256.clone(), found }.into());
        }
        fresh = true;
    }
}

fn pause(wait: Duration, watching: &Watching<'_>) -> std::result::Result<(), Failed> {
    let mut left = wait;
    while !left.is_zero() {
        if (watching.stop)() {
            return Err(DownloadProblem::Stopped.into());
        }
        let step = left.min(TICK);
        thread::sleep(step);
        left -= step;
    }
    Ok(())
}

type Broken = (DownloadProblem, Option<Duration>);

/// One request, from the first byte that is missing. Gives what went wrong and how long to wait, if anything did.
fn continue_with(
    client: &Client,
    file: &RemoteFile,
    partial: &mut Partial,
    watching: &Watching<'_>,
) -> std::result::Result<Option<Broken>, Failed> {
    let stalled = || DownloadProblem::Stalled(watching.patience.as_secs());
    let mut request = client.get(&file.url);
    if partial.bytes > 0 {
        request = request.header(RANGE, format!("bytes={}-", partial.bytes));
    }
    let mut response = match request.send() {
        Ok(response) => response,
        Err(error) if error.is_timeout() => return Ok(Some((stalled(), None))),
        Err(error) if error.is_redirect() || error.is_builder() => {
            return Err(DownloadProblem::Other(describe(&error)).into());
        }
        Err(error) => return Ok(Some((DownloadProblem::Unreachable(describe(&error)), None))),
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(partial.bytes) => {}
        // The range was ignored, or is another one: from the beginning.
        StatusCode::OK => partial.clear()?,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            partial.clear()?;
            let status = response.status().as_u16();
            return Ok(Some((DownloadProblem::Status(status), None)));
        }
        status => {
            let wait =
                response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            if let Some(seconds) = wait.filter(|seconds| *seconds > LONGEST_WAIT) {
                return Err(DownloadProblem::Busy(seconds).into());
            }
            return Ok(Some((
                DownloadProblem::Status(status.as_u16()),
                wait.map(Duration::from_secs),
            )));
        }
    }
    let mut buffer = vec![0; 1 << 16];
    (watching.progress)(partial.bytes);
    loop {
        if (watching.stop)() {
            return Err(DownloadProblem::Stopped.into());
        }
        match response.read(&mut buffer) {
            Ok(0) if partial.bytes < file.bytes => {
                return Ok(Some((DownloadProblem::Broken, None)));
            }
            Ok(0) => return Ok(None),
            Ok(n) if partial.bytes + n as u64 > file.bytes => {
                partial.clear()?;
                return Err(DownloadProblem::TooLong(file.bytes).into());
            }
            Ok(n) => {
                partial.out.write_all(&buffer[..n])?;
                partial.hash.update(&buffer[..n]);
                partial.bytes += n as u64;
                (watching.progress)(partial.bytes);
            }
            Err(error) => {
                let timeout = error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<reqwest::Error>())
                    .is_some_and(reqwest::Error::is_timeout)
                    || error.kind() == io::ErrorKind::TimedOut;
                let problem = if timeout { stalled() } else { DownloadProblem::Broken };
                return Ok(Some((problem, None)));
            }
        }
    }
}

/// The first byte of `Content-Range: bytes 10-19/20`.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// An error with its causes: reqwest's own text says only that something failed.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
