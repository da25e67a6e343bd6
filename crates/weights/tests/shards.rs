//! Weights in several files with an index.

#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::fs;

use taper_graph::WeightSource;
use taper_weights::WeightFile;

/// A safetensors file with tensors of one number.
fn file(tensors: &[(&str, f32)]) -> Vec<u8> {
    let entries = tensors.iter().enumerate().map(|(i, (name, _))| {
        format!(
            r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#,
            4 * i,
            4 * i + 4
        )
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(tensors.iter().flat_map(|(_, value)| value.to_le_bytes()));
    bytes
}

#[test]
fn shards_are_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("model-00001-of-00002.safetensors"), file(&[("a", 1.0), ("b", 2.0)])).unwrap();
    fs::write(at("model-00002-of-00002.safetensors"), file(&[("c", 3.0), ("a", 9.0)])).unwrap();
    let index = |map: &str| format!(r#"{{"metadata":{{"total_size":12}},"weight_map":{{{map}}}}}"#);
    let path = at("model.safetensors.index.json");
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    fs::write(&path, index(&format!(r#""a":"{first}","b":"{first}","c":"{second}""#))).unwrap();
    let weights = WeightFile::open(&path).unwrap();
    assert_eq!(weights.names(), ["a", "b", "c"]);
    for (name, value) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
        assert_eq!(weights.values(name).as_deref(), Some(&[value][..]));
    }
    assert_eq!(weights.name(), path.display().to_string());
    let digest = weights.digest().to_owned();
    assert_eq!(digest.len(), 64);
    fs::write(at(second), file(&[("c", 4.0), ("a", 9.0)])).unwrap();
    assert_ne!(WeightFile::open(&path).unwrap().digest(), digest);

    for (map, expected) in [
        (format!(r#""a":"{first}","b":"{second}""#), "tensor 'b' is not in"),
        (format!(r#""a":"../{first}""#), "not beside it"),
        (r#""a":"/etc/passwd""#.into(), "not beside it"),
        (r#""a":"gone.safetensors""#.into(), "gone.safetensors"),
        (String::new(), "names 0 files"),
        (r#""a":7"#.into(), "cannot be read"),
    ] {
        fs::write(&path, index(&map)).unwrap();
        let text = WeightFile::open(&path).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}
