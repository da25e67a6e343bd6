//! Data sets that are not files.

use taper_core::Split;
use taper_run::{KNOWN_DATASETS, open_data};
use taper_sources::{FolderUse, KnownSet};

#[test]
fn the_list_of_known_sets_is_right() {
    let set = KnownSet::rock_paper_scissors();
    let listed = KNOWN_DATASETS.iter().find(|known| known.name == set.name).unwrap();
    assert_eq!(listed.bytes, set.bytes());
    let digests: Vec<&str> = set.archives.iter().map(|a| a.sha256.as_str()).collect();
    assert_eq!(listed.digests, digests);
}

#[test]
fn the_synthetic_set_has_all_splits_and_readable_pictures() {
    let dataset = open_data("synthetic", FolderUse::Train).unwrap();
    for split in Split::ALL {
        let indices = dataset.indices(Some(split));
        assert!(!indices.is_empty());
        let counts = dataset.counts(&indices);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        let picture = dataset.read(indices[0]).unwrap();
        assert!(picture.pixels.width() >= 128);
    }
}
