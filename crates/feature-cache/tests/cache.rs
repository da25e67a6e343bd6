//! The guarantees of the cache: damage, two processes, the size limit.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    fs,
    path::{Path, PathBuf},
};

use taper_feature_cache::{Error, FeatureCache, Key, digest};

fn key(n: u32) -> Key {
    digest([n.to_le_bytes().as_slice()])
}

fn row(n: u32) -> [f32; 4] {
    [n as f32, 0.5, f32::NAN, -1.0 / n as f32]
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|v| v.to_bits()).collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for set in fs::read_dir(root).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        all.extend(fs::read_dir(set.path()).unwrap().map(|f| f.unwrap().path()));
    }
    all.sort();
    all
}

fn fill(cache: &FeatureCache, numbers: std::ops::Range<u32>) {
    let keys: Vec<Key> = numbers.clone().map(key).collect();
    let values: Vec<f32> = numbers.flat_map(row).collect();
    cache.set(key(0), 4).unwrap().insert(&keys, &values).unwrap();
}

fn present(cache: &FeatureCache, numbers: std::ops::Range<u32>) -> Vec<u32> {
    let mut set = cache.set(key(0), 4).unwrap();
    let mut out = [0.0; 4];
    let found = numbers.filter(|n| {
        let found = set.get(&key(*n), &mut out);
        assert!(!found || bits(&out) == bits(&row(*n)), "row {n} is {out:?}");
        found
    });
    found.collect()
}

#[test]
fn rows_come_back_to_the_bit_and_other_sets_do_not_see_them() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path().join("a/b"), 1 << 20);
    assert!(present(&cache, 0..3).is_empty());
    fill(&cache, 1..5);
    fill(&cache, 4..8);
    assert_eq!(present(&cache, 0..10), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(cache.set(key(0), 4).unwrap().len(), 7);
    assert!(cache.set(key(1), 4).unwrap().is_empty());
    let mut set = cache.set(key(0), 4).unwrap();
    assert!(matches!(set.insert(&[key(9)], &[0.0; 3]), Err(Error::Length { .. })));
    assert!(!set.get(&key(1), &mut [0.0; 3]));
}

#[test]
fn any_damaged_byte_costs_rows_but_never_gives_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path(), 1 << 20);
    fill(&cache, 1..4);
    let path = files(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert!(present(&cache, 1..4).len() < 3, "byte {at}");
        // Once computed again, it is there again, whatever the damaged file contains.
        fill(&cache, 1..4);
        assert_eq!(present(&cache, 1..4).len(), 3);
        files(folder.path()).iter().for_each(|f| fs::remove_file(f).unwrap());
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(present(&cache, 1..4).is_empty());
        assert!(!path.exists(), "a torn file is removed");
    }
}

#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path(), 1 << 20);
    for n in 0..4 {
        fill(&cache, 10 * n..10 * n + 10);
    }
    let all = files(folder.path());
    let size = fs::metadata(&all[0]).unwrap().len();
    // The second file is the oldest now, although not by name.
    for (i, age) in [(0, 100), (1, 1000), (2, 10), (3, 1)] {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        fs::File::options().append(true).open(&all[i]).unwrap().set_modified(then).unwrap();
    }
    // Opening a set marks its files as used, so the limit is enforced by writing to another set.
    let small = FeatureCache::new(folder.path(), 4 * size);
    small.set(key(1), 4).unwrap().insert(&[key(77)], &row(77)).unwrap();
    assert!(!all[1].exists() && all[0].exists() && all[2].exists() && all[3].exists());
    let none = FeatureCache::new(folder.path(), 0);
    none.set(key(1), 4).unwrap().insert(&[key(78)], &row(78)).unwrap();
    assert!(files(folder.path()).is_empty());
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(folder.path(), 4096);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..50 {
                    let n = 100 * thread + round;
                    fill(cache, n..n + 5);
                    present(cache, 0..500);
                }
            });
        }
    });
    let total: u64 = files(folder.path()).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
    assert!(total <= 4096, "{total}");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let cache = FeatureCache::new(&file, 100);
    let error = cache.set(key(0), 4).map(|mut s| s.insert(&[key(1)], &row(1)));
    let error = match error {
        Err(error) | Ok(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(error.contains("file") && error.contains("feature cache"), "{error}");
}
