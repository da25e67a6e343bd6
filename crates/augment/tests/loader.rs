//! Views through the loader: the same bytes with any number of threads, and from the middle of an
//! epoch on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use image::RgbImage;
use taper_augment::{Augmenter, Factors, Policy};
use taper_core::{Fit, Interpolation, Preprocessing};
use taper_data::{Augment, Batch, Item, Loader, LoaderOptions, fixture};
use taper_picture::Preparer;
use taper_sources::{FolderUse, open_folder};

struct Views(Augmenter);

impl Augment for Views {
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> taper_data::Result<()> {
        let spec = *preparer.spec();
        self.0.render(picture, view, key, &spec, preparer.warper(), out).unwrap();
        Ok(())
    }
}

#[test]
fn views_do_not_depend_on_threads_or_on_where_an_epoch_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    fixture::write_folder(folder.path(), &[("train", 12)], &["a", "b"]).unwrap();
    let dataset = Arc::new(open_folder(folder.path(), FolderUse::Evaluate).unwrap());
    // Smaller than the pictures, so that views are antialiased.
    let spec = Preprocessing {
        size: 20,
        interpolation: Interpolation::Bicubic,
        fit: Fit::Crop { fraction: 0.875 },
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    let factors = Factors {
        crop_area: [0.3, 1.0],
        rotation: 0.1,
        perspective: 0.3,
        saturation: 0.5,
        noise: 0.1,
        blur: 1.0,
        ..*Policy::Standard.factors().unwrap()
    };
    let augmenters = [
        Augmenter::new(factors.check().unwrap(), 4),
        Augmenter::of(Policy::RAND_AUGMENT, 4),
        Augmenter::of(Policy::TrivialAugment, 4),
    ];
    for augmenter in augmenters {
        let views: Arc<dyn Augment> = Arc::new(Views(augmenter));
        let items = Item::views(&dataset.indices(None), 0..3);
        let load = |threads: usize, items: &[Item]| -> Vec<u8> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = LoaderOptions { batch_size: 8, ..LoaderOptions::default() };
            let views = Some(Arc::clone(&views));
            let loader =
                Loader::new(Arc::clone(&dataset), spec, items.to_vec(), views, options).unwrap();
            let batches: Vec<Batch> = pool.install(|| loader.map(Result::unwrap).collect());
            batches.into_iter().flat_map(|batch| batch.pixels).collect()
        };
        let one = load(1, &items);
        assert_eq!(one.len(), 24 * 3 * 20 * 20 * 3);
        assert_eq!(load(2, &items), one);
        assert_eq!(load(8, &items), one);
        let taken_up = load(2, &items[29..]);
        assert_eq!(taken_up, one[29 * 20 * 20 * 3..]);
    }
}
