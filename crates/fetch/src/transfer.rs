//! The only download path: piece by piece, continued after a break, verified at the end.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::Path,
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};
use taper_core::hex;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
    tls::{RootCerts, TlsConfig},
};

use crate::{Problem, Watching, digest::absorb, lock::TICK};

/// How many attempts in a row may bring less than [`FRUITFUL`] bytes.
const ATTEMPTS: u32 = 4;
/// An attempt that brings this much counts as progress, so that a large file arrives even over a
/// bad connection.
const FRUITFUL: u64 = 1 << 20;
/// If a server asks to wait for longer than this, in seconds, it is an error.
const LONGEST_WAIT: u64 = 20;

/// Why a download failed, without naming the file yet.
pub(crate) enum Failed {
    Io(io::Error),
    Problem(Problem),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Io(error)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed::Problem(problem)
    }
}

/// What went wrong in one attempt, and how long the server asks to wait.
pub(crate) struct Broken {
    problem: Problem,
    wait: Option<Duration>,
}

impl From<Problem> for Broken {
    fn from(problem: Problem) -> Self {
        Self { problem, wait: None }
    }
}

/// Sends requests, and waits no longer than its patience for anything.
pub(crate) struct Client {
    agent: Agent,
    patience: Duration,
}

impl Client {
    pub(crate) fn new(patience: Duration) -> Self {
        let patience = patience.max(Duration::from_millis(1));
        let wait = Some(patience);
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .user_agent(concat!("taper/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(wait)
            .timeout_connect(wait)
            .timeout_send_request(wait)
            .timeout_recv_response(wait)
            .timeout_per_read(wait)
            .build();
        Self { agent: config.into(), patience }
    }

    /// A file's headers without its content; redirects are not followed.
    pub(crate) fn head(&self, url: &str, token: Option<&str>) -> Result<Response<Body>, Broken> {
        let request = self.agent.head(url).header(header::ACCEPT_ENCODING, "identity");
        let request = request.config().max_redirects(0).build();
        let request = match token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        self.answer(request.call())
    }

    /// A file's content from this byte on. The token is sent to the first server only, not to those
    /// that it redirects to.
    pub(crate) fn get(
        &self,
        url: &str,
        token: Option<&str>,
        from: u64,
    ) -> Result<Response<Body>, Broken> {
        let mut request = self.agent.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.answer(request.call())
    }

    /// Passes success and redirections on.
    fn answer(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Broken> {
        let response = answer.map_err(|error| self.explain(error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait: Option<u64> = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        Err(match wait {
            Some(seconds) if seconds > LONGEST_WAIT => Problem::Busy(seconds).into(),
            _ => Broken {
                problem: Problem::Status(status.as_u16()),
                wait: wait.map(Duration::from_secs),
            },
        })
    }

    fn explain(&self, error: ureq::Error) -> Problem {
        use ureq::Error;
        match error {
            Error::Timeout(_) => Problem::Stalled(self.patience.as_secs()),
            Error::Io(_)
            | Error::HostNotFound
            | Error::ConnectionFailed
            | Error::ConnectProxyFailed(_)
            | Error::Tls(_)
            | Error::Rustls(_) => Problem::Unreachable(error.to_string()),
            other => Problem::Other(other.to_string()),
        }
    }

    /// Reads the part of the content that has arrived.
    fn read(&self, body: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Problem> {
        body.read(buffer).map_err(|error| {
            let inner = error.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
            match inner {
                Some(ureq::Error::Timeout(_)) => Problem::Stalled(self.patience.as_secs()),
                _ if error.kind() == io::ErrorKind::TimedOut => {
                    Problem::Stalled(self.patience.as_secs())
                }
                _ => Problem::Interrupted,
            }
        })
    }

    /// Reads a short content whole.
    pub(crate) fn read_all(
        &self,
        response: Response<Body>,
        most: usize,
    ) -> Result<Vec<u8>, Broken> {
        let (mut content, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        let mut body = response.into_body().into_reader();
        loop {
            match self.read(&mut body, &mut buffer)? {
                0 => return Ok(content),
                n if content.len() + n > most => {
                    let problem = format!("the answer is longer than {} MiB", most >> 20);
                    return Err(Problem::Other(problem).into());
                }
                n => content.extend(&buffer[..n]),
            }
        }
    }
}

/// Counts attempts without progress.
struct Attempts<'a> {
    watching: &'a Watching<'a>,
    fruitless: u32,
}

impl Attempts<'_> {
    /// Waits before the next attempt, longer each time, or gives up.
    fn failed(&mut self, broken: Broken, arrived: u64) -> Result<(), Failed> {
        let Broken { problem, wait } = broken;
        self.fruitless = if arrived >= FRUITFUL { 1 } else { self.fruitless + 1 };
        if self.fruitless >= ATTEMPTS || !problem.is_passing() {
            return Err(problem.into());
        }
        tracing::info!("trying again: {problem}");
        // A server that has sent something is there.
        let own = if arrived > 0 { 0 } else { 100 << self.fruitless };
        let mut left = wait.unwrap_or(Duration::from_millis(own));
        while !left.is_zero() {
            if (self.watching.stop)() {
                return Err(Problem::Stopped.into());
            }
            let step = left.min(TICK);
            thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}

/// Tries until it succeeds, or fails for good.
pub(crate) fn persist<T>(
    watching: &Watching<'_>,
    mut attempt: impl FnMut() -> Result<T, Broken>,
) -> Result<T, Failed> {
    let mut attempts = Attempts { watching, fruitless: 0 };
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(broken) => attempts.failed(broken, 0)?,
        }
    }
}

/// What is to be received.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    pub(crate) token: Option<&'a str>,
    /// The length, if it is known.
    pub(crate) bytes: Option<u64>,
    /// The digest, if it is known; without one, a partial download is never continued.
    pub(crate) sha256: Option<&'a str>,
}

/// Downloads the missing part of a file. Afterwards it is whole, verified and on the disk.
///
/// The damage may be in an earlier part or in the transfer: download everything again, once.
pub(crate) fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    path: &Path,
    watching: &Watching<'_>,
) -> Result<(), Failed> {
    let mut partial = Partial::open(path, wanted.bytes)?;
    let mut damaged = false;
    loop {
        fill(client, wanted, &mut partial, watching)?;
        let found = hex(&partial.hash.clone().finalize());
        match wanted.sha256 {
            Some(promised) if promised != found => {
                partial.clear()?;
                if damaged {
                    drop(partial);
                    fs::remove_file(path)?;
                    return Err(Problem::Digest { promised: promised.into(), found }.into());
                }
                tracing::info!("the partial download is damaged; starting over");
                damaged = true;
            }
            _ => return Ok(partial.out.sync_all()?),
        }
    }
}

/// What has arrived, and its digest so far.
struct Partial {
    out: File,
    hash: Sha256,
    bytes: u64,
}

impl Partial {
    fn open(path: &Path, most: Option<u64>) -> io::Result<Self> {
        let mut out =
            File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let there = out.metadata()?.len();
        if most.is_some_and(|most| there > most) {
            out.set_len(0)?;
        }
        let mut hash = Sha256::new();
        // Leaves the position at the end.
        let bytes = absorb(&mut out, &mut hash)?;
        if bytes > 0 {
            tracing::info!(bytes, "resuming an earlier download");
        }
        Ok(Self { out, hash, bytes })
    }

    fn clear(&mut self) -> io::Result<()> {
        self.out.set_len(0)?;
        self.out.rewind()?;
        self.hash = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn fill(
    client: &Client,
    wanted: &Wanted<'_>,
    partial: &mut Partial,
    watching: &Watching<'_>,
) -> Result<(), Failed> {
    let mut attempts = Attempts { watching, fruitless: 0 };
    // Only bytes that never arrived before count as progress: otherwise a file that is shorter than
    // it should be would be downloaded for ever.
    let mut furthest = partial.bytes;
    loop {
        if wanted.sha256.is_none() {
            // Nothing would reveal that the beginning belongs to another version.
            partial.clear()?;
        } else if wanted.bytes == Some(partial.bytes) {
            return Ok(());
        }
        let Some(broken) = continue_with(client, wanted, partial, watching)? else {
            return Ok(());
        };
        let arrived = partial.bytes.saturating_sub(furthest);
        furthest = furthest.max(partial.bytes);
        attempts.failed(broken, arrived)?;
    }
}

/// One request, from the first missing byte. Returns what went wrong, if anything did.
fn continue_with(
    client: &Client,
    wanted: &Wanted<'_>,
    partial: &mut Partial,
    watching: &Watching<'_>,
) -> Result<Option<Broken>, Failed> {
    let response = match client.get(wanted.url, wanted.token, partial.bytes) {
        Ok(response) => response,
        Err(Broken { problem: Problem::Status(416), wait }) => {
            partial.clear()?;
            return Ok(Some(Broken { problem: Problem::Status(416), wait }));
        }
        Err(broken) => return Ok(Some(broken)),
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(partial.bytes) => {}
        // The range was ignored: start from the beginning.
        StatusCode::OK => partial.clear()?,
        status => {
            partial.clear()?;
            return Ok(Some(Problem::Status(status.as_u16()).into()));
        }
    }
    let mut buffer = vec![0; 1 << 16];
    let mut body = response.into_body().into_reader();
    (watching.progress)(partial.bytes);
    loop {
        if (watching.stop)() {
            return Err(Problem::Stopped.into());
        }
        match client.read(&mut body, &mut buffer) {
            Ok(0) if wanted.bytes.is_some_and(|bytes| partial.bytes < bytes) => {
                return Ok(Some(Problem::Interrupted.into()));
            }
            Ok(0) => return Ok(None),
            Ok(n) => {
                if let Some(most) = wanted.bytes.filter(|most| partial.bytes + n as u64 > *most) {
                    partial.clear()?;
                    return Err(Problem::TooLong(most).into());
                }
                partial.push(&buffer[..n])?;
                (watching.progress)(partial.bytes);
            }
            Err(problem) => return Ok(Some(problem.into())),
        }
    }
}

/// The first byte of `Content-Range: bytes 10-19/20`.
fn starts_at(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
