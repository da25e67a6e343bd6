//! Checkpoints that torch has written (`checkpoints/make.py`), and hostile ones.

#![allow(clippy::unwrap_used, reason = "also in the helpers of tests")]

use std::{fs, path::PathBuf};

use taper_graph::WeightSource;
use taper_weights::{ElementType, Error, WeightFile};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 / 8.0).collect()
}

fn refusal(bytes: Vec<u8>) -> String {
    WeightFile::from_bytes("w.pth", bytes).unwrap_err().to_string()
}

#[test]
fn both_formats_of_torch_and_a_training_scripts_checkpoint_hold_the_same() {
    for name in ["new.pth", "old.pth", "wrapped.pth"] {
        let file = WeightFile::open(path(name)).unwrap();
        let expected =
            ["bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.weight", "conv1.weight"];
        assert_eq!(file.names(), expected, "{name}");
        assert_eq!(file.shape("conv1.weight"), Some(&[3, 2, 2, 2][..]), "{name}");
        assert_eq!(file.values("conv1.weight").as_deref(), Some(&numbers(24)[..]), "{name}");
        assert_eq!(file.values("bn1.running_var").as_deref(), Some(&numbers(3)[..]), "{name}");
        assert_eq!(file.digest().len(), 64);
    }
}

#[test]
fn odd_tensors_are_read_as_torch_means_them() {
    let file = WeightFile::open(path("odd.pth")).unwrap();
    let values = |name: &str| file.values(name).unwrap().into_owned();
    assert_eq!(file.element_type("half"), Some(ElementType::F16));
    assert_eq!(file.element_type("brain"), Some(ElementType::Bf16));
    assert_eq!(values("half"), numbers(5));
    assert_eq!(values("brain"), numbers(5));
    assert_eq!(values("rows"), numbers(18)[6..]);
    assert_eq!(file.shape("transposed"), Some(&[6, 4][..]));
    let transposed: Vec<f32> =
        (0..6).flat_map(|column| (0..4).map(move |row| (row * 6 + column) as f32 / 8.0)).collect();
    assert_eq!(values("transposed"), transposed);
    assert_eq!(file.shape("last"), Some(&[1, 2, 3, 4][..]));
    assert_eq!(values("last"), numbers(24));
    assert_eq!(values("parameter"), numbers(3));
    assert_eq!(values("empty"), [0.0; 0]);
    // Present, but not readable as 32-bit floats.
    assert_eq!((file.values("double"), file.values("counter")), (None, None));
}

#[test]
fn what_would_run_a_program_or_fill_the_memory_is_refused() {
    let text = WeightFile::open(path("module.pth")).unwrap_err().to_string();
    assert!(text.contains("torch.nn.modules.activation.ReLU"), "{text}");
    let text = WeightFile::open(path("repeated.pth")).unwrap_err().to_string();
    assert!(text.contains("'repeated' reaches beyond its numbers"), "{text}");

    // The classic attack: a pickle that calls os.system, in torch's own archive.
    let new = fs::read(path("new.pth")).unwrap();
    let at = new.windows(11).position(|w| w == b"ccollection").unwrap();
    let mut evil = new.clone();
    let attack = b"cposix\nsystem\nX\x08\x00\x00\x00touch me\x85R.";
    evil[at..at + attack.len()].copy_from_slice(attack);
    let text = refusal(evil);
    assert!(text.contains("posix.system") && text.contains("w.pth"), "{text}");
}

#[test]
fn truncated_and_flipped_files_are_errors_and_never_crash() {
    for name in ["new.pth", "old.pth", "odd.pth"] {
        let whole = fs::read(path(name)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            assert!(
                WeightFile::from_bytes("w.pth", whole[..length].to_vec()).is_err(),
                "{name} {length}"
            );
        }
        for at in 0..whole.len() {
            for bit in [0x01, 0x80] {
                let mut flipped = whole.clone();
                flipped[at] ^= bit;
                let Ok(file) = WeightFile::from_bytes("w.pth", flipped) else { continue };
                for tensor in file.names() {
                    let count: usize = file.shape(tensor).unwrap().iter().product();
                    assert_eq!(file.values(tensor).unwrap().len(), count, "{name} {at}");
                }
            }
        }
    }
}

#[test]
fn a_checkpoint_without_tensors_says_so() {
    let error = WeightFile::from_bytes("w.pth", b"PK\x03\x04 no archive at all".to_vec());
    assert!(matches!(error, Err(Error::Checkpoint { .. })));
}
