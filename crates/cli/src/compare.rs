//! `taper compare`.

use taper_args::{CompareArgs, Given};
use taper_compare::{Comparison, Paired, PairedMeans, Settings};
use taper_core::OutOfRange;
use taper_model::OpenOptions;
use taper_run::{Error, Session, check_present};
use taper_run_report::{check_report, comparison_report, write_report};

use crate::output::{Status, answer_json, answer_line, in_line, status};

/// How many pictures with two answers are listed.
const LISTED: usize = 10;

pub(crate) fn compare(
    args: &CompareArgs,
    given: &Given,
    session: &Session,
) -> anyhow::Result<Status> {
    let mut settings = Settings::default();
    match &args.data {
        Some(data) => {
            check_present(data)?;
            settings.data = Some((data.clone(), args.source.reading(None)));
        }
        None if !args.source.is_empty() => {
            let field = ["layout", "label_from", "image_column", "label_column", "split_column"];
            let field = field.into_iter().find(|field| given.has(field)).unwrap_or("max_pixels");
            let remedy = "it says how `data` are read: give these too, or leave it out; those of the runs are read as they were";
            return Err(Error::from(OutOfRange::new(field, "set", remedy)).into());
        }
        None => {}
    }
    settings.split = args.split;
    settings.device = args.compute.device;
    settings.options = OpenOptions { precision: None, kernels: args.compute.kernels };
    args.report.as_deref().map_or(Ok(()), check_report)?;
    let Some((first, others)) = args.runs.split_first() else { return Ok(Status::Done) };
    let mut all = Vec::new();
    for other in others {
        let compared = taper_compare::compare(first, other, &settings, session)?;
        if let Comparison::Pictures { remarks, .. } = &compared {
            remarks.iter().for_each(|remark| session.progress().warn(remark));
        }
        all.push(compared);
    }
    if let Some(report) = &args.report {
        write_report(report, &comparison_report(&args.runs, &all))?;
    }
    match &all[..] {
        [one] if args.reply.json => answer_json(one)?,
        several if args.reply.json => answer_json(&several)?,
        _ => all.iter().try_for_each(describe)?,
    }
    if let Some(report) = args.report.as_ref().filter(|_| !args.reply.json) {
        answer_line(&format!("report        {}", report.display()))?;
    }
    let findings = all.iter().filter_map(|compared| match compared {
        Comparison::Pictures { unreadable, .. } => Some(unreadable),
        Comparison::Trainings { .. } => None,
    });
    Ok(status(findings.flatten().cloned().collect::<Vec<_>>().as_slice()))
}

fn describe(compared: &Comparison) -> anyhow::Result<()> {
    match compared {
        Comparison::Pictures { data, split, first, second, paired, differ, .. } => {
            answer_line(&format!("pictures      {} of {} ({split})", paired.n, in_line(data)))?;
            for (name, side) in [("first", first), ("second", second)] {
                answer_line(&format!(
                    "{name:13} accuracy {:.4}, loss {:.4}  {}",
                    side.evaluation.accuracy,
                    side.evaluation.loss,
                    in_line(&side.model)
                ))?;
            }
            answer_line(&format!(
                "right         both {}, the first alone {}, the second alone {}, neither {}",
                paired.both, paired.first_alone, paired.second_alone, paired.neither
            ))?;
            answer_line(&format!("difference    {}", of_pictures(paired)))?;
            for own in differ.iter().take(LISTED) {
                answer_line(&format!(
                    "  {}: {}; the first says {}, the second {}",
                    in_line(&own.path),
                    in_line(&own.label),
                    in_line(&own.first),
                    in_line(&own.second)
                ))?;
            }
            match differ.len().saturating_sub(LISTED) {
                0 => Ok(()),
                more => {
                    answer_line(&format!("  and {more} more with two answers (--json has all)"))
                }
            }
        }
        Comparison::Trainings { first, second, by, on, accuracy, loss } => {
            answer_line(&format!("first         {}", in_line(first)))?;
            answer_line(&format!("second        {}", in_line(second)))?;
            answer_line(&format!("trainings     {} pairs of {by}, on {on} pictures", accuracy.n))?;
            answer_line(&format!("accuracy      {}", of_means(accuracy)))?;
            answer_line(&format!("loss          {}", of_means(loss)))
        }
    }
}

fn of_pictures(paired: &Paired) -> String {
    format!(
        "{:+.4} ({:+.4} to {:+.4}), p = {}: {}",
        paired.difference,
        paired.low,
        paired.high,
        p_value(paired.p_value),
        verdict(paired.p_value, paired.difference, "right more often")
    )
}

fn p_value(p: f64) -> String {
    if p < 1e-3 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

fn of_means(means: &PairedMeans) -> String {
    format!(
        "{:+.4} ± {:.4} ({:+.4} to {:+.4}), p = {}: {}",
        means.difference,
        means.std,
        means.low,
        means.high,
        p_value(means.p_value),
        verdict(means.p_value, means.difference, "higher")
    )
}

fn verdict(p_value: f64, difference: f64, what: &str) -> String {
    match p_value < 0.05 {
        true if difference > 0.0 => format!("the first is {what}"),
        true => format!("the second is {what}"),
        false => "it may be chance".to_owned(),
    }
}
