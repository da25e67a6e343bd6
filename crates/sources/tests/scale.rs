//! Many files, many threads, and resuming in the middle of an epoch.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{fs, sync::Arc, time::Instant};

use taper_core::{
    Fit, Interpolation, Preprocessing,
    random::{Key, Purpose},
};
use taper_data::{Batch, CacheOptions, Dataset, Item, Loader, LoaderOptions, fixture};
use taper_sources::{FolderUse, open_folder, open_manifest};

const SPEC: Preprocessing = Preprocessing {
    size: 32,
    interpolation: Interpolation::Bilinear,
    fit: Fit::Squash,
    mean: Preprocessing::IMAGENET_MEAN,
    std: Preprocessing::IMAGENET_STD,
};

fn batches(dataset: &Arc<Dataset>, items: &[Item], threads: usize) -> Vec<Batch> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let flip = |picture: &image::RgbImage, view: u32, key: u64| {
        let mut changed = image::imageops::flip_horizontal(picture);
        changed.put_pixel(0, 0, image::Rgb([view as u8, key as u8, (key >> 8) as u8]));
        changed
    };
    let options = LoaderOptions { batch_size: 5, ..LoaderOptions::default() };
    pool.install(|| {
        let shared = Arc::clone(dataset);
        Loader::new(shared, SPEC, items.to_vec(), Some(Arc::new(flip)), options)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    })
}

fn shuffled(mut indices: Vec<usize>, epoch: u32) -> Vec<usize> {
    Key::new(4, Purpose::new("test/order")).stream(epoch, 0).shuffle(&mut indices);
    indices
}

#[test]
fn batches_do_not_depend_on_threads_nor_on_where_an_epoch_was_interrupted() {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 11)], &["a", "b", "c"]).unwrap();
    let dataset = Arc::new(open_folder(root.path(), FolderUse::Train).unwrap());
    for epoch in 0..2 {
        let order = shuffled(dataset.indices(None), epoch);
        let items: Vec<Item> =
            order.into_iter().map(|sample| Item { sample, view: epoch + 1 }).collect();
        let whole = batches(&dataset, &items, 1);
        assert_eq!(whole.len(), 7);
        for threads in [2, 8] {
            assert!(batches(&dataset, &items, threads) == whole, "{threads} threads");
        }
        // Interrupted after three batches: the order is drawn again from (seed, epoch), and
        // continues where it was.
        let order = shuffled(dataset.indices(None), epoch);
        let rest: Vec<Item> =
            order[15..].iter().map(|sample| Item { sample: *sample, view: epoch + 1 }).collect();
        assert!(batches(&dataset, &rest, 2) == whole[3..]);
    }
}

#[test]
fn a_cache_and_repetition_change_no_byte_and_read_every_picture_once() {
    let root = tempfile::tempdir().unwrap();
    fixture::write_folder(root.path(), &[("", 11)], &["a", "b", "c"]).unwrap();
    let plain = Arc::new(open_folder(root.path(), FolderUse::Train).unwrap());
    let items = Item::repeat(&plain.indices(None), 3);
    assert_eq!(items.len(), 99);
    assert_eq!((items[0].view, items[33].view, items[98].view), (0, 1, 2));
    let expected = batches(&plain, &items, 2);
    // Room in memory for six of the pictures (48 × 40 × 3 bytes), and on disk for ten or for all
    // others.
    for (disk, threads) in [(10 * 5760, 1), (1 << 20, 8), (0, 2)] {
        let options = CacheOptions { memory: 6 * 5760, disk };
        let cached = Arc::new(plain.as_ref().clone().cache(options).unwrap());
        assert!(batches(&cached, &items, threads) == expected, "{disk}, {threads} threads");
    }
    let options = CacheOptions { memory: 6 * 5760, disk: 1 << 20 };
    let cached = Arc::new(plain.as_ref().clone().cache(options).unwrap());
    batches(&cached, &Item::untouched(&plain.indices(None)), 2);
    // All are kept: the files are no longer read.
    fs::remove_dir_all(root.path().join("b")).unwrap();
    assert!(batches(&cached, &items, 2) == expected);
    assert_ne!(batches(&plain, &items, 2), expected);
}

/// The most memory that this process ever held, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_pictures_are_listed_quickly_and_in_little_memory() {
    let root = tempfile::tempdir().unwrap();
    let jpeg = fixture::jpeg(&fixture::picture(0, 0, 32, 32)).unwrap();
    let mut manifest = String::from("path,label\n");
    for class in 0..100 {
        let folder = root.path().join(format!("data/class-{class:02}"));
        fs::create_dir_all(&folder).unwrap();
        // Links are quicker than files, but a file may only have so many of them.
        let original = root.path().join(format!("original-{class}"));
        fs::write(&original, &jpeg).unwrap();
        for n in 0..1000 {
            let name = format!("picture-{n:04}.jpg");
            fs::hard_link(&original, folder.join(&name)).unwrap();
            manifest += &format!("data/class-{class:02}/{name},class-{class:02}\n");
        }
    }
    let list = root.path().join("list.csv");
    fs::write(&list, &manifest).unwrap();
    drop(manifest);

    let start = Instant::now();
    let dataset = open_folder(root.path().join("data"), FolderUse::Train).unwrap();
    let folder_seconds = start.elapsed().as_secs_f64();
    assert_eq!(dataset.len(), 100_000);
    drop(dataset);

    let start = Instant::now();
    let dataset = Arc::new(open_manifest(&list, FolderUse::Train).unwrap());
    let manifest_seconds = start.elapsed().as_secs_f64();
    let options = LoaderOptions { batch_size: 64, ..LoaderOptions::default() };
    let items = Item::untouched(&dataset.indices(None));
    let loader = Loader::new(Arc::clone(&dataset), SPEC, items, None, options).unwrap();
    let loaded: usize = loader.take(200).map(|batch| batch.unwrap().len()).sum();
    assert_eq!(loaded, 12_800);
    let peak = peak_memory() >> 20;
    println!("folder {folder_seconds:.2} s, manifest {manifest_seconds:.2} s, peak {peak} MiB");
    assert!(peak < 500, "{peak} MiB");
    // The goal is 2 s on an idle machine with optimised code; this one may be neither.
    assert!(folder_seconds < 20.0 && manifest_seconds < 20.0);
}
