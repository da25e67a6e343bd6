//! What a training finds out about its data before it uses them.

use std::path::Path;

use taper_health::Watch;
use taper_optim::ClassWeights;
use taper_train::Sampling;

use crate::{FitChoice, Recipe, Result, Session, prepare::Prepared};

/// Advice as far as the recipe does not follow it already.
fn to_follow(advice: &str, recipe: &Recipe, grouped: bool) -> Option<String> {
    let Recipe { loss, sampling, views, fresh_views, fit, group_by, .. } = recipe;
    let balanced = loss.class_weights != ClassWeights::None || *sampling != Sampling::Shuffled;
    // Unreadable pictures have been named already.
    let named = ["unreadable:", "misnamed:"].iter().any(|kind| advice.starts_with(kind));
    // What the names of the classes say is all there is: options of a training are refused.
    let untrained = recipe.epochs == 0 && !recipe.solves_head() && !recipe.trains_network();
    if named
        || ((balanced || untrained) && advice.contains("`class_weights`"))
        || (*fit == FitChoice::Squash && advice.contains("`fit` squash"))
    {
        return None;
    }
    // The finding remains, without what is done about it.
    let followed = [
        (*views > 1 || *fresh_views || untrained, "`views`", ", or "),
        (untrained, "`augment`", ", and "),
        (group_by.is_some() || grouped, "`group_by`", "; "),
    ];
    let mut left = advice;
    for (does, setting, before) in followed {
        if let Some(at) = left.find(setting).filter(|_| does) {
            left = left[..at].rfind(before).map_or(left, |at| &left[..at]);
        }
    }
    Some(left.to_owned())
}

/// The quick checks of every training run: counts, imbalance, exact duplicates. Warns, and writes
/// `health.json`. Returns what makes the run's figures misleading.
pub(crate) fn quick_check(
    prepared: &Prepared,
    file: &Path,
    session: &Session,
) -> Result<Vec<String>> {
    let health = taper_health::quick(&prepared.dataset, &Watch::default())?;
    let recipe = prepared.checked.recipe();
    let grouped = prepared.dataset.group_column().is_some();
    let to_follow = |advice: &String| to_follow(advice, recipe, grouped);
    for advice in health.advice.iter().filter_map(to_follow) {
        session.progress().warn(&advice);
    }
    health.write(file)?;
    Ok(health.misleading().iter().filter_map(to_follow).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadChoice;

    #[test]
    fn what_a_run_without_training_would_refuse_is_not_advised() {
        let names = Recipe { head: HeadChoice::ZeroShot, epochs: 0, ..Recipe::default() };
        let trained = Recipe { epochs: 3, ..names.clone() };
        for (advice, left) in [
            ("imbalance: a has 9 pictures, b has 2: `class_weights` balanced", None),
            ("few pictures: 3 of a: add some, or `views` 4 `augment` standard", Some(": add some")),
            (
                "low variety: draw by clip (`group_by` REGEX), and prefer `augment` standard to more",
                Some("(`group_by` REGEX)"),
            ),
            ("contradicting labels: 1 picture: `fix` DIR leaves both out", Some("leaves both out")),
        ] {
            assert_eq!(to_follow(advice, &trained, false).as_deref(), Some(advice));
            let told = to_follow(advice, &names, false);
            match left {
                Some(end) => assert!(told.unwrap().ends_with(end), "{advice}"),
                None => assert_eq!(told, None),
            }
        }
    }
}
