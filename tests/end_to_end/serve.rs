//! `taper serve`: what clients get, well-behaved ones and others.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{pictures, quick_with, run, taper};

/// A server that is ended when it is dropped.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let all = [&["serve"], arguments, &["--address", "127.0.0.1:0", "--json"]].concat();
        let mut command = taper(folder);
        command.args(all).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("it does not start: {told}");
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["address"].as_str().unwrap().trim_start_matches("http://").to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Status, head and body of the answer to a request on a connection of its own.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: taper\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A refused body need not be read to its end.
        let _ = stream.write_all(body);
        answer(&mut stream)
    }

    fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        self.ask("GET", path, "text/plain", b"")
    }

    fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, _, body) = self.ask("POST", path, "application/octet-stream", body);
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[cfg(unix)]
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(stream: &mut TcpStream) -> (u16, String, Vec<u8>) {
    let mut all = Vec::new();
    // A connection that is reset after the answer has given it all the same.
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&all)));
    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, all[end + 4..].to_vec())
}

fn red(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("data/test/red/00.jpg")).unwrap()
}

#[test]
fn answers_are_those_of_predict() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    run(here, &quick_with(&["--out", "other", "--epochs", "1", "-q"])).expect(0);
    let names = ["data/test/red/00.jpg", "data/test/blue/01.jpg"];
    let predicted = run(here, &[&["predict", "run"], &names[..], &["--json"]].concat()).expect(0);
    let expected: Vec<Value> =
        predicted.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<Vec<u8>> = names.iter().map(|name| fs::read(here.join(name)).unwrap()).collect();

    let served = Served::start(here, &["run", "second=other/model.safetensors"]);
    for (file, expected) in files.iter().zip(&expected) {
        let (status, given) = served.post("/predict", file);
        assert_eq!(status, 200, "{given}");
        for field in ["label", "probability", "probabilities", "unfamiliar", "distance"] {
            assert_eq!(given[field], expected[field], "{field}");
        }
        assert_eq!((&given["model"], &given["version"]), (&json!("run"), &json!(1)));
    }
    let (_, second) = served.post("/predict?model=second&top=1", &files[0]);
    assert_eq!(second["model"], "second");
    assert_eq!(second["probabilities"].as_object().unwrap().len(), 1);
    assert_ne!(second["probability"], expected[0]["probability"]);

    // What spoke for the answer, which stays the same.
    let (status, explained) = served.post("/predict?explain=true", &files[0]);
    assert_eq!((status, &explained["probabilities"]), (200, &expected[0]["probabilities"]));
    let map = &explained["map"];
    assert_eq!(map["class"], expected[0]["label"]);
    let size = |side: &str| map[side].as_u64().unwrap() as usize;
    let values = map["values"].as_array().unwrap();
    assert_eq!(values.len(), size("height") * size("width"));
    assert!(values.iter().any(|value| value.as_f64() == Some(1.0)), "{map}");
    assert!(served.post("/predict", &files[0]).1["map"].is_null());
    let (status, refused) = served.post("/predict?explain=perhaps", &files[0]);
    assert_eq!(status, 400, "{refused}");

    // A form with several files, one of which is none.
    let mut form = Vec::new();
    for (name, content) in [("a.jpg", &files[0][..]), ("b.txt", b"text"), ("c.jpg", &files[1])] {
        let head = format!(
            "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n"
        );
        form.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    form.extend(b"--X--\r\n");
    let kind = "multipart/form-data; boundary=X";
    let (status, _, body) = served.ask("POST", "/predict", kind, &form);
    let given: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{given}");
    assert_eq!(given["predictions"][0]["probabilities"], expected[0]["probabilities"]);
    assert!(given["predictions"][1]["error"].as_str().unwrap().contains("text"), "{given}");
    assert_eq!(given["predictions"][2]["file"], "c.jpg");
    assert_eq!(given["predictions"][2]["label"], expected[1]["label"]);

    // The Open Inference Protocol: pixels of the exact size.
    let request = json!({
        "id": "42",
        "inputs": [{
            "name": "pixels", "datatype": "UINT8", "shape": [2, 64, 64, 3],
            "data": vec![128; 2 * 64 * 64 * 3],
        }],
        "outputs": [{ "name": "probabilities" }],
    });
    let (status, given) = served.post("/v2/models/run/infer", request.to_string().as_bytes());
    assert_eq!((status, &given["id"]), (200, &json!("42")), "{given}");
    let output = &given["outputs"][0];
    assert_eq!((&output["name"], &output["shape"]), (&json!("probabilities"), &json!([2, 2])));
    let sum: f64 = output["data"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 2.0).abs() < 1e-9 && given["outputs"].as_array().unwrap().len() == 1);
    let (_, _, about) = served.get("/v2/models/second");
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert_eq!(about["parameters"]["labels"], json!(["blue", "red"]));

    let (status, head, page) = served.get("/");
    assert!(
        status == 200 && head.contains("text/html") && head.contains("content-security-policy")
    );
    assert!(String::from_utf8(page).unwrap().contains("<title>"));
    let (_, _, metrics) = served.get("/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("taper_pictures_total{model=\"run\"} 9"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    // The description has the addresses that there are.
    let (_, _, described) = served.get("/openapi.json");
    let described: Value = serde_json::from_slice(&described).unwrap();
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path.replace("{model}", "run");
        let method = if methods.get("get").is_some() { "GET" } else { "POST" };
        let (status, _, _) = served.ask(method, &path, "text/plain", b"");
        let expected = if method == "GET" { 200 } else { 400 };
        assert_eq!(status, expected, "{method} {path}");
    }
}

#[test]
fn every_refusal_has_its_status_and_a_sentence() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    let limits = ["run", "--max-body", "1", "--max-pixels", "10000", "--timeout", "1s"];
    let served = Served::start(here, &limits);
    let refused = |status: u16, words: &str, given: (u16, Value)| {
        assert_eq!(given.0, status, "{}", given.1);
        assert!(given.1["error"].as_str().unwrap().contains(words), "{}", given.1);
    };
    let whole = red(here);
    refused(400, "empty", served.post("/predict", b""));
    refused(415, "text", served.post("/predict", b"This is no picture at all."));
    refused(422, "truncated", served.post("/predict", &whole[..whole.len() / 2]));
    refused(413, "1048576", served.post("/predict", &vec![0; 2 << 20]));
    let large = image::RgbImage::new(101, 100);
    large.save(here.join("large.png")).unwrap();
    let large = fs::read(here.join("large.png")).unwrap();
    refused(413, "pixels", served.post("/predict", &large));
    refused(404, "there is no model 'x': the models are run", served.post("/predict?model=x", b""));
    refused(400, "?model=NAME", served.post("/predict?modell=run", b""));
    refused(400, "?top=K", served.post("/predict?top=0", b""));
    refused(404, "openapi", served.post("/elsewhere", b""));
    refused(405, "method", served.post("/metrics", b""));
    refused(400, "Open Inference", served.post("/v2/models/run/infer", b"{"));
    for (input, words) in [
        (json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [] }), "64"),
        (json!({ "name": "image", "datatype": "BYTES", "shape": [1], "data": ["*"] }), "base64"),
        (json!({ "name": "sound", "datatype": "BYTES", "shape": [1], "data": [""] }), "sound"),
        (
            json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": [256] }),
            "256",
        ),
    ] {
        let request = json!({ "inputs": [input] }).to_string();
        refused(400, words, served.post("/v2/models/run/infer", request.as_bytes()));
    }
    // A form: settings belong into the address, and a single file that is none is no success.
    let form = |field: &str, content: &str| {
        let text =
            format!("--X\r\nContent-Disposition: form-data; {field}\r\n\r\n{content}\r\n--X--\r\n");
        let kind = "Multipart/Form-Data; boundary=X";
        let (status, _, body) = served.ask("POST", "/predict", kind, text.as_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    };
    refused(400, "'top' is no file", form("name=\"top\"", "2"));
    refused(415, "text", form("name=\"f\"; filename=\"a\"", "This is no picture."));
    // A client that sends nothing more of its body; and one that does not even send a head.
    let (mut slow, mut silent) = (served.connect(), served.connect());
    slow.write_all(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").unwrap();
    silent.write_all(b"GET /predi").unwrap();
    let start = Instant::now();
    let (status, _, body) = answer(&mut slow);
    assert_eq!(status, 408, "{}", String::from_utf8_lossy(&body));
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // All of that did it no harm.
    assert_eq!(served.post("/predict", &whole).0, 200);
}

#[test]
fn a_full_queue_is_said_and_nothing_is_lost_at_the_end() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    let mut served = Served::start(here, &["run", "--queue", "1", "--batch", "1"]);
    let whole = red(here);
    // One request may have more pictures than there is room for.
    let mut form = Vec::new();
    for n in 0..9 {
        let head =
            format!("--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{n}\"\r\n\r\n");
        form.extend([head.as_bytes(), &whole, b"\r\n"].concat());
    }
    form.extend(b"--X--\r\n");
    let (status, _, body) =
        served.ask("POST", "/predict", "multipart/form-data; boundary=X", &form);
    let given: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, given["predictions"].as_array().map(Vec::len)), (200, Some(9)), "{given}");
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let kind = "image/jpeg";
                    let (status, head, _) = served.ask("POST", "/predict", kind, &whole);
                    match status {
                        200 => answered.fetch_add(1, Ordering::Relaxed),
                        503 => {
                            assert!(head.contains("retry-after: 1"), "{head}");
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        other => panic!("{other}: {head}"),
                    };
                }
            });
        }
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    assert!(answered > 0 && refused > 0 && answered + refused == 240, "{answered} {refused}");

    // Requests whose heads have arrived are answered after the end was asked for.
    #[cfg(unix)]
    {
        let mut open: Vec<TcpStream> = (0..4).map(|_| served.connect()).collect();
        for stream in &mut open {
            let head = format!(
                "POST /v2/models/run/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                2
            );
            stream.write_all(head.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        served.terminate();
        std::thread::sleep(Duration::from_millis(300));
        for stream in &mut open {
            stream.write_all(b"{}").unwrap();
            assert_eq!(answer(stream).0, 400);
        }
        let ended = served.child.wait().unwrap();
        assert_eq!(ended.code(), Some(0));
        assert!(TcpStream::connect(&served.address).is_err());
    }
}

#[test]
fn a_replaced_model_is_taken_over_and_a_damaged_one_is_not() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    run(here, &quick_with(&["--out", "new", "--epochs", "1", "-q"])).expect(0);
    fs::copy(here.join("run/model.safetensors"), here.join("m.safetensors")).unwrap();
    let served = Served::start(here, &["m.safetensors"]);
    let whole = red(here);
    let version = || {
        let (status, given) = served.post("/predict?model=m", &whole);
        assert_eq!(status, 200, "{given}");
        (given["version"].as_u64().unwrap(), given["probability"].as_f64().unwrap())
    };
    let until = |wanted: &str| {
        let start = Instant::now();
        loop {
            let (_, _, metrics) = served.get("/metrics");
            if String::from_utf8(metrics).unwrap().contains(wanted) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{wanted} does not come");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let (first, before) = version();
    assert_eq!(first, 1);
    // Requests go on all the time.
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    version();
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        fs::copy(here.join("new/model.safetensors"), here.join("next")).unwrap();
        fs::rename(here.join("next"), here.join("m.safetensors")).unwrap();
        until("taper_reloads_total{model=\"m\",outcome=\"taken\"} 1");
        done.store(true, Ordering::Relaxed);
    });
    let (second, after) = version();
    assert!(second == 2 && after != before && asked.into_inner() > 0, "{second} {before} {after}");

    fs::write(here.join("m.safetensors"), b"damaged").unwrap();
    until("taper_reloads_total{model=\"m\",outcome=\"refused\"} 1");
    // A whole file whose last tensor, one of the head, has no numbers.
    let mut damaged = fs::read(here.join("run/model.safetensors")).unwrap();
    let text = String::from_utf8_lossy(&damaged[8..]).into_owned();
    let (_, about) = text.split_once("\"head.fc.weight\"").unwrap();
    let (_, offsets) = about.split_once("\"data_offsets\":[").unwrap();
    let first: usize = offsets.split(',').next().unwrap().parse().unwrap();
    let header = u64::from_le_bytes(damaged[..8].try_into().unwrap()) as usize;
    damaged[8 + header + first..][..64].fill(0xFF);
    fs::write(here.join("m.safetensors"), &damaged).unwrap();
    until("taper_reloads_total{model=\"m\",outcome=\"refused\"} 2");
    run(here, &["export", "m.safetensors", "--format", "onnx"])
        .complains(1, &["'fc.weight'", "no numbers"]);
    assert_eq!(version(), (2, after));
    fs::remove_file(here.join("m.safetensors")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(version(), (2, after));
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["-q"])).expect(0);
    let no = |arguments: &[&str], words: &[&str]| {
        let local = ["--address", "127.0.0.1:0"];
        run(here, &[&["serve"], arguments, &local].concat()).complains(2, words);
    };
    no(&["nothing"], &["nothing", "there is no such file"]);
    no(&["data/test/red/00.jpg"], &["this is a picture"]);
    no(&["run", "run/model.safetensors"], &["run", "NAME=MODEL"]);
    no(&["=run"], &["the name of a model is \"\"", "NAME=MODEL"]);
    run(here, &["serve", "run", "--address", "8080"]).complains(2, &["127.0.0.1:8080"]);
    no(&["run", "--batch", "0"], &["--batch is 0", "1 to 256"]);
    no(&["run", "--timeout", "1ms"], &["--timeout is 1ms", "100ms"]);
    no(&["run", "--delay", "2s"], &["--delay is 2s"]);
    let served = Served::start(here, &["run"]);
    run(here, &["serve", "run", "--address", &served.address])
        .complains(2, &["cannot listen", "--address"]);
}
