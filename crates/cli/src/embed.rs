use taper_args::{EmbedArgs, Given, ThroughArg, flags};
use taper_pretrained::{Through, embed as write_features};
use taper_run::{PrecisionChoice, Recipe, Session, check_present};
use taper_sources::SourceOptions;

use crate::output::{Status, answer_json, answer_line, status};

pub(crate) fn embed(args: &EmbedArgs, given: &Given, session: &Session) -> anyhow::Result<Status> {
    let candle = matches!(args.through, ThroughArg::Candle);
    flags::of_embedding(given, candle, args.precision == PrecisionChoice::Auto)?;
    check_present(&args.data)?;
    let recipe = Recipe {
        data: args.data.clone(),
        source: args.source.resolve(SourceOptions::default(), None),
        model: args.model.clone(),
        weights: args.weights.clone(),
        cut: args.cut.clone(),
        size: args.size,
        fit: args.fit.unwrap_or_default(),
        precision: args.precision,
        kernels: args.compute.kernels,
        device: args.compute.device,
        strict: args.strict,
        ..Recipe::default()
    };
    let through = match args.through {
        ThroughArg::Plan => Through::Plan,
        ThroughArg::Candle => Through::Candle,
    };
    let recipe = recipe.check()?;
    let answer = write_features(&recipe, through, &args.out, args.overwrite, session)?;
    for finding in answer.unreadable.iter().chain(&answer.remarks) {
        session.progress().warn(&format!("{}: {}", finding.path, finding.reason));
    }
    if args.reply.json {
        answer_json(&answer)?;
    } else {
        answer_line(&format!("{} pictures, {} features each", answer.n, answer.width))?;
        answer_line(&format!("file {}", answer.out))?;
    }
    Ok(status(&answer.unreadable))
}
