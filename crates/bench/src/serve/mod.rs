//! `taper serve` and LitServe with ONNX Runtime on the same model, asked over loopback by this
//! process: how many requests they answer, and how long each takes when there are few.

mod client;
mod soak;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use client::Client;

use crate::{
    protocol::median,
    python,
    row::{Compared, Row, print, write_json},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also measure LitServe with ONNX Runtime, in the same run.
    #[arg(long)]
    peers: bool,
    /// Write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Instead send so many requests, good and bad ones, to `taper serve` alone; check that each is
    /// answered as it has to be, and that the server's memory does not grow.
    #[arg(long, value_name = "N", conflicts_with_all = ["peers", "json", "rounds"])]
    soak: Option<usize>,
    /// How often each server is measured.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// The taper program; cargo xtask bench gives it.
    #[arg(long, value_name = "FILE", hide = true)]
    taper: PathBuf,
}

/// Connections at the peak.
const CONNECTIONS: usize = 16;
/// Connections that requests at a steady rate share.
const STEADY: usize = 64;
const SECONDS: f64 = 6.0;
/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// LitServe's workers and the threads of each: whichever is better counts.
const PEERS: [[usize; 2]; 2] = [[1, 2], [2, 1]];
const PICTURE: &str = "tests/end_to_end/photographs/chelsea.jpg";

/// Measures, prints a table, and writes the rows.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let program = env::current_exe()?;
    let target = program.parent().and_then(|p| p.parent()).context("this program has no folder")?;
    let folder = target.join("bench").join("serve");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let python = match options.peers {
        true => Some(python::interpreter(&target.join("bench"))?),
        false => None,
    };
    let taper = || {
        let mut command = Command::new(&options.taper);
        command.current_dir(&folder);
        command
    };
    let train = ["train", "--out", "hands", "-q"];
    // Of small pictures, so that the network is not what takes the time.
    let size: &[&str] = if options.soak.is_some() { &["--size", "32"] } else { &[] };
    python::run(taper().args(train).args(size).stdout(Stdio::null()))?;
    let body = body(&folder)?;
    let bench = Bench { taper: &options.taper, folder: &folder, python, body: &body };
    if let Some(requests) = options.soak {
        return soak::run(&bench, requests);
    }
    python::run(taper().args(["export", "hands", "--format", "onnx"]).stdout(Stdio::null()))?;
    let rows = bench.rows(options.rounds.max(1))?;
    print(&rows)?;
    match &options.json {
        Some(path) => write_json(&rows, path),
        None => Ok(()),
    }
}

/// A request: a form with a JPEG of 300 × 300.
fn body(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let picture =
        image::open(PICTURE).with_context(|| format!("run it in the workspace: {PICTURE}"))?;
    let file = folder.join("picture.jpg");
    picture
        .resize_exact(300, 300, image::imageops::FilterType::CatmullRom)
        .to_rgb8()
        .save(&file)?;
    let head = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";
    let body = [head.as_bytes(), &fs::read(file)?, b"\r\n--X--\r\n"].concat();
    Ok(client::post("/predict", "multipart/form-data; boundary=X", &body))
}

struct Bench<'a> {
    taper: &'a Path,
    folder: &'a Path,
    python: Option<PathBuf>,
    body: &'a [u8],
}

/// A server, ended when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // LitServe's workers are processes of their own, in the same group.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// What a server did in the rounds.
#[derive(Default)]
struct Figures {
    peaks: Vec<f64>,
    tails: Vec<f64>,
}

impl Bench<'_> {
    fn rows(&self, rounds: usize) -> anyhow::Result<Vec<Row>> {
        let precisions = ["f32", "bf16"];
        let peers = self.python.iter().flat_map(|_| PEERS);
        let mut own = precisions.map(|_| Figures::default());
        let mut others: Vec<Figures> = peers.map(|_| Figures::default()).collect();
        for round in 0..rounds {
            eprintln!("serve: round {} of {rounds}", round + 1);
            for (figures, precision) in own.iter_mut().zip(precisions) {
                figures.peaks.push(self.peak(&self.of_taper(precision)?)?);
            }
            for (figures, [workers, threads]) in others.iter_mut().zip(PEERS) {
                figures.peaks.push(self.peak(&self.of_peer(workers, threads)?)?);
            }
            // Half of the better peer's peak, or of our own.
            let half =
                match others.iter_mut().map(|o| median(&mut o.peaks.clone())).reduce(f64::max) {
                    Some(peak) => peak / 2.0,
                    None => median(&mut own[0].peaks.clone()) / 2.0,
                };
            for (figures, precision) in own.iter_mut().zip(precisions) {
                figures.tails.push(self.tail(&self.of_taper(precision)?, half)?);
            }
            for (figures, [workers, threads]) in others.iter_mut().zip(PEERS) {
                figures.tails.push(self.tail(&self.of_peer(workers, threads)?, half)?);
            }
        }
        let mut rows = Vec::new();
        for (figures, precision) in own.iter().zip(precisions) {
            rows.extend(self.compared(figures, precision, &others));
        }
        Ok(rows)
    }

    /// Peak and tail of one precision, against the better of the peers.
    fn compared(&self, own: &Figures, precision: &str, others: &[Figures]) -> [Row; 2] {
        let row = |case: String, unit, own: &[f64], other: Option<Vec<f64>>, less| {
            Row::compared(Compared {
                case,
                unit,
                own,
                peer: other.as_deref().map(|figures| ("litserve", figures)),
                less_is_better: less,
                version: None,
                threads: std::thread::available_parallelism().map_or(1, usize::from),
            })
        };
        let best = |less: bool, of: fn(&Figures) -> &Vec<f64>| -> Option<Vec<f64>> {
            let key = |figures: &&Figures| {
                let middle = median(&mut of(figures).clone());
                if less { -middle } else { middle }
            };
            others.iter().max_by(|a, b| key(a).total_cmp(&key(b))).map(|own| of(own).clone())
        };
        let peaks: fn(&Figures) -> &Vec<f64> = |own| &own.peaks;
        let tails: fn(&Figures) -> &Vec<f64> = |own| &own.tails;
        [
            row(format!("peak-{precision}"), "requests/s", &own.peaks, best(false, peaks), false),
            row(format!("p99-at-half-{precision}"), "ms", &own.tails, best(true, tails), true),
        ]
    }

    fn of_taper(&self, precision: &str) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = Command::new(self.taper);
        command.args(["serve", "hands", "-q", "--precision", precision]);
        command.arg("--address").arg(format!("127.0.0.1:{port}"));
        self.started(command, port)
    }

    fn of_peer(&self, workers: usize, threads: usize) -> anyhow::Result<Server> {
        let (port, python) = (free_port()?, self.python.as_ref().context("no Python")?);
        let mut command = Command::new(python);
        command.args([python::SERVE, "hands.onnx"]);
        command.args([usize::from(port), workers, threads].map(|n| n.to_string()));
        self.started(command, port)
    }

    /// Waits for the first answer.
    fn started(&self, mut command: Command, port: u16) -> anyhow::Result<Server> {
        command.current_dir(self.folder).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let server = Server { child: command.spawn()?, port };
        let begun = Instant::now();
        while begun.elapsed() < START {
            if Client::new(port).and_then(|mut client| ask_once(&mut client, self.body)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{command:?} does not answer")
    }

    /// Requests per second with as many connections as there is use for.
    fn peak(&self, server: &Server) -> anyhow::Result<f64> {
        self.closed(server, 1.0)?;
        self.closed(server, SECONDS)
    }

    /// Each connection asks again as soon as it has an answer.
    fn closed(&self, server: &Server, seconds: f64) -> anyhow::Result<f64> {
        let (answered, begun) = (AtomicUsize::new(0), Instant::now());
        let ask = || -> anyhow::Result<()> {
            let mut client = Client::new(server.port)?;
            while begun.elapsed().as_secs_f64() < seconds {
                ask_once(&mut client, self.body)?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            all.into_iter()
                .try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a client"))?)
        })?;
        Ok(answered.into_inner() as f64 / begun.elapsed().as_secs_f64())
    }

    /// Milliseconds that 99 of 100 requests take at most, at this rate; they come at random times,
    /// whether earlier ones are answered or not.
    fn tail(&self, server: &Server, rate: f64) -> anyhow::Result<f64> {
        self.closed(server, 1.0)?;
        let times = arrivals(rate, SECONDS);
        let (next, begun) = (AtomicUsize::new(0), Instant::now());
        let ask = || -> anyhow::Result<Vec<f64>> {
            let (mut client, mut took) = (Client::new(server.port)?, Vec::new());
            loop {
                let Some(&due) = times.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return Ok(took);
                };
                let due = begun + Duration::from_secs_f64(due);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                ask_once(&mut client, self.body)?;
                took.push(1e3 * due.elapsed().as_secs_f64());
            }
        };
        let mut took = std::thread::scope(|scope| -> anyhow::Result<Vec<f64>> {
            let all: Vec<_> = (0..STEADY).map(|_| scope.spawn(ask)).collect();
            let mut took = Vec::new();
            for one in all {
                took.extend(one.join().map_err(|_| anyhow::anyhow!("a client"))??);
            }
            Ok(took)
        })?;
        took.sort_by(f64::total_cmp);
        Ok(took[took.len() * 99 / 100])
    }
}

/// Random times with this many a second on average, the same ones for every server.
fn arrivals(rate: f64, seconds: f64) -> Vec<f64> {
    let (mut state, mut time, mut all) = (1u64, 0.0, Vec::new());
    loop {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        time -= uniform.ln() / rate;
        if time > seconds {
            return all;
        }
        all.push(time);
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Sends a request, and waits for an answer that is one.
fn ask_once(client: &mut Client, request: &[u8]) -> anyhow::Result<()> {
    client.send(request)?;
    let answer = client.answer()?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.text));
    Ok(())
}
