//! A server on this machine that speaks the download protocol of the Hugging Face Hub, and fails on
//! demand.
//!
//! `HEAD` or `GET /OWNER/NAME/resolve/REVISION/FILE` answers as the Hub does for a large file: 302
//! to `/cdn/…` with `X-Repo-Commit`, `X-Linked-Etag` (the SHA-256) and `X-Linked-Size`. `/cdn/…`,
//! on another port, serves the bytes, whole or by `Range`. After [`HubServer::offer_xet`] it also
//! names a Xet hash, as the Hub does for nearly all large files; a client need not know what that
//! is. A commit is itself, any other revision the one commit [`COMMIT`]; an unknown repository or
//! file is 404 with `X-Error-Code`; a renamed repository is 307 to its present name. Protocol: the
//! source of Python's `huggingface_hub` (`file_download.py`).

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use sha2::{Digest, Sha256};

/// The commit that every revision but a commit stands for.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/resolve/`, by HEAD or GET.
    Resolve,
    /// The bytes themselves, over HTTP.
    Content,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status and no content.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    RetryAfter(u32),
    /// The connection ends after so many bytes of the content.
    Cut(usize),
    /// One bit of the content is wrong; length and digest are announced as if it were right.
    Corrupt,
    /// Nothing more comes after so many bytes of the content, but the connection stays open.
    Stall(usize),
    /// Nothing comes at all, but the connection stays open.
    Silence,
    /// The range that was asked for is ignored: 200 and everything.
    IgnoreRange,
}

/// A request as it arrived, and the status of the answer (0 if there was none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The answer's status.
    pub status: u16,
}

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct HubServer {
    address: SocketAddr,
    /// Of the bytes: as on the Hub, another origin, to which clients must not send tokens.
    cdn: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// By `owner/name/path`: content and SHA-256.
    files: BTreeMap<String, (Arc<Vec<u8>>, String)>,
    faults: VecDeque<(Route, Fault, usize)>,
    /// The present name of a repository by an old one.
    renamed: BTreeMap<String, String>,
    token: Option<String>,
    xet: bool,
    requests: Vec<Request>,
    stopped: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl HubServer {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, cdn] = [0, 1].map(|i| listeners[i].local_addr().unwrap());
        let listen = |listener: TcpListener| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if state.lock().stopped {
                        return;
                    }
                    let (Ok(stream), state) = (stream, Arc::clone(&state)) else { continue };
                    // A client that goes away in the middle is no matter.
                    std::thread::spawn(move || serve(stream, cdn, &state));
                }
            })
        };
        let threads = listeners.map(listen).into();
        Self { address, cdn, state, threads }
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a file to a repository (`owner/name`); returns its SHA-256 in lower-case hexadecimal.
    pub fn put(&self, repository: &str, file: &str, content: impl Into<Vec<u8>>) -> String {
        let content = content.into();
        let digest = digest(&content);
        self.state
            .lock()
            .files
            .insert(format!("{repository}/{file}"), (Arc::new(content), digest.clone()));
        digest
    }

    /// The next `times` requests of this kind fail in this way; several faults strike one after the
    /// other.
    pub fn fail(&self, route: Route, fault: Fault, times: usize) {
        self.state.lock().faults.push_back((route, fault, times));
    }

    /// Asks for this token from now on: 401 without one, 403 with another.
    pub fn require_token(&self, token: &str) {
        self.state.lock().token = Some(token.to_owned());
    }

    /// Another name that a model's repository had, which leads to the present one.
    pub fn rename(&self, old: &str, new: &str) {
        self.state.lock().renamed.insert(old.to_owned(), new.to_owned());
    }

    /// Offers all files by Xet from now on.
    pub fn offer_xet(&self) {
        self.state.lock().xet = true;
    }

    /// All requests so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.state.lock().stopped = true;
        self.state.changed.notify_all();
        // Wakes the threads that wait for connections.
        for address in [self.address, self.cdn] {
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers one request, then closes: connections are not reused, so that every fault strikes
/// exactly one request.
fn serve(mut stream: TcpStream, cdn: SocketAddr, state: &State) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Some(mut request) = read(&stream) else { return };
    let route = match &request.path {
        path if path.starts_with("/cdn/") => Route::Content,
        _ => Route::Resolve,
    };
    let (answer, fault) = {
        let mut inner = state.lock();
        let fault = inner.next_fault(route);
        let answer = inner.answer(&request, fault.as_ref(), cdn);
        request.status = answer.status;
        inner.requests.push(request.clone());
        (answer, fault)
    };
    if fault == Some(Fault::Silence) {
        return hold(state);
    }
    let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", answer.body.len());
    if stream.write_all(head.as_bytes()).is_err() || request.method == "HEAD" {
        return;
    }
    let sent = match fault {
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes.min(answer.body.len()),
        _ => answer.body.len(),
    };
    if stream.write_all(&answer.body[..sent]).is_err() {
        return;
    }
    if matches!(fault, Some(Fault::Stall(_))) {
        hold(state);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Keeps a connection open until the server stops.
fn hold(state: &State) {
    let (inner, longest) = (state.lock(), Duration::from_secs(60));
    let _unused = state.changed.wait_timeout_while(inner, longest, |inner| !inner.stopped).unwrap();
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, range: None, authorization: None, status: 0 };
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value,
            "authorization" => request.authorization = value,
            _ => {}
        }
    }
    Some(request)
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn json(body: String) -> Self {
        let headers = vec![("Content-Type", "application/json".into())];
        Self { status: 200, headers, body: body.into_bytes() }
    }

    /// Bytes, or as many of them as were asked for.
    fn ranged(mut body: Vec<u8>, request: &Request, fault: Option<&Fault>) -> Self {
        if fault == Some(&Fault::Corrupt)
            && let Some(last) = body.last_mut()
        {
            *last ^= 1;
        }
        let mut headers =
            vec![("Accept-Ranges", "bytes".into()), ("ETag", "\"of-the-cdn\"".into())];
        let range = request.range.as_deref().filter(|_| fault != Some(&Fault::IgnoreRange));
        let Some(range) = range else { return Self { status: 200, headers, body } };
        let total = body.len();
        let Some((from, to)) = bounds(range, total) else { return Self::empty(416) };
        headers.push(("Content-Range", format!("bytes {from}-{}/{total}", to - 1)));
        Self { status: 206, headers, body: body[from..to].to_vec() }
    }

    fn refusal(status: u16, code: &str, message: &str) -> Self {
        let headers = vec![("X-Error-Code", code.into()), ("X-Error-Message", message.into())];
        Self { headers, ..Self::empty(status) }
    }
}

impl Inner {
    fn next_fault(&mut self, route: Route) -> Option<Fault> {
        let at = self.faults.iter().position(|(r, ..)| *r == route)?;
        let (_, fault, times) = &mut self.faults[at];
        let fault = fault.clone();
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }

    fn answer(&self, request: &Request, fault: Option<&Fault>, cdn: SocketAddr) -> Answer {
        match fault {
            Some(Fault::Status(status)) => return Answer::empty(*status),
            Some(Fault::RetryAfter(seconds)) => {
                let headers = vec![("Retry-After", seconds.to_string())];
                return Answer { headers, ..Answer::empty(429) };
            }
            _ => {}
        }
        let path = request.path.as_str();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        if let Some(repository) = path.strip_prefix("/api/") {
            return self.listing(repository);
        }
        match path.strip_prefix("/cdn/") {
            Some(key) => match self.files.get(key) {
                Some((content, _)) => Answer::ranged(content.to_vec(), request, fault),
                None => Answer::empty(404),
            },
            None => self.resolve(request, cdn),
        }
    }

    /// The files of `datasets/OWNER/NAME/revision/REVISION?blobs=true`.
    fn listing(&self, path: &str) -> Answer {
        let Some((repository, _)) = path.split_once("/revision/") else {
            return Answer::empty(404);
        };
        let prefix = format!("{repository}/");
        let of = |(key, (content, digest)): (&String, &(Arc<Vec<u8>>, String))| {
            let (file, size) = (key.strip_prefix(&prefix)?.to_owned(), content.len());
            Some(format!(
                r#"{{"rfilename":"{file}","size":{size},"lfs":{{"sha256":"{digest}","size":{size}}}}}"#
            ))
        };
        let files: Vec<String> = self.files.iter().filter_map(of).collect();
        if files.is_empty() {
            return Answer::refusal(404, "RepoNotFound", "Repository not found");
        }
        Answer::json(format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.join(",")))
    }

    fn resolve(&self, request: &Request, cdn: SocketAddr) -> Answer {
        if let Some(token) = &self.token {
            match &request.authorization {
                None => {
                    let message = "Access to this repository is restricted. Please log in.";
                    return Answer::refusal(401, "GatedRepo", message);
                }
                Some(given) if *given != format!("Bearer {token}") => {
                    let message = "Your request to access this repository has not been approved.";
                    return Answer::refusal(403, "GatedRepo", message);
                }
                Some(_) => {}
            }
        }
        let path = request.path.trim_start_matches('/');
        // Data sets have a prefix that models do not have.
        let (kind, path) = match path.strip_prefix("datasets/") {
            Some(rest) => ("datasets/", rest),
            None => ("", path),
        };
        let parts: Vec<&str> = path.splitn(5, '/').collect();
        let [owner, name, "resolve", revision, file] = parts[..] else {
            return Answer::refusal(404, "RepoNotFound", "Repository not found");
        };
        if let Some(new) = self.renamed.get(&format!("{owner}/{name}")) {
            let location = format!("/{new}/resolve/{revision}/{file}");
            return Answer { headers: vec![("Location", location)], ..Answer::empty(307) };
        }
        let key = format!("{kind}{owner}/{name}/{file}");
        let Some((content, digest)) = self.files.get(&key) else {
            let repository = format!("{kind}{owner}/{name}/");
            if self.files.keys().any(|key| key.starts_with(&repository)) {
                let mut answer = Answer::refusal(404, "EntryNotFound", "Entry not found");
                answer.headers.push(("X-Repo-Commit", COMMIT.into()));
                return answer;
            }
            return Answer::refusal(404, "RepoNotFound", "Repository not found");
        };
        let commit = if revision.len() == COMMIT.len() { revision } else { COMMIT };
        let mut headers = vec![
            ("Location", format!("http://{cdn}/cdn/{key}")),
            ("X-Repo-Commit", commit.into()),
            ("X-Linked-Size", content.len().to_string()),
            ("X-Linked-Etag", format!("\"{digest}\"")),
            ("ETag", "\"of-the-pointer-file\"".into()),
        ];
        if self.xet {
            headers.push(("X-Xet-Hash", digest.clone()));
        }
        Answer { headers, ..Answer::empty(302) }
    }
}

/// The first byte of a range and the one after its last; none if it holds nothing of the file.
fn bounds(range: &str, total: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: usize = from.parse().ok()?;
    let to: usize = if to.is_empty() { total } else { to.parse::<usize>().ok()? + 1 };
    (from < to && from < total).then_some((from, to.min(total)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn ask(server: &HubServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(format!("{request}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn speaks_the_protocol_and_fails_on_demand() {
        let server = HubServer::start();
        let digest = server.put("timm/tiny", "model.safetensors", "0123456789");
        let answer = ask(&server, "HEAD /timm/tiny/resolve/main/model.safetensors HTTP/1.1");
        assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
        assert!(answer.contains(&format!("X-Linked-Etag: \"{digest}\"")), "{answer}");
        assert!(answer.contains("X-Linked-Size: 10") && answer.contains(COMMIT), "{answer}");

        let content = "GET /cdn/timm/tiny/model.safetensors HTTP/1.1";
        assert!(ask(&server, content).ends_with("\r\n\r\n0123456789"));
        let answer = ask(&server, &format!("{content}\r\nRange: bytes=3-5"));
        assert!(answer.contains("206") && answer.ends_with("\r\n\r\n345"), "{answer}");
        let answer = ask(&server, &format!("{content}\r\nRange: bytes=10-"));
        assert!(answer.contains("416"), "{answer}");

        server.fail(Route::Content, Fault::Status(500), 1);
        server.fail(Route::Content, Fault::Cut(4), 1);
        assert!(ask(&server, content).contains("500"));
        assert!(ask(&server, content).ends_with("\r\n\r\n0123"));
        assert!(ask(&server, content).ends_with("\r\n\r\n0123456789"));
        assert!(ask(&server, "GET /timm/none/resolve/main/x HTTP/1.1").contains("RepoNotFound"));
        assert!(ask(&server, "GET /timm/tiny/resolve/main/x HTTP/1.1").contains("EntryNotFound"));
        server.require_token("secret");
        assert!(ask(&server, "HEAD /timm/tiny/resolve/main/x HTTP/1.1").contains("401"));
        assert_eq!(server.requests().len(), 10);
    }
}
