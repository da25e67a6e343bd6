use std::path::PathBuf;

use taper_args::{Given, InspectArgs, flags};
use taper_data::Dataset;
use taper_health::{Health, NearCopies, draw_sheets, fix};
use taper_pretrained::{EmbedWith, TextWith, check_fix};
use taper_run::{OutFolder, Session, check_present, open_data_with, remarks_of};
use taper_run_report::{check_report, inspection_report, write_report};

use crate::{
    errors::in_flags,
    output::{Status, answer_json, answer_line},
    runs::next_run,
};

pub(crate) fn inspect(
    args: &InspectArgs,
    given: &Given,
    session: &Session,
) -> anyhow::Result<Status> {
    flags::of_inspection(given)?;
    check_present(&args.data)?;
    let out = match &args.out {
        Some(out) => OutFolder::from(out),
        None => next_run(&args.data, "health", ""),
    };
    if let Some(folder) = &args.fix {
        check_fix(folder)?;
    }
    out.check().map_err(taper_run::Error::from)?;
    args.report.as_deref().map_or(Ok(()), check_report)?;
    let reading = args.source.reading(args.group_column.as_ref());
    let dataset = open_data_with(&args.data, reading, session)?;
    for remark in dataset.remarks() {
        session.progress().warn(&in_flags(remark));
    }
    if args.fix.is_some() && dataset.file(0).is_none() {
        let error = taper_health::Error::NoFiles { place: dataset.place() };
        return Err(taper_run::Error::from(error).into());
    }
    let health = inspected(args, &dataset, session)?;
    let (out, sheets) = out.make(|folder| -> Result<_, taper_run::Error> {
        health.write(&folder.join("health.json"))?;
        Ok(draw_sheets(&health, &dataset, folder)?)
    })?;
    let file = out.join("health.json");
    // Drawn before the folder had its name.
    let sheets: Vec<PathBuf> =
        sheets.iter().filter_map(|sheet| Some(out.join(sheet.file_name()?))).collect();
    if let Some(report) = &args.report {
        write_report(report, &inspection_report(&health, &dataset, &in_flags))?;
    }
    let fixed = match &args.fix {
        Some(folder) => {
            let near = if args.fix_near { NearCopies::LeaveOut } else { NearCopies::Keep };
            Some(fix(&health, &dataset, folder, near))
        }
        None => None,
    };
    // The report is shown whether or not there is something to keep.
    let (fixed, failed) = match fixed.transpose() {
        Ok(fixed) => (fixed, None),
        Err(error) => (None, Some(taper_run::Error::from(error))),
    };
    let lost = fixed.as_ref().map_or(&[][..], |fixed| fixed.lost.as_slice());
    for class in lost {
        session.progress().warn(&format!("the manifest has no picture of the class '{class}'"));
    }
    if args.reply.json {
        let mut value = serde_json::to_value(&health)?;
        value["remarks"] = serde_json::to_value(remarks_of(&dataset))?;
        value["out"] = out.display().to_string().into();
        value["report"] = args.report.as_ref().map(|path| path.display().to_string()).into();
        value["sheets"] = sheets.iter().map(|s| s.display().to_string()).collect();
        if let Some(fixed) = &fixed {
            value["manifest"] = fixed.manifest.display().to_string().into();
            value["kept"] = fixed.kept.into();
            value["classes_left_out"] = fixed.lost.clone().into();
        }
        answer_json(&value)?;
    } else {
        answer_line(in_flags(&health.to_string()).trim_end())?;
        answer_line("")?;
        answer_line(&format!("answer        {}", file.display()))?;
        if let Some(report) = &args.report {
            answer_line(&format!("report        {}", report.display()))?;
        }
        for sheet in &sheets {
            answer_line(&format!("sheet         {}", sheet.display()))?;
        }
        if let Some(fixed) = &fixed {
            let left_out: usize = fixed.left_out.values().sum();
            answer_line(&format!(
                "manifest      {} ({} pictures kept, {left_out} left out: {})",
                fixed.manifest.display(),
                fixed.kept,
                fixed.left_out_list.display()
            ))?;
        }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let unusable = !health.unreadable.is_empty();
    Ok(if unusable { Status::SomeInputUnusable } else { Status::Done })
}

/// The inspection, with the networks that were asked for.
fn inspected(
    args: &InspectArgs,
    dataset: &Dataset,
    session: &Session,
) -> Result<Health, taper_run::Error> {
    let network = |model: &str, weights: &Option<PathBuf>| {
        let own = EmbedWith {
            model: model.to_owned(),
            device: args.compute.device,
            kernels: args.compute.kernels,
            ..EmbedWith::default()
        };
        own.weights(weights.clone())
    };
    let embed = (!args.no_embeddings).then(|| network(&args.model, &args.weights));
    let text = args.text.as_ref().map(|model| TextWith {
        network: network(model, &args.text_weights),
        prompts: args.prompts.clone().unwrap_or_default(),
    });
    taper_pretrained::inspect(dataset, embed.as_ref(), text.as_ref(), session)
}
