//! Features of the library beyond those of the program: your own callbacks, one read per picture.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use taper_callbacks::{Action, Event, Every, StopReason, from_fn};
use taper_core::{ClassNames, FrozenBackbone, Precision, Preprocessing, Split};
use taper_data::{Content, Dataset, Item, PictureSource, Sample, fixture};
use taper_feature_cache::FeatureCache;
use taper_graph::{WeightSource, Weights};
use taper_model::PlanBackbone;
use taper_picture::Defect;
use taper_plan::{Kernels, Output};
use taper_run::{
    CheckpointSettings, NamedViews, Outcome, OwnCallbacks, Recipe, Resumed, Session, Views,
    extract, resume, resume_with, train_with,
};

fn photos(folder: &Path) -> String {
    let photos = folder.join("photos");
    fixture::write_folder(&photos, &[("train", 6), ("test", 2)], &["cat", "dog"]).unwrap();
    photos.display().to_string()
}

fn stop_after(epoch: u64) -> OwnCallbacks {
    let stop = move |event: &Event<'_>, actions: &mut Vec<Action>| {
        if matches!(event, Event::EpochEnd { epoch: e, .. } if *e == epoch) {
            let reason = StopReason::Other { reason: "the caller has seen enough".into() };
            actions.push(Action::Stop { reason });
        }
        Ok(())
    };
    vec![Box::new(from_fn("enough", stop))]
}

#[test]
fn callbacks_of_the_callers_own_steer_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let recipe =
        Recipe { data: photos(folder.path()), size: Some(64), epochs: 6, ..Recipe::default() };
    let run = folder.path().join("run");
    let checked = recipe.check().unwrap();
    let answer = train_with(checked, &run, stop_after(1), &Session::quiet()).unwrap();
    assert_eq!((answer.epochs, answer.stopped), (2, Outcome::Early));
    // A complete run stays complete, with or without callbacks.
    assert!(matches!(resume(&run, &Session::quiet()).unwrap(), Resumed::Complete(_)));
}

#[test]
fn a_run_resumes_with_the_callbacks_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = CheckpointSettings { every: Every::Epochs(1), keep: 1 };
    let data = photos(folder.path());
    let recipe = Recipe { data, size: Some(64), epochs: 6, checkpoints, ..Recipe::default() };
    let run = folder.path().join("run");
    let fail = |event: &Event<'_>, _: &mut Vec<Action>| match event {
        Event::EpochEnd { epoch: 2, .. } => Err("the power is gone".into()),
        _ => Ok(()),
    };
    let own: OwnCallbacks = vec![Box::new(from_fn("enough", fail))];
    let error = train_with(recipe.check().unwrap(), &run, own, &Session::quiet()).unwrap_err();
    assert!(format!("{error:?}").contains("the power is gone"), "{error:?}");
    let error = resume(&run, &Session::quiet()).unwrap_err().to_string();
    assert!(error.contains("enough"), "{error}");
    match resume_with(&run, stop_after(3), &Session::quiet()).unwrap() {
        Resumed::Trained(answer) => {
            assert_eq!((answer.epochs, answer.stopped), (4, Outcome::Early))
        }
        other => panic!("{other:?}"),
    }
}

/// Counts how often each picture is read.
#[derive(Debug)]
struct Counting {
    files: Vec<PathBuf>,
    reads: Vec<AtomicUsize>,
}

impl PictureSource for Counting {
    fn fetch(&self, sample: &Sample, _: u64) -> Result<Content, Defect> {
        self.reads[sample.slot].fetch_add(1, Ordering::Relaxed);
        Ok(Content::Encoded(std::fs::read(&self.files[sample.slot]).unwrap()))
    }

    fn place(&self) -> String {
        "counting".into()
    }
}

fn counting(folder: &Path) -> (Arc<Counting>, Arc<Dataset>) {
    photos(folder);
    let mut files = Vec::new();
    let mut samples = Vec::new();
    for (label, class) in ["cat", "dog"].into_iter().enumerate() {
        for n in 0..6 {
            let file = folder.join(format!("photos/train/{class}/{n:02}.jpg"));
            assert!(file.exists(), "{}", file.display());
            samples.push(Sample::new(
                format!("{class}/{n}"),
                Some(Split::Train),
                label as u32,
                files.len(),
            ));
            files.push(file);
        }
    }
    let reads = files.iter().map(|_| AtomicUsize::new(0)).collect();
    let source = Arc::new(Counting { files, reads });
    let classes = ClassNames::new(vec!["cat".into(), "dog".into()]).unwrap();
    let dataset = Dataset::new(classes, samples, Arc::clone(&source) as Arc<dyn PictureSource>);
    (source, Arc::new(dataset.unwrap()))
}

fn backbone() -> PlanBackbone {
    let model = taper_zoo::find("efficientnet-lite0").unwrap();
    let (graph, output) = (model.backbone(), Output::Features);
    let preprocessing = Preprocessing { size: 64, ..model.preprocessing };
    let (weights, kernels) = (Weights::seeded(&graph), Kernels::Auto);
    PlanBackbone::new(&graph, &weights, preprocessing, output, Precision::F32, kernels)
        .unwrap()
        .identified(&graph, &weights, output)
}

#[test]
fn a_picture_is_read_once_for_its_digest_and_its_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let (source, dataset) = counting(folder.path());
    let cache = FeatureCache::new(folder.path().join("features"), 1 << 30);
    let session = Session::quiet().with_cache(cache);
    let backbone = backbone();
    let most_reads =
        || source.reads.iter().map(|reads| reads.swap(0, Ordering::Relaxed)).max().unwrap();
    let views = |epoch: u32| {
        let augment = Arc::new(Views(taper_augment::Augmenter::of("light".parse().unwrap(), 0)));
        let views = NamedViews { augment, identity: "light".into(), mixing: None };
        let items = Item::views(&dataset.indices(None), 2 * epoch..2 * epoch + 2);
        extract(&backbone, &dataset, items, Some(views), true, &session).unwrap()
    };
    // Two views of each picture, computed: one read for both, and for the digest.
    let first = views(0);
    assert_eq!((most_reads(), first.cached, first.table.len()), (1, 0, 24));
    // The same again: the digests are known, so that nothing is read at all.
    let again = views(0);
    assert_eq!((most_reads(), again.cached), (0, 24));
    assert_eq!(again.table, first.table);
    // Another epoch's views: one read of each.
    let fresh = views(1);
    assert_eq!((most_reads(), fresh.cached), (1, 0));
    assert_ne!(fresh.table, first.table);
    // Another process: one read of each for its digest, and no decoding.
    let (source, dataset) = counting(folder.path());
    let items = Item::untouched(&dataset.indices(None));
    let other = extract(&backbone, &dataset, items, None, true, &session).unwrap();
    assert_eq!(other.cached, 12);
    assert!(source.reads.iter().all(|reads| reads.load(Ordering::Relaxed) == 1));
}

#[test]
fn other_weights_never_read_the_features_of_these() {
    let model = taper_zoo::find("efficientnet-lite0").unwrap();
    let graph = model.backbone();
    let identity = |weights: &Weights| {
        let (output, kernels) = (Output::Features, Kernels::Auto);
        let preprocessing = Preprocessing { size: 64, ..model.preprocessing };
        PlanBackbone::new(&graph, weights, preprocessing, output, Precision::F32, kernels)
            .unwrap()
            .identified(&graph, weights, output)
            .identity()
            .unwrap()
    };
    let weights = Weights::seeded(&graph);
    let mut tuned = weights.clone();
    let parameter = graph.parameters().into_iter().next_back().unwrap();
    let mut values = taper_graph::WeightSource::values(&weights, &parameter.name).unwrap().to_vec();
    values[0] += 1e-3;
    tuned.insert(parameter.name, parameter.shape, values);
    assert_eq!(identity(&weights), identity(&weights.clone()));
    assert_ne!(identity(&weights), identity(&tuned));
}

#[test]
fn features_that_are_no_numbers_name_the_picture_and_are_not_cached() {
    let folder = tempfile::tempdir().unwrap();
    let (_, dataset) = counting(folder.path());
    let model = taper_zoo::find("efficientnet-lite0").unwrap();
    let graph = model.backbone();
    let mut weights = Weights::seeded(&graph);
    let name = graph.parameters()[0].name.clone();
    let mut values = weights.values(&name).unwrap().into_owned();
    values[0] = f32::NAN;
    weights.insert(name.clone(), weights.shape(&name).unwrap().to_vec(), values);
    let preprocessing = Preprocessing { size: 64, ..model.preprocessing };
    let (output, kernels) = (Output::Features, Kernels::Auto);
    let damaged =
        PlanBackbone::new(&graph, &weights, preprocessing, output, Precision::F32, kernels);
    let damaged = damaged.unwrap().identified(&graph, &weights, output);
    let cache = FeatureCache::new(folder.path().join("features"), 1 << 30);
    let session = Session::quiet().with_cache(cache);
    for _ in 0..2 {
        let items = Item::untouched(&dataset.indices(None));
        let error = extract(&damaged, &dataset, items, None, true, &session).unwrap_err();
        assert!(matches!(error, taper_run::Error::NotFinite { .. }), "{error}");
        let first = &dataset.samples()[dataset.indices(None)[0]].id;
        assert!(error.to_string().contains(first.as_str()), "{error}");
    }
}
