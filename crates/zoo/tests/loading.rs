//! The cost of loading: a mapped file is not copied.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "also in the helpers of tests")]

use std::{fs, io::Write as _, path::Path, process::Command, time::Instant};

use taper_graph::{WeightSource, Weights};
use taper_zoo::{WeightsChoice, find, resolve};

const FILE: &str = "TAPER_TEST_WEIGHTS";

/// ResNet-50's weights as a safetensors file.
fn write(path: &Path) {
    let model = find("resnet50").unwrap();
    let weights = Weights::seeded(&model.graph());
    let mut entries = Vec::new();
    let mut end = 0;
    for name in weights.names() {
        let shape = weights.shape(name).unwrap();
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    for name in weights.names() {
        for value in weights.values(name).unwrap().iter() {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    file.flush().unwrap();
}

/// Bytes: the most that was resident so far, or what is private to this process now.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Not a test itself: the code of another process in the test below.
#[test]
fn in_another_process() {
    let Ok(path) = std::env::var(FILE) else { return };
    let size = fs::metadata(&path).unwrap().len();
    let (before, private) = (memory("VmHWM"), memory("RssAnon"));
    let start = Instant::now();
    let weights = resolve(find("resnet50").unwrap(), &WeightsChoice::File(path.into())).unwrap();
    let opened = start.elapsed();
    let mut sum = 0.0f64;
    for name in weights.source.names() {
        sum += f64::from(weights.source.values(name).unwrap().iter().sum::<f32>());
    }
    assert!(sum.is_finite());
    let peak = memory("VmHWM") - before;
    let private = memory("RssAnon").saturating_sub(private);
    println!(
        "{size} bytes: opened, checked and digested in {opened:?}, all read in {:?}; peak {:.2}, private {:.3} of the size",
        start.elapsed(),
        peak as f64 / size as f64,
        private as f64 / size as f64,
    );
    assert!(peak as f64 <= 1.6 * size as f64, "{peak}");
    assert!((private as f64) < 0.05 * size as f64, "a second copy: {private}");
}

#[test]
fn resnet50_is_mapped_and_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet50.safetensors");
    write(&path);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_another_process", "--nocapture"])
        .env(FILE, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert!(text.contains("of the size"), "{text}");
}
