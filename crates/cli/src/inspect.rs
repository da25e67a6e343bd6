use std::fs;

use anyhow::Context as _;
use taper_data::FolderUse;
use taper_health::{NearCopies, draw_sheets, fix};
use taper_run::{EmbedWith, Session, open_data_with};

use crate::{
    args::InspectArgs,
    errors::in_flags,
    output::{Status, answer_json, answer_line},
    runs::next_run,
};

pub(crate) fn inspect(args: &InspectArgs, session: &Session) -> anyhow::Result<Status> {
    let dataset = open_data_with(&args.data, FolderUse::Evaluate, session)?;
    let with = EmbedWith {
        model: args.model.clone(),
        device: args.compute.device,
        kernels: args.compute.kernels,
        ..EmbedWith::default()
    }
    .weights(args.weights.clone());
    let embed = (!args.no_embeddings).then_some(&with);
    let health = taper_run::inspect(&dataset, embed, session)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => next_run(&args.data, "health", "")?,
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot make '{}'", out.display()))?;
    let file = out.join("health.json");
    health.write(&file).map_err(taper_run::Error::from)?;
    let sheets = draw_sheets(&health, &dataset, &out).map_err(taper_run::Error::from)?;
    let fixed = match &args.fix {
        Some(folder) => {
            let near = if args.fix_near { NearCopies::LeaveOut } else { NearCopies::Keep };
            Some(fix(&health, &dataset, folder, near).map_err(taper_run::Error::from)?)
        }
        None => None,
    };
    if args.reply.json {
        let mut value = serde_json::to_value(&health)?;
        value["out"] = out.display().to_string().into();
        value["sheets"] = sheets.iter().map(|s| s.display().to_string()).collect();
        if let Some(fixed) = &fixed {
            value["manifest"] = fixed.manifest.display().to_string().into();
            value["kept"] = fixed.kept.into();
        }
        answer_json(&value)?;
    } else {
        answer_line(in_flags(&health.to_string()).trim_end())?;
        answer_line("")?;
        answer_line(&format!("answer        {}", file.display()))?;
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
    let unusable = !health.unreadable.is_empty();
    Ok(if unusable { Status::SomeInputUnusable } else { Status::Done })
}
