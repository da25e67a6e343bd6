//! The report of a training.

use std::path::Path;

use serde_json::Value;
use taper_core::file::write_atomically;
use taper_data::Dataset;
use taper_health::Embeddings;
use taper_metrics::Evaluation;
use taper_model::{Classifier, OpenOptions};
use taper_picture::Finding;
use taper_plot::{Figure, Line, Panel, Scale, Style, colour, isolated};
use taper_report::{
    Curves, EpochFigures,
    page::{Block, Cell, Chart, ColumnKind, Gallery, Page, Section, Shot, Table},
    thousands,
};
use taper_run::{Answer, Error, Finished, Observer, Recipe, Result, Session, data_name};
use taper_train::head_logits;

use crate::{
    advice::{Facts, SURE, advice},
    album::Album,
    answers::{Told, error_by_chance, mistakes, told, write_table},
    learning_curve::LearningCurve,
    sections::{Assessed, columns, count, footer, section},
    words::{percent, plural, points, quoted},
};

/// The report in a folder.
pub const REPORT: &str = "report.html";
/// What the model said of each picture, in a run folder.
pub const PREDICTIONS: &str = "predictions.csv";

/// Pictures of a page, at least.
const LEAST: usize = 48;
/// Pictures of a page, at most.
const MOST: usize = 200;
/// In between, one for so many of the data set: a report takes a small part of a training's time.
const ONE_OF: usize = 16;
/// Suspects that are shown.
const SUSPECTS: usize = 24;
/// Suspected labels are not looked for among more numbers than this: pictures × features.
const MOST_NUMBERS: usize = 60_000_000;
/// Findings that are listed.
const LISTED: usize = 50;

/// Writes `report.html` and `predictions.csv` into the folder of every training.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reporter;

impl Observer for Reporter {
    fn finished(&self, finished: &Finished<'_>, session: &Session) -> Result<()> {
        match write(finished, session) {
            // The training itself is complete.
            Err(Error::Interrupted) => {
                session.progress().warn("interrupted: the training is complete, but has no report");
                Ok(())
            }
            Err(error) => {
                session.progress().warn(&format!("there is no report: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn write(finished: &Finished<'_>, session: &Session) -> Result<()> {
    let report = Training::new(finished)?;
    let splits = [("val", &report.val[..]), ("test", &report.test[..])];
    write_table(&finished.folder.join(PREDICTIONS), finished.dataset, &splits)?;
    let path = finished.folder.join(REPORT);
    let html = report.page(session)?.html();
    write_atomically(&path, html.as_bytes()).map_err(Error::io("write", &path))
}

struct Training<'a> {
    of: &'a Finished<'a>,
    val: Vec<Told>,
    test: Vec<Told>,
    /// Training pictures of each class.
    trained: Vec<usize>,
    epochs: Vec<EpochFigures>,
    health: Value,
}

impl<'a> Training<'a> {
    fn new(of: &'a Finished<'a>) -> Result<Self> {
        let temperature = of.calibration.map_or(1.0, |own| own.temperature);
        let answers = |part: &taper_run::Part<'_>| -> Result<Vec<Told>> {
            let logits = head_logits(of.head, part.table)?;
            Ok(told(part.samples, &part.table.labels, &logits, temperature))
        };
        let read = |name: &str| std::fs::read_to_string(of.folder.join(name)).ok();
        let history = match &of.answer.fine_tune {
            Some(_) => read("fine-tune/history.csv"),
            None => read("history.csv"),
        };
        // Files of the run itself: what is not there was not measured.
        let epochs = history.and_then(|text| Curves::epochs_from_csv(&text).ok());
        let health = read("health.json").and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self {
            of,
            val: answers(&of.val)?,
            test: answers(&of.test)?,
            trained: of.dataset.counts(of.train.samples),
            epochs: epochs.unwrap_or_default(),
            health: health.unwrap_or_default(),
        })
    }

    fn answer(&self) -> &'a Answer {
        self.of.answer
    }

    fn page(&self, session: &Session) -> Result<Page> {
        let Finished { folder, recipe, dataset, .. } = *self.of;
        let answer = self.answer();
        let classifier =
            Classifier::open(folder.join("model.safetensors"), &OpenOptions::default());
        let classifier = classifier.map_err(Error::from)?;
        let most = room(dataset);
        let mut album = Album::new(dataset, Some(&classifier), most);
        let suspects = self.suspects();
        let curve = self.learning_curve();
        let assessed = self.assessed();
        album.add(assessed.wanted().into_iter().take(most.saturating_sub(SUSPECTS / 2)));
        album.add(suspects.iter().map(|(sample, _)| *sample).take(SUSPECTS));
        if session.interrupted() {
            return Err(Error::Interrupted);
        }
        let title = format!("{} on {}", answer.model, data_name(&recipe.data));
        let mut sections = vec![self.verdict(&assessed)];
        let facts = self.facts(suspects.len(), curve.as_ref());
        let next = advice(&facts);
        sections.push(section("next", "What to do next", "", vec![Block::Advice(next)]));
        sections.push(self.data());
        sections.push(assessed.class_section(&album, Some(&self.trained)));
        sections.extend(assessed.mistake_sections(&album));
        sections.extend(self.suspected(&album, &suspects));
        sections.extend(assessed.trust_sections(&title));
        sections.extend(curve.as_ref().map(|own| self.learned(own, &title)));
        sections.extend(self.curves());
        sections.push(self.details());
        let subtitle = format!(
            "{} head, {} classes, trained on {}",
            answer.head,
            dataset.classes().len(),
            plural(self.of.train.samples.len(), "picture", "pictures"),
        );
        Ok(Page { title, subtitle, sections, pictures: album.into_thumbnails(), footer: footer() })
    }

    /// The pictures that the figures are on: untouched ones, if there are any.
    fn assessed(&self) -> Assessed<'_> {
        let answer = self.answer();
        let calibrated = answer.calibrated.as_ref();
        let dataset = self.of.dataset;
        match &answer.test {
            Some(test) => Assessed {
                dataset,
                evaluation: test,
                judged: calibrated.and_then(|own| own.test.as_ref()),
                told: &self.test,
                pictures: "untouched test pictures",
            },
            None => Assessed {
                dataset,
                evaluation: &answer.validation,
                judged: calibrated.map(|own| &own.validation),
                told: &self.val,
                pictures: "validation pictures",
            },
        }
    }

    fn verdict(&self, assessed: &Assessed<'_>) -> Section {
        let answer = self.answer();
        let wrong = mistakes(assessed.told).len();
        let text = match &answer.test {
            Some(_) if self.leaks() > 0 => format!(
                "{} of {} pictures were taken for another class. No choice was made with these pictures, but {} in two parts of the data: the figure is a little too good.",
                wrong,
                assessed.evaluation.n,
                plural(self.leaks(), "picture is", "pictures are"),
            ),
            Some(_) => format!(
                "{} of {} pictures were taken for another class. No choice was made with these pictures, so that the figure holds for new ones like them.",
                wrong, assessed.evaluation.n
            ),
            None => format!(
                "{} of {} pictures were taken for another class. Choices were made with these pictures ({}), so that the figure is a little too good; there are no untouched ones.",
                wrong, assessed.evaluation.n, answer.validated_on
            ),
        };
        let on = |of: &Evaluation| format!("{} on {}", percent(of.accuracy), of.n);
        let mut facts = Vec::new();
        if answer.test.is_some() {
            let name = format!("on validation pictures ({})", answer.validated_on);
            facts.push((name, on(&answer.validation)));
        }
        let own = assessed.evaluation;
        facts.push(("mean recall of the classes".into(), percent(own.balanced_accuracy)));
        if let Some(tuned) = &answer.fine_tune
            && let Some(before) = tuned.probe_test_accuracy
        {
            facts.push(("before fine-tuning, with the head alone".into(), percent(before)));
        }
        if let Some((names, alone)) =
            answer.names.as_ref().and_then(|own| Some((own, own.tried.first()?)))
        {
            let on = format!("{} on {}", percent(alone.val_accuracy), answer.validation.n);
            facts.push(("the names of the classes alone, on validation pictures".into(), on));
            let kept = format!("{:.1} of the way to the trained head", names.alpha);
            facts.push(("kept, from the names on".into(), kept));
        }
        let most = self.trained.iter().max().copied().unwrap_or(0);
        let guess = own.per_class.iter().map(|class| class.support).fold(0.0, f64::max);
        if most > 0 && own.n > 0 {
            let share = percent(guess / own.n as f64);
            facts.push(("guessing the most frequent class".into(), share));
        }
        section("verdict", "How good it is", "", vec![assessed.verdict(text, facts)])
    }

    /// Pictures that are in two parts of the data.
    fn leaks(&self) -> usize {
        let copies = self.health["duplicates"].as_array().into_iter().flatten();
        copies.filter(|copy| copy["across_splits"].as_bool() == Some(true)).count()
    }

    fn facts<'b>(&'b self, suspects: usize, curve: Option<&'b LearningCurve>) -> Facts<'b> {
        let answer = self.answer();
        let copies = self.health["duplicates"].as_array();
        let leaks: Vec<&Value> = copies
            .into_iter()
            .flatten()
            .filter(|copy| copy["across_splits"].as_bool() == Some(true))
            .collect();
        let text = |value: &Value| isolated(value.as_str().unwrap_or_default());
        let drift = answer.remarks.iter().map(|finding| &finding.reason);
        let names = self.of.dataset.classes().iter().map(str::to_owned);
        let sure = self.val.iter().chain(&self.test);
        let sure = sure.filter(|own| !own.is_right() && own.probability >= SURE).count();
        let found = std::fs::read_to_string(self.of.folder.join("lr_find.json")).ok();
        let found = found.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let phase = answer.fine_tune.as_ref();
        Facts {
            data: data_options(self.of.recipe),
            run: self.of.home.display().to_string(),
            again: Some(format!(
                "taper train {}",
                quoted(&self.of.home.join("recipe.toml").display().to_string())
            )),
            error_by_chance: error_by_chance(self.assessed().told),
            trained: names.zip(self.trained.iter().copied()).collect(),
            validation: Some(&answer.validation),
            validated_on: answer.validated_on.clone(),
            test: answer.test.as_ref(),
            calibrated: answer.calibrated.as_ref(),
            leaks: leaks.len(),
            leak: leaks.first().map(|copy| (text(&copy["a"]), text(&copy["b"]))),
            conflicts: self.health["label_conflicts"].as_array().map_or(0, Vec::len),
            drift: drift.into_iter().find(|text| text.starts_with("drift: ")).cloned(),
            suspects,
            sure_mistakes: sure,
            epochs: &self.epochs,
            stopped: Some(phase.map_or(answer.stopped, |own| own.stopped)),
            best_epoch: phase.map_or(answer.best_epoch, |own| own.best_epoch),
            finder_fall: found.as_ref().and_then(fall),
            curve,
            // A search tries views itself.
            augmented: self.of.recipe.views > 1
                || self.of.recipe.fresh_views
                || self.of.home != self.of.folder,
            searched: self.of.home != self.of.folder,
            fine_tuned: answer.fine_tune.is_some(),
            larger: self.larger(),
        }
    }

    /// The next larger size of pictures; those of vision transformers are left alone.
    fn larger(&self) -> Option<u32> {
        let size = self.of.recipe.size.unwrap_or(224);
        let transformer =
            ["vit", "dinov2"].iter().any(|kind| self.answer().model.starts_with(kind));
        (size < 320 && !transformer).then_some(320)
    }

    /// Pictures whose features contradict their labels, and what they look like instead.
    fn suspects(&self) -> Vec<(usize, String)> {
        let views = self.of.recipe.views.max(1) as usize;
        let (train, width) = (self.of.train, self.of.train.table.width);
        let numbers = train.samples.len().saturating_mul(width);
        // Views that are not the pictures themselves say little about them.
        if self.of.recipe.fresh_views || numbers > MOST_NUMBERS || width == 0 {
            return Vec::new();
        }
        let rows = (0..train.samples.len()).flat_map(|at| train.table.row(at * views));
        let embeddings =
            Embeddings { width, values: rows.copied().collect(), samples: train.samples.to_vec() };
        let found = taper_health::suspects(self.of.dataset, &embeddings);
        found.into_iter().map(|own| (own.index, own.looks_like)).collect()
    }

    fn suspected(&self, album: &Album<'_>, suspects: &[(usize, String)]) -> Vec<Section> {
        let dataset = self.of.dataset;
        let mut blocks = Vec::new();
        if !suspects.is_empty() {
            let shots = suspects.iter().take(SUSPECTS).map(|(sample, looks_like)| {
                let own = &dataset.samples()[*sample];
                Shot {
                    picture: album.place(*sample),
                    name: own.id.clone(),
                    truth: dataset.classes().name(own.label).map(str::to_owned),
                    note: format!("looks like {}", isolated(looks_like)),
                    ..Shot::default()
                }
            });
            let n = suspects.len();
            let caption = match n > SUSPECTS {
                true => format!("{SUSPECTS} of {n} training pictures, the most doubtful first"),
                false => plural(n, "training picture", "training pictures"),
            };
            let shots = shots.collect();
            blocks.push(Block::Gallery(Gallery { caption, shots, filter: false }));
        }
        for (key, caption) in [
            ("duplicates", "The same picture twice"),
            ("label_conflicts", "The same picture with two labels"),
        ] {
            let pairs = self.health[key].as_array().map_or(&[][..], Vec::as_slice);
            if pairs.is_empty() {
                continue;
            }
            let text = |value: &Value| Cell::Text(value.as_str().unwrap_or_default().into());
            let rows =
                pairs.iter().take(LISTED).map(|pair| vec![text(&pair["a"]), text(&pair["b"])]);
            let more = pairs.len().saturating_sub(LISTED);
            blocks.push(Block::Table(Table {
                caption: caption.into(),
                columns: columns(&[("picture", ColumnKind::Text), ("copy", ColumnKind::Text)]),
                rows: rows.collect(),
                notes: if more > 0 {
                    format!("and {more} more: health.json")
                } else {
                    String::new()
                },
            }));
        }
        match blocks.is_empty() {
            true => Vec::new(),
            false => vec![section(
                "suspects",
                "Doubtful labels and copies",
                "Labels are doubted where a classifier that has not seen a picture, and its nearest neighbours, agree on another class.",
                blocks,
            )],
        }
    }

    fn learning_curve(&self) -> Option<LearningCurve> {
        let Finished { recipe, train, val, test, dataset, .. } = *self.of;
        // The features of the training pictures are the frozen network's; so must the others' be.
        if recipe.fresh_views || recipe.trains_network() {
            return None;
        }
        let other = if test.samples.is_empty() { val } else { test };
        let strength = self.answer().logistic.as_ref().map_or(0.1, |own| own.strength);
        let views = recipe.views.max(1) as usize;
        let classes = (dataset.classes().len(), strength);
        LearningCurve::measure(train.table, views, other.table, classes, recipe.seed)
    }

    fn learned(&self, curve: &LearningCurve, title: &str) -> Section {
        let line_of = |of: fn(&crate::learning_curve::Point) -> f64| -> Vec<(f64, f64)> {
            curve.points.iter().map(|own| (own.pictures as f64, of(own))).collect()
        };
        let line = |label: &str, style, of| Line {
            style,
            dots: style == Style::Solid,
            ..Line::new(label, colour::BLUE, line_of(of))
        };
        let figure = Figure {
            title: title.into(),
            subtitle: format!(
                "logistic regression on its features, measured on {} pictures",
                curve.measured
            ),
            x_label: "training pictures".into(),
            x_scale: Scale::Log,
            panels: vec![Panel {
                title: "Accuracy".into(),
                height: 220.0,
                lines: vec![
                    line("mean of three draws (all pictures: one)", Style::Solid, |own| {
                        own.accuracy
                    }),
                    line("lowest and highest", Style::Dashed, |own| own.range.0),
                    line("", Style::Dashed, |own| own.range.1),
                ],
                ..Panel::default()
            }],
            ..Figure::default()
        };
        let text = match curve.outlook() {
            Some(own) if own.last > own.noise => format!(
                "From half of the pictures to all, accuracy rose by {}. If errors go on shrinking at that rate, twice as many bring at most {} more.",
                points(own.last),
                points(own.next)
            ),
            Some(own) if own.noise > 0.05 => format!(
                "From half of the pictures to all, accuracy changed by {}. With {} pictures to measure on, less than {} may be chance, so that this does not tell.",
                points(own.last),
                curve.measured,
                points(own.noise)
            ),
            Some(own) => format!(
                "From half of the pictures to all, accuracy changed by {}, no more than chance ({}): more pictures of the same kind would hardly help. Other ones may: other people, places, light.",
                points(own.last),
                points(own.noise)
            ),
            None => "Too few pictures to say what more of them would bring.".into(),
        };
        let chart = Chart {
            svg: figure.draw().svg().to_owned(),
            alt: text.clone(),
            caption: "With the features of the frozen network; fine-tuning gains more from more pictures.".into(),
        };
        let blocks = vec![Block::Text(text), Block::Chart(chart)];
        section("learning-curve", "Would more pictures help?", "", blocks)
    }

    fn data(&self) -> Section {
        let Finished { dataset, train, val, test, .. } = *self.of;
        let counts = [train, val, test].map(|part| dataset.counts(part.samples));
        let rows = dataset.classes().iter().enumerate().map(|(class, name)| {
            let mut row = vec![Cell::Text(name.into())];
            row.extend(counts.iter().map(|own| count(own[class])));
            row
        });
        let [trained, validated, tested] = counts.each_ref().map(|own| own.iter().sum::<usize>());
        let table = Table {
            caption: format!(
                "{trained} training, {validated} validation and {tested} test pictures"
            ),
            columns: columns(&[
                ("class", ColumnKind::Text),
                ("train", ColumnKind::Number),
                ("validation", ColumnKind::Number),
                ("test", ColumnKind::Number),
            ]),
            rows: rows.collect(),
            notes: format!("Validation is on {}.", self.answer().validated_on),
        };
        let answer = self.answer();
        let mut blocks = vec![Block::Table(table)];
        // What to do next says these.
        let said = ["drift:", "duplicates", "contradicting labels:"];
        let new = |own: &&Finding| !said.iter().any(|kind| own.reason.starts_with(kind));
        let remarks: Vec<Finding> = answer.remarks.iter().filter(new).cloned().collect();
        for (caption, findings) in [("Left out", &answer.unreadable), ("Remarks", &remarks)] {
            if findings.is_empty() {
                continue;
            }
            let row =
                |own: &Finding| vec![Cell::Text(own.path.clone()), Cell::Text(own.reason.clone())];
            let more = findings.len().saturating_sub(LISTED);
            blocks.push(Block::Table(Table {
                caption: caption.into(),
                columns: columns(&[("what", ColumnKind::Text), ("why", ColumnKind::Text)]),
                rows: findings.iter().take(LISTED).map(row).collect(),
                notes: if more > 0 {
                    format!("and {more} more: result.json")
                } else {
                    String::new()
                },
            }));
        }
        section("data", "Data and splits", "", blocks)
    }

    fn curves(&self) -> Vec<Section> {
        let read = |name: &str| std::fs::read_to_string(self.of.folder.join(name)).ok();
        let chart = |svg: String, alt: &str, caption: &str| {
            Block::Chart(Chart { svg, alt: alt.into(), caption: caption.into() })
        };
        let mut sections = Vec::new();
        if let Some(svg) = read("curves.svg") {
            let alt = match (self.epochs.first(), self.epochs.last()) {
                (Some(first), Some(last)) => format!(
                    "Loss and accuracy over {} epochs: the validation loss goes from {:.3} to {:.3}.",
                    self.epochs.len(),
                    first.val_loss.unwrap_or(f64::NAN),
                    last.val_loss.unwrap_or(f64::NAN)
                ),
                _ => "Loss and accuracy over the epochs.".into(),
            };
            let blocks = vec![chart(svg, &alt, "")];
            sections.push(section("curves", "How training went", "", blocks));
        }
        let found = [("lr_find.svg", "of the head"), ("fine-tune/lr_find.svg", "of fine-tuning")];
        let found: Vec<Block> = found
            .into_iter()
            .filter_map(|(file, of)| {
                let alt = format!("Loss against the learning rate {of}, with the rate chosen.");
                Some(chart(read(file)?, &alt, ""))
            })
            .collect();
        if !found.is_empty() {
            sections.push(section("learning-rate", "Search for the learning rate", "", found));
        }
        sections
    }

    fn details(&self) -> Section {
        let Finished { folder, dataset, .. } = *self.of;
        let answer = self.answer();
        let (model, digest) = ("model".to_owned(), sha256(&folder.join("model.safetensors")));
        let seconds = |s: f64| format!("{s:.1} s");
        let mut facts = vec![
            ("network".into(), answer.model.clone()),
            ("its weights".into(), answer.weights.clone()),
            ("head".into(), answer.head.clone()),
            ("parameters".into(), thousands(answer.parameters.all.total as u64)),
            ("of these trained".into(), thousands(answer.parameters.all.trainable as u64)),
            ("seed".into(), answer.seed.to_string()),
            (
                "computed on".into(),
                format!("{}, {}, {}", answer.device, answer.kernels, answer.precision),
            ),
            (
                "time".into(),
                format!(
                    "{}: features {}, head {}",
                    seconds(answer.total_seconds),
                    seconds(answer.feature_seconds),
                    seconds(answer.head_seconds)
                ),
            ),
            ("fingerprint of the data".into(), dataset.fingerprint()),
            ("program".into(), format!("Taper {}", env!("CARGO_PKG_VERSION"))),
        ];
        facts.extend(digest.map(|digest| (model, format!("SHA-256 {digest}"))));
        let recipe = std::fs::read_to_string(folder.join("recipe.toml")).unwrap_or_default();
        let blocks = vec![
            Block::Facts(facts),
            Block::Code { caption: "recipe.toml repeats it".into(), text: recipe },
        ];
        section("details", "Network, recipe, versions", "", blocks)
    }
}

/// What says on a command line which data a recipe has, and how they are read.
fn data_options(recipe: &Recipe) -> String {
    let own = &recipe.source;
    let layout = serde_json::to_value(own.layout).ok();
    let layout = layout.and_then(|layout| layout.as_str().map(str::to_owned));
    let given = [
        ("--layout", layout.filter(|layout| layout != "auto")),
        ("--label-from", own.label_from.clone()),
        ("--image-column", own.image_column.clone()),
        ("--label-column", own.label_column.clone()),
        ("--split-column", own.split_column.clone()),
        ("--group-column", own.group_column.clone()),
        ("--max-pixels", own.max_pixels.map(|most| most.to_string())),
    ];
    let given = given.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let options = given.map(|(flag, value)| format!(" {flag} {}", quoted(&value)));
    format!("--data {}{}", quoted(&recipe.data), options.collect::<String>())
}

/// By which share the loss fell in a search for the learning rate, from its start to its lowest.
fn fall(found: &Value) -> Option<f64> {
    let losses = found["curves"].as_array()?.iter().filter_map(|curve| {
        let losses = curve["smoothed"].as_array()?;
        let losses: Vec<f64> = losses.iter().filter_map(Value::as_f64).collect();
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let first = losses.first().filter(|first| **first > 0.0)?;
        Some((first - lowest) / first)
    });
    losses.min_by(f64::total_cmp)
}

fn sha256(path: &Path) -> Option<String> {
    let content = std::fs::read(path).ok()?;
    Some(taper_core::hex(&<sha2::Sha256 as sha2::Digest>::digest(content)))
}

/// The number of pictures of a data set that a page shows.
pub(crate) fn room(dataset: &Dataset) -> usize {
    (dataset.len() / ONE_OF).clamp(LEAST, MOST)
}
