//! Any bytes as a manifest, CSV and JSON Lines: a data set whose samples make sense, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::ValChoice;
use taper_sources::{FolderUse, open_manifest};

fuzz_target!(|bytes: &[u8]| {
    for extension in ["csv", "jsonl"] {
        let path = std::env::temp_dir()
            .join(format!("taper-fuzz-manifest-{}.{extension}", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        for purpose in [FolderUse::Train, FolderUse::Evaluate] {
            let Ok(dataset) = open_manifest(&path, purpose) else { continue };
            let samples = dataset.samples();
            assert!(samples.windows(2).all(|pair| pair[0].id < pair[1].id));
            assert!(samples.iter().all(|s| (s.label as usize) < dataset.classes().len()));
            if let Ok(splits) = dataset.splits(ValChoice::Auto, 1) {
                let parts = [&splits.train, &splits.val, &splits.test, &splits.unused];
                assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= samples.len());
            }
            let _ = dataset.fold(2, 1, 1);
        }
    }
});
