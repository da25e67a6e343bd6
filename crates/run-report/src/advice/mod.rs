//! What to do next: sentences that are made only if the data say so.

use taper_metrics::Evaluation;
use taper_plot::isolated;
use taper_report::{
    EpochFigures,
    page::{Advice, Weight},
};
use taper_run::{Calibrated, Outcome};

use crate::{
    learning_curve::LearningCurve,
    words::{listed, percent, plural, points, quoted},
};

/// Fewer training pictures of a class than this are too few.
const FEW: usize = 20;
/// Fewer validation pictures than this cannot tell much.
const FEW_VALIDATION: u64 = 60;
/// From this share of a class on, taking it for another is worth a sentence.
const CONFUSED: f64 = 0.05;
/// An expected calibration error above this is worth a sentence.
const UNCALIBRATED: f64 = 0.05;
/// A mistake that is surer than this may be a wrong label.
pub(crate) const SURE: f64 = 0.95;

/// What advice is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts<'a> {
    /// What says on a command line which data, and how they are read: `--data photos` and so on.
    pub(crate) data: String,
    /// The run folder.
    pub(crate) run: String,
    /// What begins a command that trains again with other options: `taper train RUN/recipe.toml`.
    /// None where only a model is known.
    pub(crate) again: Option<String>,
    /// Training pictures of each class.
    pub(crate) trained: Vec<(String, usize)>,
    pub(crate) validation: Option<&'a Evaluation>,
    /// What the validation pictures are, e.g. `0.15 of train`.
    pub(crate) validated_on: String,
    /// On untouched pictures.
    pub(crate) test: Option<&'a Evaluation>,
    pub(crate) calibrated: Option<&'a Calibrated>,
    /// Pictures that are in two splits, and two of one.
    pub(crate) leaks: usize,
    pub(crate) leak: Option<(String, String)>,
    /// Pictures with two labels.
    pub(crate) conflicts: usize,
    /// What the run said about drift.
    pub(crate) drift: Option<String>,
    /// Pictures whose features contradict their labels.
    pub(crate) suspects: usize,
    /// Mistakes that the model was very sure of.
    pub(crate) sure_mistakes: usize,
    /// What the expected calibration error may be by chance on so many pictures.
    pub(crate) error_by_chance: f64,
    /// The epochs of the phase that decided.
    pub(crate) epochs: &'a [EpochFigures],
    pub(crate) stopped: Option<Outcome>,
    pub(crate) best_epoch: Option<u64>,
    /// By which share the loss fell in the search for the learning rate.
    pub(crate) finder_fall: Option<f64>,
    pub(crate) curve: Option<&'a LearningCurve>,
    /// Whether pictures are augmented.
    pub(crate) augmented: bool,
    /// Whether a search led to the model.
    pub(crate) searched: bool,
    /// Whether layers of the network are trained.
    pub(crate) fine_tuned: bool,
    /// A larger picture that the network can be given, in pixels a side.
    pub(crate) larger: Option<u32>,
}

impl Facts<'_> {
    /// A training with the same recipe but for these options.
    fn again(&self, options: &str) -> Option<String> {
        self.again.as_ref().map(|again| format!("{again} {options}"))
    }

    /// Whether the data say which pictures are validated on.
    fn has_own_validation(&self) -> bool {
        self.validated_on.starts_with("the split")
    }
}

/// All that there is to say, most important first.
pub(crate) fn advice(facts: &Facts<'_>) -> Vec<Advice> {
    let rules: [fn(&Facts<'_>) -> Option<Advice>; 15] = [
        leak,
        conflicts,
        labels,
        sure_mistakes,
        cannot_tell,
        drift,
        few,
        confused,
        overfits,
        still_falls,
        no_descent,
        calibration,
        sets,
        more_pictures,
        untested,
    ];
    let mut all: Vec<Advice> = rules.iter().filter_map(|rule| rule(facts)).collect();
    if all.is_empty() {
        all.push(Advice {
            weight: Weight::Fine,
            text: "Nothing stands out: no copies in two parts, no doubtful labels, enough pictures of every class, and figures that agree with each other.".into(),
            command: Some(format!("taper serve {}", quoted(&facts.run))),
            ..Advice::default()
        });
    }
    all
}

fn problem(text: String, command: impl Into<Option<String>>) -> Option<Advice> {
    let command = command.into();
    Some(Advice { weight: Weight::Problem, text, command, ..Advice::default() })
}

fn hint(text: String, command: impl Into<Option<String>>) -> Option<Advice> {
    let command = command.into();
    Some(Advice { weight: Weight::Advice, text, command, ..Advice::default() })
}

fn leak(facts: &Facts<'_>) -> Option<Advice> {
    let (a, b) = facts.leak.as_ref().filter(|_| facts.leaks > 0)?;
    problem(
        format!(
            "{} in two parts of the data: {b} is {a}. Figures on such pictures measure what the model has memorised. Leave the copies out of training:",
            plural(facts.leaks, "picture is", "pictures are"),
        ),
        format!("taper inspect {} --fix fixed", facts.data),
    )
}

fn conflicts(facts: &Facts<'_>) -> Option<Advice> {
    (facts.conflicts > 0).then_some(())?;
    problem(
        format!(
            "{} with two labels. Decide which one is right, or leave both out:",
            plural(facts.conflicts, "picture occurs", "pictures occur"),
        ),
        format!("taper inspect {} --fix fixed", facts.data),
    )
}

fn labels(facts: &Facts<'_>) -> Option<Advice> {
    (facts.suspects > 0).then_some(())?;
    let text = format!(
        "{} of another class than the label says: see the doubtful labels below. Correct what is wrong, there or in the manifest that this writes:",
        plural(facts.suspects, "training picture may be", "training pictures may be"),
    );
    let command = format!("taper inspect {} --fix fixed", facts.data);
    // Of a handful of pictures, each may look like another class.
    let many = facts.trained.iter().filter(|(_, n)| *n > 0).all(|(_, n)| *n >= FEW);
    let trained: usize = facts.trained.iter().map(|(_, n)| n).sum();
    // One in a hundred may be the search's own mistake.
    let certain = many && 100 * facts.suspects > trained;
    if certain { problem(text, command) } else { hint(text, command) }
}

fn sure_mistakes(facts: &Facts<'_>) -> Option<Advice> {
    (facts.sure_mistakes > 0).then_some(())?;
    hint(
        format!(
            "{} though the model was more than {} sure. Such mistakes are often wrong labels, in the parts that it is measured on too: look at the first ones among the worst mistakes, and at predictions.csv.",
            plural(
                facts.sure_mistakes,
                "picture was taken for another class",
                "pictures were taken for another class"
            ),
            percent(SURE),
        ),
        format!("taper inspect {}", facts.data),
    )
}

/// Two standard errors of the difference of two accuracies.
fn noise(a: &Evaluation, b: &Evaluation) -> f64 {
    // A part without mistakes is not one without uncertainty.
    let error = |of: &Evaluation| {
        let n = of.n.max(1) as f64;
        let p = (of.accuracy * n + 1.0) / (n + 2.0);
        p * (1.0 - p) / n
    };
    2.0 * (error(a) + error(b)).sqrt()
}

fn cannot_tell(facts: &Facts<'_>) -> Option<Advice> {
    let validation = facts.validation?;
    if let Some(test) = facts.test {
        let gap = validation.accuracy - test.accuracy;
        if gap > noise(validation, test) {
            let text = format!(
                "Validation shows {}, untouched pictures {}: the validation pictures ({}) are too much like the training pictures to tell how good a model is, e.g. frames of the same clips.",
                percent(validation.accuracy),
                percent(test.accuracy),
                facts.validated_on,
            );
            if facts.has_own_validation() {
                let text = format!("{text} Put other people, places or days into the split val.");
                return Some(Advice { weight: Weight::Problem, text, ..Advice::default() });
            }
            let remedy =
                "Keep pictures that belong together in one part, by a pattern for their names:";
            return problem(format!("{text} {remedy}"), facts.again("--group-by 'PATTERN'"));
        }
    }
    (validation.n < FEW_VALIDATION).then_some(())?;
    let folds = !facts.has_own_validation() && !facts.validated_on.starts_with("fold");
    let one = percent(1.0 / validation.n.max(1) as f64);
    let text = format!(
        "Validation has only {}: each of them counts for {one}, so that small differences between models are chance.",
        plural(validation.n as usize, "picture", "pictures"),
    );
    match folds {
        true => hint(
            format!("{text} Use folds, in which every picture is validated on once:"),
            facts.again("--folds 5"),
        ),
        false => Some(Advice { weight: Weight::Advice, text, ..Advice::default() }),
    }
}

fn drift(facts: &Facts<'_>) -> Option<Advice> {
    let text = facts.drift.as_ref()?;
    let text = text.strip_prefix("drift: ").unwrap_or(text);
    let text = text.split(": 'taper inspect'").next().unwrap_or(text);
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    problem(
        format!("{first}{}. See what differs:", letters.as_str()),
        format!("taper inspect {}", facts.data),
    )
}

fn few(facts: &Facts<'_>) -> Option<Advice> {
    let few: Vec<String> = facts
        .trained
        .iter()
        .filter(|(_, n)| *n < FEW)
        .map(|(class, n)| format!("{} ({n})", isolated(class)))
        .collect();
    (!few.is_empty()).then_some(())?;
    let text = format!(
        "Few training pictures: {}. Add pictures; {FEW} of a class are a beginning.",
        listed(&few)
    );
    let command = facts.again("--views 4 --augment standard");
    match facts.augmented {
        true => Some(Advice { weight: Weight::Advice, text, ..Advice::default() }),
        false => hint(format!("{text} Until then, random views of them help a little:"), command),
    }
}

fn confused(facts: &Facts<'_>) -> Option<Advice> {
    let on = facts.test.or(facts.validation)?;
    let pair = on.most_confused.as_ref()?;
    (pair.share >= CONFUSED && pair.count >= 3.0).then_some(())?;
    let class = |name: &str| on.per_class.iter().position(|own| own.label == name);
    let (truth, predicted) = (class(&pair.truth)?, class(&pair.predicted)?);
    let back = on.confusion[predicted][truth];
    let back = match back {
        0.0 => String::new(),
        back => format!(", and the other way round {}", plural(back as usize, "time", "times")),
    };
    let text = format!(
        "{} is taken for {} in {} of {} pictures{back}. If a person cannot tell them apart in the pictures below either, they are one class for a camera; if a person can,",
        isolated(&pair.truth),
        isolated(&pair.predicted),
        pair.count,
        (pair.count / pair.share).round(),
    );
    match (facts.fine_tuned, facts.larger) {
        (false, _) => hint(
            format!("{text} train the network itself on the difference:"),
            facts.again.as_ref().map(|_| match facts.searched {
                true => format!("taper train --resume {} --time-limit 1h", quoted(&facts.run)),
                false => format!("taper train {} --preset best --time-limit 10m", facts.data),
            }),
        ),
        (true, Some(size)) => hint(
            format!("{text} a network with a larger picture may see the difference:"),
            facts.again(&format!("--size {size}")),
        ),
        (true, None) => hint(format!("{text} another network may see the difference."), None),
    }
}

/// The epochs whose validation loss is known.
fn losses(facts: &Facts<'_>) -> Vec<f64> {
    facts.epochs.iter().filter_map(|epoch| epoch.val_loss).collect()
}

fn overfits(facts: &Facts<'_>) -> Option<Advice> {
    let losses = losses(facts);
    let (last, best) = (*losses.last()?, losses.iter().copied().fold(f64::INFINITY, f64::min));
    let best_at = losses.iter().position(|loss| *loss == best)?;
    let trained = |at: usize| facts.epochs.get(at).and_then(|epoch| epoch.loss);
    let falls = trained(losses.len() - 1)? < trained(best_at)?;
    (losses.len() >= best_at + 3 && last > 1.1 * best && falls).then_some(())?;
    hint(
        format!(
            "From epoch {} on the validation loss rises ({best:.3} to {last:.3}) while the training loss falls: the model learns its training pictures by heart. The best epoch was kept; more varied pictures go further:",
            best_at + 1,
        ),
        facts.again("--views 4 --augment standard"),
    )
}

fn still_falls(facts: &Facts<'_>) -> Option<Advice> {
    let losses = losses(facts);
    let n = losses.len();
    let completed = facts.stopped == Some(Outcome::Completed);
    (completed && n >= 3 && facts.best_epoch == Some(n as u64 - 1)).then_some(())?;
    let (before, last) = (losses[n - 2], losses[n - 1]);
    (last < 0.98 * before).then_some(())?;
    hint(
        format!(
            "The validation loss was still falling in the last of {n} epochs ({before:.3} to {last:.3}). Train on:"
        ),
        match facts.fine_tuned {
            true => facts.again(&format!("--fine-tune-epochs {}", 2 * n)),
            false => {
                Some(format!("taper train --resume {} --epochs {}", quoted(&facts.run), 2 * n))
            }
        },
    )
}

fn no_descent(facts: &Facts<'_>) -> Option<Advice> {
    let fall = facts.finder_fall.filter(|fall| *fall < 0.2)?;
    hint(
        format!(
            "In the search for the learning rate the loss fell by {} only, so that the rate found is little more than a guess. Look at the curve below, and give a rate that lies where it is steepest:",
            percent(fall.max(0.0)),
        ),
        facts.again("--learning-rate 0.001"),
    )
}

fn calibration(facts: &Facts<'_>) -> Option<Advice> {
    let judged = facts.calibrated?.test.as_ref()?;
    let figures = &judged.after.calibration;
    let least = facts.error_by_chance.max(UNCALIBRATED);
    (figures.expected_error > least && judged.after.n >= 50).then_some(())?;
    let right: f64 = figures.bins.iter().map(|bin| bin.weight * bin.accuracy).sum();
    let right = right / judged.after.n as f64;
    let text = format!(
        "On untouched pictures the model is {} sure on average, and right in {}: a probability is off by {} on average. Probabilities are fitted on the validation pictures",
        percent(figures.confidence),
        percent(right),
        points(figures.expected_error),
    );
    if facts.has_own_validation() {
        let text = format!("{text}, which should be like the pictures that it will see.");
        return Some(Advice { weight: Weight::Advice, text, ..Advice::default() });
    }
    hint(
        format!("{text}; more of those, unlike the training pictures, mend it:"),
        facts.again("--val 0.25"),
    )
}

fn sets(facts: &Facts<'_>) -> Option<Advice> {
    let own = facts.calibrated?.test.as_ref()?;
    let sets = own.sets.as_ref()?;
    (sets.figures.n >= 50 && sets.figures.coverage < sets.asked - 0.05).then_some(())?;
    let unfamiliar = own.unfamiliar.as_ref().filter(|unfamiliar| unfamiliar.share >= 0.1);
    let unfamiliar = unfamiliar.map_or(String::new(), |unfamiliar| {
        format!(", and {} of them are unlike the training pictures", percent(unfamiliar.share))
    });
    Some(Advice {
        weight: Weight::Advice,
        text: format!(
            "Sets of classes that should contain the true one in {} of pictures do so in {} of the untouched ones{unfamiliar}: these are not like the validation pictures. Train and validate on pictures such as those that the model will see.",
            percent(sets.asked),
            percent(sets.figures.coverage),
        ),
        ..Advice::default()
    })
}

fn more_pictures(facts: &Facts<'_>) -> Option<Advice> {
    let curve = facts.curve?;
    let outlook = curve.outlook()?;
    (outlook.last > outlook.noise && outlook.next >= 0.005).then_some(())?;
    let enough = |class: usize| {
        let on = facts.test.or(facts.validation);
        on.and_then(|on| on.per_class.get(class)).is_some_and(|own| own.support >= 20.0)
    };
    let class = curve
        .gaining_class()
        .filter(|(class, gain)| *gain > 2.0 * outlook.last.max(0.0) && enough(*class));
    let of = class.and_then(|(class, gain)| Some((&facts.trained.get(class)?.0, gain)));
    let of = of.map_or(String::new(), |(name, gain)| {
        format!(
            " Most of all pictures of {}, whose recall rose by {}.",
            isolated(name),
            points(gain)
        )
    });
    Some(Advice {
        weight: Weight::Advice,
        text: format!(
            "More pictures would help: from half of them to all, accuracy rose by {}. Twice as many may bring up to {} more.{of}",
            points(outlook.last),
            points(outlook.next),
        ),
        ..Advice::default()
    })
}

fn untested(facts: &Facts<'_>) -> Option<Advice> {
    facts.test.is_none().then_some(())?;
    hint(
        "There are no untouched pictures: the figures are on pictures that choices were made with, and so a little too good. Keep some in a folder 'test', as they come from the camera that will be used, or measure on others:".into(),
        format!("taper evaluate {} --data OTHER", quoted(&facts.run)),
    )
}

#[cfg(test)]
mod tests;
