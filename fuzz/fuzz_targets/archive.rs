//! Any bytes as an archive: zip, tar or gzipped tar by the first byte. No name leads out of it, and
//! no picture is larger than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::Content;
use taper_picture::DecodeOptions;
use taper_sources::{FolderUse, open_archive};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let extension = ["zip", "tar", "tar.gz"][usize::from(*kind) % 3];
    let path =
        std::env::temp_dir().join(format!("taper-fuzz-archive-{}.{extension}", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let Ok(dataset) = open_archive(&path, FolderUse::Evaluate) else { return };
    let dataset =
        dataset.with_decode_options(DecodeOptions { max_bytes: LIMIT, ..Default::default() });
    for (index, sample) in dataset.samples().iter().enumerate().take(100) {
        assert!(!sample.id.split('/').any(|part| part == ".."), "{}", sample.id);
        match dataset.fetch(index) {
            Ok(Content::Encoded(bytes)) => assert!(bytes.len() as u64 <= LIMIT),
            Ok(_) => unreachable!("archives hold encoded pictures"),
            Err(finding) => assert!(!finding.reason.is_empty()),
        }
    }
});
