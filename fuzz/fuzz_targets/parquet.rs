//! Any bytes as a Parquet file: pictures that can be read or are reported, or an error. The
//! underlying reader is known to panic on damage; what matters is that no panic gets through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_sources::{FolderUse, open_parquet};

fuzz_target!(
    init: {
        // Caught panics are not crashes; a panic that gets through still is one.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| {
        let path =
            std::env::temp_dir().join(format!("taper-fuzz-{}.parquet", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        if let Ok(dataset) = open_parquet(&path, FolderUse::Evaluate) {
            for index in 0..dataset.len().min(100) {
                if let Err(finding) = dataset.fetch(index) {
                    assert!(!finding.reason.is_empty());
                }
            }
        }
    }
);
