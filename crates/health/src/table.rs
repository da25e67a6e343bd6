use std::fmt::{self, Write};

use crate::{Health, Likeness};

/// How many findings of each kind are listed.
const SHOWN: usize = 8;

/// The human-readable answer: a table of counts, the findings, the advice.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} pictures", self.data, self.pictures)?;
        self.table(f)?;
        self.findings(f)?;
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if self.ignored > 0 {
            writeln!(f, "note: {} other files were ignored", self.ignored)?;
        }
        writeln!(f)?;
        if self.advice.is_empty() {
            return writeln!(f, "No problems were found.");
        }
        writeln!(f, "What to do, most important first:")?;
        for (n, advice) in self.advice.iter().enumerate() {
            writeln!(f, "{:3}. {advice}", n + 1)?;
        }
        Ok(())
    }
}

impl Health {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let splits = ["all", "train", "val", "test"];
        let splits: Vec<&str> =
            splits.into_iter().filter(|s| self.classes.contains_key(*s)).collect();
        let Some(classes) = splits.first().and_then(|s| self.classes.get(*s)) else {
            return Ok(());
        };
        let width = classes.keys().map(|c| c.chars().count()).max().unwrap_or(0).clamp(5, 40);
        writeln!(f, "{:width$}  {}", "class", splits.map_text(|s| format!("{s:>8}")))?;
        // Thousands of classes on a terminal are of no use; the file has them all.
        for class in classes.keys().take(40) {
            let count = |split: &str| self.classes.get(split).and_then(|c| c.get(class)).copied();
            let counts = splits.map_text(|s| format!("{:>8}", count(s).unwrap_or(0)));
            writeln!(f, "{class:width$}  {counts}")?;
        }
        if classes.len() > 40 {
            writeln!(f, "… and {} more classes", classes.len() - 40)?;
        }
        writeln!(f, "imbalance {:.2} (largest class over smallest)", self.imbalance)
    }

    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.unreadable.iter().map(|p| format!("{}: {}", p.path, p.reason.trim_end()));
        listed(f, "unreadable", lines)?;
        let across = self.duplicates.iter().filter(|d| d.across_splits);
        listed(f, "the same picture in two splits", across.map(pair))?;
        listed(f, "the same picture with two labels", self.label_conflicts.iter().map(pair))?;
        let within = self.duplicates.iter().filter(|d| !d.across_splits && d.same_label).map(pair);
        listed(f, "the same picture twice in a split", within)?;
        let near = |across: bool| {
            let kind = self.near_copies.iter().filter(move |d| d.across_splits == across);
            kind.map(|d| format!("{} ~ {} (distance {:.3})", d.a, d.b, d.distance))
        };
        listed(f, "nearly the same picture in two splits, perhaps not copies", near(true))?;
        listed(f, "nearly the same picture with two labels, perhaps not copies", near(false))?;
        let errors = self.label_errors.iter().map(|e| {
            let probability = 100.0 * e.probability;
            let also = if e.witnesses > 1 { "; that class's name fits it better, too" } else { "" };
            let like = &e.looks_like;
            format!("{}: {}, looks like {like} ({probability:.0} %){also}", e.path, e.label)
        });
        listed(f, "probable label errors", errors)?;
        if let Some(own) = &self.names {
            writeln!(
                f,
                "by the names of the classes alone, {} finds the class of {:.0} % (chance {:.0} %)",
                own.model,
                100.0 * own.accuracy,
                100.0 * own.chance
            )?;
        }
        let badly = self.badly_named.iter().map(|own| {
            let probability = 100.0 * own.probability;
            let also = if own.witnesses > 1 { "; the other pictures say so too" } else { "" };
            let like = &own.looks_like;
            format!("{}: {}, '{like}' fits better ({probability:.0} %){also}", own.path, own.label)
        });
        listed(f, "pictures that another class's name describes better", badly)?;
        for (name, drift) in &self.drift {
            let mut line = format!("drift {name}: {:?}", drift.strength).to_lowercase();
            if let Some(auc) = drift.embedding_auc {
                write!(line, ", told apart by embeddings: {auc:.3} (0.5 is chance)")?;
            }
            writeln!(f, "{line}")?;
            for d in drift.features.iter().take(SHOWN) {
                writeln!(
                    f,
                    "  {:20} train {:>7.3}  other {:>7.3}  KS {:.2}  {}",
                    d.feature, d.train, d.other, d.statistic, d.meaning
                )?;
            }
        }
        let monotonous = self.variety.iter().filter(|v| v.distinct * 2 < v.pictures).map(|v| {
            format!("{}/{}: {} pictures, {} distinct", v.split, v.class, v.pictures, v.distinct)
        });
        listed(f, "nearly identical pictures", monotonous)
    }
}

fn pair(d: &crate::Duplicate) -> String {
    match d.likeness {
        Likeness::Exact | Likeness::Pixels => format!("{} = {} ({})", d.a, d.b, d.likeness),
        how => format!("{} = {} ({how}, distance {:.3})", d.a, d.b, d.distance),
    }
}

fn listed(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl Iterator<Item = String>,
) -> fmt::Result {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}: {}", lines.len())?;
    for line in lines.iter().take(SHOWN) {
        writeln!(f, "  {line}")?;
    }
    if lines.len() > SHOWN {
        writeln!(f, "  … and {} more", lines.len() - SHOWN)?;
    }
    Ok(())
}

trait MapText {
    fn map_text(&self, of: impl Fn(&str) -> String) -> String;
}

impl MapText for Vec<&str> {
    fn map_text(&self, of: impl Fn(&str) -> String) -> String {
        self.iter().map(|s| of(s)).collect::<Vec<_>>().join(" ")
    }
}
