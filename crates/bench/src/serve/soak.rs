//! Very many requests, good and bad ones mixed: none may go without its answer, and the server's
//! memory may not grow.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::{
    Bench, Server,
    client::{Client, post},
};

/// Connections that ask.
const CONNECTIONS: usize = 32;
/// Connections that send a byte of their head now and then, and have to be ended.
const SLOW: usize = 20;
/// The share of the requests after which memory is counted.
const WARM: usize = 5;
/// Mebibytes that may come and go.
const GROWTH: f64 = 32.0;

/// A request, and the status that it has to get; none if it is cut off.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    status: Option<u16>,
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let picture =
        image::RgbImage::from_fn(48, 40, |x, y| image::Rgb([x as u8 * 5, y as u8 * 6, 90]));
    let mut jpeg = Vec::new();
    let mut to = std::io::Cursor::new(&mut jpeg);
    picture.write_to(&mut to, image::ImageFormat::Jpeg)?;
    let mut png = Vec::new();
    picture.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)?;
    // Its header promises 60,000 × 60,000 pixels.
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let sum = crc(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    let form = |picture: &[u8]| {
        let head = b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        [&head[..], picture, b"\r\n--X--\r\n"].concat()
    };
    let predict = |body: &[u8]| post("/predict", "application/octet-stream", body);
    let get = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
    };
    let case = |name, request, status| Case { name, request, status };
    let cut = predict(&jpeg);
    Ok(vec![
        case("a JPEG", predict(&jpeg), Some(200)),
        case("a PNG", predict(&png), Some(200)),
        case(
            "a form",
            post("/predict", "multipart/form-data; boundary=X", &form(&jpeg)),
            Some(200),
        ),
        case("a JPEG, once more", predict(&jpeg), Some(200)),
        case("text", predict(b"not a picture"), Some(415)),
        case("a picture that ends early", predict(&jpeg[..jpeg.len() / 2]), Some(422)),
        case("a decompression bomb", predict(&bomb), Some(413)),
        case("no body", predict(b""), Some(400)),
        case("a wrong address", get("GET", "/nowhere"), Some(404)),
        case("a wrong method", get("GET", "/predict"), Some(405)),
        case("whether it lives", get("GET", "/v2/health/live"), Some(200)),
        case("wrong JSON", post("/v2/models/hands/infer", "application/json", b"{"), Some(400)),
        case("a body that is cut off", cut[..cut.len() - 100].to_vec(), None),
    ])
}

/// The checksum of a chunk of PNG.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
    })
}

/// Sends so many requests, and prints what they were answered with.
pub(super) fn run(bench: &Bench<'_>, requests: usize) -> anyhow::Result<()> {
    let server = bench.of_taper("f32")?;
    let cases = cases()?;
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let counts = Mutex::new(BTreeMap::<&str, usize>::new());
    let (ended, warm) = (AtomicUsize::new(0), Mutex::new(None));
    let begun = Instant::now();
    let ask = || -> anyhow::Result<()> {
        let mut own: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut client = Client::new(server.port)?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= requests || over.load(Ordering::Relaxed) {
                break;
            }
            if at == requests / WARM {
                *warm.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory(&server)?);
            }
            let case = &cases[at % cases.len()];
            client.send(&case.request).with_context(|| case.name)?;
            *own.entry(case.name).or_default() += 1;
            let Some(status) = case.status else {
                client = Client::new(server.port)?;
                continue;
            };
            let answer = client.answer().with_context(|| case.name)?;
            if answer.status != status {
                bail!("{}: {}", case.name, String::from_utf8_lossy(&answer.text));
            }
            if answer.closes {
                client = Client::new(server.port)?;
            }
        }
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        own.into_iter().for_each(|(name, n)| *counts.entry(name).or_default() += n);
        Ok(())
    };
    std::thread::scope(|scope| {
        let slow: Vec<_> =
            (0..SLOW).map(|_| scope.spawn(|| dawdle(&server, &over, &ended))).collect();
        let all: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                // Whoever fails ends all.
                scope.spawn(|| ask().inspect_err(|_| over.store(true, Ordering::Relaxed)))
            })
            .collect();
        let join = |one: std::thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            one.join().map_err(|_| anyhow::anyhow!("a client"))?
        };
        let outcome = all.into_iter().map(join).fold(Ok(()), anyhow::Result::and);
        over.store(true, Ordering::Relaxed);
        slow.into_iter().map(join).fold(outcome, anyhow::Result::and)
    })?;
    let before = warm.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (before, after) = (before.context("too few requests")?, memory(&server)?);
    let seconds = begun.elapsed().as_secs_f64();
    for (name, n) in counts.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let status = cases.iter().find(|case| case.name == name).and_then(|case| case.status);
        let status = status.map_or_else(|| "–".into(), |status| status.to_string());
        eprintln!("{n:8} × {status:3} {name}");
    }
    let slow = ended.into_inner();
    eprintln!(
        "{requests} requests in {seconds:.0} s; {slow} slow connections were ended; {before:.1} MiB \
         after a fifth of them, {after:.1} MiB at the end"
    );
    ensure!(after - before <= GROWTH, "its memory grows");
    ensure!(seconds < 60.0 || slow > 0, "slow connections are not ended");
    Ok(())
}

/// Sends a head byte by byte, and counts how often the server has ended the connection.
fn dawdle(server: &Server, over: &AtomicBool, ended: &AtomicUsize) -> anyhow::Result<()> {
    let head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nX-Long: ";
    while !over.load(Ordering::Relaxed) {
        let mut client = Client::new(server.port)?;
        let mut bytes = head.iter().chain(std::iter::repeat(&b'x'));
        while !over.load(Ordering::Relaxed) {
            let byte = bytes.next().copied().unwrap_or(b'x');
            if client.send(&[byte]).is_err() {
                ended.fetch_add(1, Ordering::Relaxed);
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(())
}

/// The memory that a server has, in MiB.
fn memory(server: &Server) -> anyhow::Result<f64> {
    let file = format!("/proc/{}/status", server.child.id());
    let text = fs::read_to_string(&file).context("memory is counted on Linux only")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context(file)?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes / 1024.0)
}
