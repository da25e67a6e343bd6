//! From findings to advice.

use crate::{Health, Strength};

/// From this ratio on, classes count as imbalanced.
const IMBALANCED: f64 = 1.5;
/// Fewer training pictures of a class than this are too few.
const FEW: usize = 20;
/// Below this share of distinct pictures, a class is mostly one picture over and over.
const MONOTONOUS: f64 = 0.5;

/// One sentence for each kind of finding, most important first.
pub(crate) fn advice(health: &Health) -> Vec<String> {
    let mut advice = Vec::new();
    leaks(health, &mut advice);
    labels(health, &mut advice);
    badly_named(health, &mut advice);
    near_copies(health, &mut advice);
    drifts(health, &mut advice);
    unreadable(health, &mut advice);
    counts(health, &mut advice);
    variety(health, &mut advice);
    peculiar(health, &mut advice);
    advice
}

/// What makes figures misleading: pictures in two places, and labels that contradict each other.
pub(crate) fn misleading(health: &Health) -> Vec<String> {
    let mut advice = Vec::new();
    leaks(health, &mut advice);
    labels(health, &mut advice);
    advice
}

fn example(n: usize, first: Option<&String>) -> String {
    match (n, first) {
        (1, Some(first)) => format!(": {first}"),
        (_, Some(first)) => format!(", such as {first}"),
        _ => String::new(),
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

fn leaks(health: &Health, advice: &mut Vec<String>) {
    let leaks: Vec<_> = health.duplicates.iter().filter(|d| d.across_splits).collect();
    if let Some(first) = leaks.first() {
        advice.push(format!(
            "duplicates across splits: {} in two splits ({} is {}), so the figures on them measure memorisation, not generalisation: `fix` DIR leaves the training copies out",
            plural(leaks.len(), "picture is", "pictures are"),
            first.b,
            first.a,
        ));
    }
    let same = health.duplicates.iter().filter(|d| !d.across_splits && d.same_label).count();
    if same > 0 {
        let first = health.duplicates.iter().find(|d| !d.across_splits && d.same_label);
        let unsplit = health.classes.contains_key("all");
        let why = if unsplit {
            "a random split may put one of them into training and the other into test"
        } else {
            "they count twice"
        };
        advice.push(format!(
            "duplicates within a split: {}{}; {why}: `fix` DIR keeps one of each",
            plural(same, "picture occurs twice", "pictures occur more than once"),
            example(same, first.map(|d| &d.b)),
        ));
    }
}

fn near_copies(health: &Health, advice: &mut Vec<String>) {
    let n = health.near_copies.len();
    let Some(first) = health.near_copies.first() else { return };
    advice.push(format!(
        "near copies: {} nearly the same in two splits or with two labels ({} and {}): perhaps frames of one clip or shots of one object, so look at near-copies.png; keep shots that belong together in one split (`group_by` REGEX); `fix` DIR keeps them, and `fix_near` leaves them out",
        plural(n, "pair of pictures is", "pairs of pictures are"),
        first.a,
        first.b,
    ));
}

fn labels(health: &Health, advice: &mut Vec<String>) {
    let n = health.label_conflicts.len();
    if let Some(first) = health.label_conflicts.first() {
        advice.push(format!(
            "contradicting labels: {} with two labels ({} and {}): `fix` DIR leaves both out; better, decide which \
             label is right",
            plural(n, "picture occurs", "pictures occur"),
            first.a,
            first.b,
        ));
    }
    let n = health.label_errors.len();
    if let Some(first) = health.label_errors.first() {
        advice.push(format!(
            "label errors: {}, such as {} ({}, looks like {}): look at \
             label-errors.png, and correct the manifest that `fix` DIR writes",
            plural(
                n,
                "picture is probably of another class than its label says",
                "pictures are probably of other classes than their labels say",
            ),
            first.path,
            first.label,
            first.looks_like,
        ));
    }
}

fn badly_named(health: &Health, advice: &mut Vec<String>) {
    let n = health.badly_named.len();
    let Some(first) = health.badly_named.first() else { return };
    let both = health.badly_named.iter().filter(|own| own.witnesses > 1).count();
    let begin = match both {
        0 => "",
        1 if n == 1 => ": the other pictures speak against its label, too",
        _ if both == n => ": the other pictures speak against their labels, too",
        _ => ", and begin with those whose labels the other pictures speak against, too",
    };
    advice.push(format!(
        "names: {} better by the name of another class, such as {} ({}, '{}' fits better): look at badly-named.png{begin}",
        plural(n, "picture is described", "pictures are described"),
        first.path,
        first.label,
        first.looks_like,
    ));
}

fn drifts(health: &Health, advice: &mut Vec<String>) {
    for (name, drift) in &health.drift {
        if drift.strength == Strength::None {
            continue;
        }
        let other = name.strip_prefix("train-").unwrap_or(name);
        let mut sentence = format!("drift: the pictures in {other} differ from those in train");
        if let Some(auc) = drift.embedding_auc.filter(|auc| *auc >= 0.75) {
            sentence +=
                &format!(" (the embeddings tell them apart in {:.0} % of pairs)", 100.0 * auc);
        }
        let features: Vec<String> = drift
            .features
            .iter()
            .take(3)
            .map(|f| format!("{} ({}): {:.2} → {:.2}", f.feature, f.meaning, f.train, f.other))
            .collect();
        match drift.features.first() {
            Some(first) => {
                sentence += &format!(
                    "; most different: {}. What helps: {}",
                    features.join("; "),
                    first.remedy
                );
            }
            None => {
                sentence += "; its colours and sharpness are alike, so its content differs: add pictures like these to train, or `augment` standard with `views`";
            }
        }
        advice.push(sentence);
    }
}

fn unreadable(health: &Health, advice: &mut Vec<String>) {
    let n = health.unreadable.len();
    if n > 0 {
        advice.push(format!(
            "unreadable: {}{}: left out of training (`strict` refuses them); repair or remove them, or train on the manifest that `fix` DIR writes",
            plural(n, "picture cannot be used", "pictures cannot be used"),
            example(n, health.unreadable.first().map(|f| &f.path)),
        ));
    }
    let n = health.remarks.len();
    if n > 0 {
        advice.push(format!(
            "misnamed: {}{}: used anyway, but refused by `strict` and by other tools; rename them",
            plural(n, "picture has", "pictures have")
                + " a different format from what the name says",
            example(n, health.remarks.first().map(|f| &f.path)),
        ));
    }
}

fn counts(health: &Health, advice: &mut Vec<String>) {
    let (split, trained) = match health.classes.get("train") {
        Some(train) => ("train", train),
        None => match health.classes.get("all") {
            Some(all) => ("the data set", all),
            None => return,
        },
    };
    if trained.len() == 1 {
        advice.push("one class: a classifier needs at least two, each in its own folder".into());
    }
    let absent: Vec<&str> =
        trained.iter().filter(|(_, n)| **n == 0).map(|(class, _)| class.as_str()).collect();
    if !absent.is_empty() {
        advice.push(format!(
            "classes without training pictures: {}: add pictures, or remove the class",
            listed(&absent)
        ));
    }
    if health.imbalance >= IMBALANCED {
        let most = trained.iter().max_by_key(|(_, n)| **n);
        let least = trained.iter().filter(|(_, n)| **n > 0).min_by_key(|(_, n)| **n);
        if let (Some(most), Some(least)) = (most, least) {
            advice.push(format!(
                "imbalance: {} has {} pictures in {split}, {} has {} ({:.1} to 1): `class_weights` balanced",
                most.0, most.1, least.0, least.1, health.imbalance
            ));
        }
    }
    let few: Vec<String> = trained
        .iter()
        .filter(|(_, n)| (1..FEW).contains(*n))
        .map(|(class, n)| format!("{class} ({n})"))
        .collect();
    if !few.is_empty() {
        let few: Vec<&str> = few.iter().map(String::as_str).collect();
        advice.push(format!(
            "few pictures: {} in {split}: add some, or `views` 4 `augment` standard",
            listed(&few)
        ));
    }
}

fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn variety(health: &Health, advice: &mut Vec<String>) {
    let cells: Vec<_> = health
        .variety
        .iter()
        .filter(|v| v.pictures >= 8 && (v.distinct as f64) < MONOTONOUS * v.pictures as f64)
        .collect();
    let Some(worst) =
        cells.iter().min_by(|a, b| (a.distinct * b.pictures).cmp(&(b.distinct * a.pictures)))
    else {
        return;
    };
    let unsplit = worst.split == "all";
    advice.push(format!(
        "low variety: {}, most in {}/{}: {} pictures, of which {} differ visibly, with e.g. {} frames like {}. They teach less than their number suggests; {}",
        plural(cells.len(), "class has many nearly identical pictures", "classes have many nearly identical pictures"),
        worst.split,
        worst.class,
        worst.pictures,
        worst.distinct,
        worst.largest,
        worst.example,
        if unsplit {
            "keep the frames of one clip in one split: `group_by` REGEX"
        } else {
            "draw validation by clip, not by frame (`group_by` REGEX), and prefer `augment` standard to more frames"
        }
    ));
}

fn peculiar(health: &Health, advice: &mut Vec<String>) {
    let p = &health.peculiar;
    let kinds = [
        (
            &p.tiny,
            "tiny",
            "smaller than 32 pixels: there is little to learn from them; remove or replace them",
        ),
        (
            &p.huge,
            "huge",
            "above 20 million pixels: most of the time goes into decoding them; scale them down once",
        ),
        (
            &p.elongated,
            "elongated",
            "more than four times as long as wide: `fit` squash, so that the ends are not cut off",
        ),
        (&p.plain, "plain", "a single colour: nothing to learn from; remove them"),
        (&p.animated, "animated", "animated: only the first frame is used"),
        (
            &p.rotated,
            "turned by EXIF",
            "turned by EXIF: Taper turns them upright, and so must every program that uses the model",
        ),
    ];
    for (paths, name, text) in kinds {
        if !paths.is_empty() {
            advice.push(format!(
                "{name}: {} {text}{}",
                plural(paths.len(), "picture is", "pictures are"),
                example(paths.len(), paths.first()),
            ));
        }
    }
}
