//! The report of an inspection.

use std::collections::HashMap;

use taper_data::Dataset;
use taper_health::{Duplicate, Health, Strength};
use taper_picture::Finding;
use taper_report::page::{
    Advice, Block, Cell, ColumnKind, Gallery, Page, Section, Shot, Table, Weight,
};

use crate::{
    album::Album,
    sections::{columns, count, footer, of_share, section},
    words::{plural, quoted},
};

/// Pictures of a page, at most.
const MOST: usize = 160;
/// Pairs or pictures of a kind that are shown, and rows of a table.
const SHOWN: usize = 24;
const LISTED: usize = 100;

/// The report of an inspection, as HTML. `in_flags` turns the settings that advice names into the
/// options of a program.
pub fn inspection_report(
    health: &Health,
    dataset: &Dataset,
    in_flags: &dyn Fn(&str) -> String,
) -> String {
    let own = Inspection {
        health,
        dataset,
        places: dataset.samples().iter().enumerate().map(|(at, s)| (s.id.as_str(), at)).collect(),
    };
    own.page(in_flags).html()
}

struct Inspection<'a> {
    health: &'a Health,
    dataset: &'a Dataset,
    places: HashMap<&'a str, usize>,
}

impl Inspection<'_> {
    fn page(&self, in_flags: &dyn Fn(&str) -> String) -> Page {
        let health = self.health;
        let mut album = Album::new(self.dataset, None, MOST);
        let place = |path: &String| self.places.get(path.as_str()).copied();
        album.add(health.label_errors.iter().take(SHOWN).filter_map(|own| place(&own.path)));
        album.add(health.badly_named.iter().take(SHOWN).filter_map(|own| place(&own.path)));
        for pairs in [&health.label_conflicts, &health.duplicates, &health.near_copies] {
            let both = pairs.iter().take(SHOWN / 2).flat_map(|pair| [&pair.a, &pair.b]);
            album.add(both.filter_map(place));
        }
        let mut sections = vec![self.next(in_flags), self.counts()];
        sections.extend(self.labels(&album));
        sections.extend(self.names(&album));
        sections.extend(self.pairs(
            &album,
            ("conflicts", "The same picture with two labels", "One of the labels is wrong."),
            &health.label_conflicts,
        ));
        sections.extend(self.pairs(
            &album,
            ("copies", "The same picture twice", "Copies in two parts make figures too good."),
            &health.duplicates,
        ));
        sections.extend(self.pairs(
            &album,
            (
                "near-copies",
                "Nearly the same picture",
                "Perhaps frames of one clip, or shots of one object: they belong in one part.",
            ),
            &health.near_copies,
        ));
        sections.extend(self.drift());
        sections.extend(self.variety());
        sections.extend(self.unusable());
        let title = format!("The data: {}", taper_run::data_name(&health.data));
        let classes = self.dataset.classes().len();
        let subtitle = format!(
            "{}, {}",
            plural(health.pictures, "picture", "pictures"),
            plural(classes, "class", "classes")
        );
        Page { title, subtitle, sections, pictures: album.into_thumbnails(), footer: footer() }
    }

    fn next(&self, in_flags: &dyn Fn(&str) -> String) -> Section {
        let data = quoted(&self.health.data);
        let mut all: Vec<Advice> = self
            .health
            .advice
            .iter()
            .map(|text| {
                let (weight, command) = remedy(text, &data);
                Advice { weight, text: sentence(&in_flags(text)), command, ..Advice::default() }
            })
            .collect();
        if all.is_empty() {
            all.push(Advice {
                weight: Weight::Fine,
                text: "Nothing stands out: no copies, no doubtful labels, enough pictures of every class, and parts that are alike.".into(),
                command: Some(format!("taper train --data {data}")),
                ..Advice::default()
            });
        }
        let lead = match self.health.embeddings {
            true => "",
            false => {
                "Without embeddings there is no search for wrong labels, drift of content, or copies that differ much."
            }
        };
        section("next", "What to do next", lead, vec![Block::Advice(all)])
    }

    fn counts(&self) -> Section {
        let classes = &self.health.classes;
        let splits: Vec<&String> = classes.keys().collect();
        let mut heads = vec![("class", ColumnKind::Text)];
        heads.extend(splits.iter().map(|split| (split.as_str(), ColumnKind::Number)));
        let rows = self.dataset.classes().iter().map(|class| {
            let mut row = vec![Cell::Text(class.into())];
            let of = |split: &&String| count(classes[*split].get(class).copied().unwrap_or(0));
            row.extend(splits.iter().map(of));
            row
        });
        let table = Table {
            caption: "Usable pictures".into(),
            columns: columns(&heads),
            rows: rows.collect(),
            notes: self.health.notes.join(" "),
        };
        section("data", "Data and splits", "", vec![Block::Table(table)])
    }

    fn shot(&self, album: &Album<'_>, path: &str, note: String) -> Shot {
        let place = self.places.get(path).copied();
        let label = place.map(|at| self.dataset.samples()[at].label);
        let truth = label.and_then(|label| self.dataset.classes().name(label));
        Shot {
            picture: place.and_then(|at| album.place(at)),
            name: path.into(),
            truth: truth.map(str::to_owned),
            note,
            ..Shot::default()
        }
    }

    fn labels(&self, album: &Album<'_>) -> Option<Section> {
        let found = &self.health.label_errors;
        (!found.is_empty()).then_some(())?;
        let shots = found.iter().take(SHOWN).map(|own| {
            let note = format!(
                "looks like {} ({:.0} %); {} of its 10 nearest neighbours have its label{}",
                taper_plot::isolated(&own.looks_like),
                100.0 * own.probability,
                own.neighbours,
                if own.witnesses > 1 { "; that class's name fits it better, too" } else { "" }
            );
            self.shot(album, &own.path, note)
        });
        let gallery = Gallery {
            caption: plural(found.len(), "doubtful label", "doubtful labels"),
            shots: shots.collect(),
            filter: true,
        };
        let lead = "A classifier that has not seen a picture, and its nearest neighbours, agree on another class.";
        Some(section("labels", "Doubtful labels", lead, vec![Block::Gallery(gallery)]))
    }

    fn names(&self, album: &Album<'_>) -> Option<Section> {
        let (found, figures) = (&self.health.badly_named, self.health.names.as_ref()?);
        (!found.is_empty()).then_some(())?;
        let shots = found.iter().take(SHOWN).map(|own| {
            let note = format!(
                "{} fits better ({:.0} %; its own name {:.0} %){}",
                taper_plot::isolated(&own.looks_like),
                100.0 * own.probability,
                100.0 * own.given,
                if own.witnesses > 1 { "; the other pictures say so too" } else { "" }
            );
            self.shot(album, &own.path, note)
        });
        let gallery = Gallery {
            caption: plural(found.len(), "doubtful label", "doubtful labels"),
            shots: shots.collect(),
            filter: true,
        };
        let lead = format!(
            "{} was trained with texts, and knows neither the other pictures nor their labels. By the names of the classes alone it finds the class of {:.0} % of the pictures.",
            figures.model,
            100.0 * figures.accuracy
        );
        let title = "Better described by another class's name";
        Some(section("names", title, &lead, vec![Block::Gallery(gallery)]))
    }

    fn pairs(
        &self,
        album: &Album<'_>,
        (id, title, lead): (&str, &str, &str),
        pairs: &[Duplicate],
    ) -> Option<Section> {
        (!pairs.is_empty()).then_some(())?;
        let shots = pairs.iter().take(SHOWN / 2).enumerate().flat_map(|(at, pair)| {
            let number = at + 1;
            let across = if pair.across_splits { ", in two parts" } else { "" };
            [&pair.a, &pair.b].map(|path| self.shot(album, path, format!("pair {number}{across}")))
        });
        let gallery = Gallery {
            caption: plural(pairs.len(), "pair", "pairs"),
            shots: shots.collect(),
            filter: false,
        };
        let mut blocks = vec![Block::Gallery(gallery)];
        if pairs.len() > SHOWN / 2 {
            let row =
                |pair: &Duplicate| vec![Cell::Text(pair.a.clone()), Cell::Text(pair.b.clone())];
            let more = pairs.len().saturating_sub(LISTED);
            blocks.push(Block::Table(Table {
                caption: "By name".into(),
                columns: columns(&[("picture", ColumnKind::Text), ("the other", ColumnKind::Text)]),
                rows: pairs.iter().take(LISTED).map(row).collect(),
                notes: if more > 0 {
                    format!("and {more} more: health.json")
                } else {
                    String::new()
                },
            }));
        }
        Some(section(id, title, lead, blocks))
    }

    fn drift(&self) -> Option<Section> {
        let drifting: Vec<_> =
            self.health.drift.iter().filter(|(_, own)| own.strength != Strength::None).collect();
        (!drifting.is_empty()).then_some(())?;
        let tables = drifting.into_iter().map(|(name, own)| {
            let rows = own.features.iter().map(|feature| {
                let number = |value: f64| Cell::Number { value, text: format!("{value:.3}") };
                vec![
                    Cell::Text(format!("{} ({})", feature.feature, feature.meaning)),
                    number(feature.train),
                    number(feature.other),
                    number(feature.statistic),
                ]
            });
            let other = name.strip_prefix("train-").unwrap_or(name);
            let told = own.embedding_auc.map_or(String::new(), |auc| {
                format!("Their features tell the parts apart in {:.0} % of pairs.", 100.0 * auc)
            });
            Block::Table(Table {
                caption: format!("train against {other}"),
                columns: columns(&[
                    ("property", ColumnKind::Text),
                    ("train", ColumnKind::Number),
                    (other, ColumnKind::Number),
                    ("difference, 0 to 1", ColumnKind::Number),
                ]),
                rows: rows.collect(),
                notes: told,
            })
        });
        let lead = "The parts show different things: figures on one say little about the other.";
        Some(section("drift", "Drift", lead, tables.collect()))
    }

    fn variety(&self) -> Option<Section> {
        let rows: Vec<Vec<Cell>> = self
            .health
            .variety
            .iter()
            .filter(|own| own.pictures > 0)
            .map(|own| {
                vec![
                    Cell::Text(own.class.clone()),
                    Cell::Text(own.split.clone()),
                    count(own.pictures),
                    count(own.distinct),
                    of_share(own.distinct as f64 / own.pictures as f64),
                ]
            })
            .collect();
        (!rows.is_empty()).then_some(())?;
        let table = Table {
            caption: "Pictures that differ visibly".into(),
            columns: columns(&[
                ("class", ColumnKind::Text),
                ("part", ColumnKind::Text),
                ("pictures", ColumnKind::Number),
                ("distinct", ColumnKind::Number),
                ("share", ColumnKind::Share),
            ]),
            rows,
            notes: String::new(),
        };
        Some(section("variety", "Variety", "", vec![Block::Table(table)]))
    }

    fn unusable(&self) -> Option<Section> {
        let (unreadable, remarks) = (&self.health.unreadable, &self.health.remarks);
        let all: Vec<&Finding> = unreadable.iter().chain(remarks).collect();
        (!all.is_empty()).then_some(())?;
        let row =
            |own: &&Finding| vec![Cell::Text(own.path.clone()), Cell::Text(own.reason.clone())];
        let more = all.len().saturating_sub(LISTED);
        let table = Table {
            caption: plural(all.len(), "file", "files"),
            columns: columns(&[("file", ColumnKind::Text), ("what is wrong", ColumnKind::Text)]),
            rows: all.iter().take(LISTED).map(row).collect(),
            notes: if more > 0 { format!("and {more} more: health.json") } else { String::new() },
        };
        Some(section(
            "files",
            "Files that cannot be used, or not as they are",
            "",
            vec![Block::Table(table)],
        ))
    }
}

/// How much a piece of advice matters, and the command that follows it.
fn remedy(text: &str, data: &str) -> (Weight, Option<String>) {
    let kind = text.split(':').next().unwrap_or_default();
    let train = |options: &str| Some(format!("taper train --data {data} {options}"));
    let fix = || Some(format!("taper inspect --data {data} --fix fixed"));
    match kind {
        "duplicates across splits" | "contradicting labels" | "label errors" => {
            (Weight::Problem, fix())
        }
        "drift" => (Weight::Problem, train("--views 4 --augment standard")),
        "one class" | "classes without training pictures" => (Weight::Problem, None),
        "duplicates within a split" | "unreadable" => (Weight::Advice, fix()),
        "near copies" | "low variety" => (Weight::Advice, train("--group-by 'PATTERN'")),
        "imbalance" => (Weight::Advice, train("--class-weights balanced")),
        "few pictures" => (Weight::Advice, train("--views 4 --augment standard")),
        "elongated" => (Weight::Advice, train("--fit squash")),
        _ => (Weight::Advice, None),
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_finding_has_its_remedy() {
        let of = |text: &str| remedy(text, "d");
        assert_eq!(
            of("label errors: 2 pictures are"),
            (Weight::Problem, Some("taper inspect --data d --fix fixed".into()))
        );
        assert_eq!(
            of("imbalance: a has 9").1.as_deref(),
            Some("taper train --data d --class-weights balanced")
        );
        assert_eq!(of("plain: 1 picture is"), (Weight::Advice, None));
        assert_eq!(sentence("drift: x"), "Drift: x.");
    }
}
