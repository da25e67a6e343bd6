//! Tunes a function, and draws the study: `cargo run -p taper-tune --example tune [FOLDER]`.
//!
//! Called again with the same folder, it goes on.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::{env, path::PathBuf};

use taper_tune::{
    AshaConfig, BoxError, Direction, ImportanceConfig, Outcome, Pruning, Space, Study,
    plot_importance,
};

/// The loss after some epochs, in place of a training.
fn loss(rate: f64, width: f64, dropout: f64, tutorial: bool, epoch: i64) -> f64 {
    let end = 0.1 * (rate.log10() + 3.0).powi(2) + 0.02 * (width.log2() - 7.0).powi(2);
    let end = end + 0.5 * (dropout - 0.2).powi(2) + if tutorial { 0.0 } else { 0.05 };
    end + (-0.3 * epoch as f64).exp()
}

fn main() -> Result<(), BoxError> {
    let folder = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let space = Space::from_toml(
        r#"
        [space]
        rate = { type = "float", low = 1e-5, high = 1e-1, log = true }
        width = { type = "int", low = 16, high = 1024, log = true }
        dropout = { type = "float", low = 0.0, high = 0.5, step = 0.1 }
        head = { type = "categorical", choices = ["linear", "tutorial", "mlp"] }
        "#,
    )?;
    let asha = AshaConfig { max_resource: 27, ..AshaConfig::default() }.check()?;
    let mut study = Study::open(&folder.join("example.journal"), "example", Direction::Min)?
        .with_pruning(Pruning::Asha(asha));
    study.recover()?;
    study.optimize(&space, 60, |trial| {
        let (rate, width) = (trial.float("rate")?, trial.float("width")?);
        let (dropout, tutorial) = (trial.float("dropout")?, trial.text("head")? == "tutorial");
        // A training would load the trial's checkpoint here, and save it before it returns.
        for epoch in trial.resumes_after()?.unwrap_or(0) + 1..=27 {
            trial.report(epoch, loss(rate, width, dropout, tutorial, epoch))?;
            if trial.should_prune()? {
                return Ok(Outcome::Pruned);
            }
        }
        Ok(loss(rate, width, dropout, tutorial, 27).into())
    })?;
    study.finish()?;

    let history = study.history();
    let importance = ImportanceConfig { target: 0.5, ..Default::default() }.check()?.of(history);
    history.plot_progress("An example").save(&folder, "history")?;
    history.plot_parallel("An example").save(&folder, "parallel")?;
    plot_importance("An example", &importance).save(&folder, "importance")?;
    for name in history.parameters() {
        if let Some(slice) = history.plot_slice("An example", name) {
            slice.save(&folder, &format!("slice-{name}"))?;
        }
    }
    let epochs: usize = study.trials().iter().map(|trial| trial.steps.len()).sum();
    println!("{} trials, {epochs} epochs, in {}", study.trials().len(), folder.display());
    if let Some(best) = study.best_trial() {
        println!("best: trial {}, {:?}", best.number, best.value());
        for (name, parameter) in &best.parameters {
            println!("  {name} = {}", parameter.value());
        }
    }
    Ok(())
}
