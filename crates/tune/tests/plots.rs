//! Pictures of a study that Optuna wrote, and of one without trials.

#![cfg(feature = "plot")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;

use taper_tune::{Direction, ImportanceConfig, Study, plot_importance};

#[test]
fn studies_are_drawn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/optuna.journal");
    let study = Study::load(&path, "everything").unwrap();
    let history = study.history();
    // 48 complete trials, of which one has an infinite value.
    assert_eq!(history.progress().len(), 47);
    let progress = history.plot_progress("A study");
    assert_eq!(progress.svg().matches("<circle").count(), 47 + 1, "one more in the legend");
    let parallel = history.plot_parallel("A study");
    for name in history.parameters() {
        assert!(parallel.svg().contains(&format!(">{name}<")), "{name}");
        let slice = history.plot_slice("A study", name).unwrap();
        assert!(slice.svg().contains("best: trial 52") || name == "extra", "{name}");
    }
    let head = history.plot_slice("A study", "head").unwrap();
    assert!(head.svg().contains(">none<") && head.svg().contains(">false<"));
    assert!(history.plot_slice("A study", "unknown").is_none());
    let importance = ImportanceConfig::default().check().unwrap().of(history);
    assert!(plot_importance("A study", &importance).svg().contains(">momentum<"));

    let folder = tempfile::tempdir().unwrap();
    let empty = Study::open(&folder.path().join("a.journal"), "a", Direction::Max).unwrap();
    assert!(empty.history().plot_progress("Nothing").svg().contains("no complete trials"));
    assert!(!empty.history().plot_parallel("Nothing").svg().contains("NaN"));
}
