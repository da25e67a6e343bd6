//! Columns that say which pictures belong together: those of one patient, session or clip.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{sets::listed, splits::words_of};

/// Words for what several pictures are taken of, or in one go: pictures of one of them are alike.
const THINGS: [&str; 54] = [
    "group",
    "groups",
    "patient",
    "pat",
    "subject",
    "subj",
    "participant",
    "proband",
    "person",
    "individual",
    "animal",
    "donor",
    "volunteer",
    "speaker",
    "writer",
    "user",
    "identity",
    "session",
    "visit",
    "encounter",
    "admission",
    "study",
    "exam",
    "examination",
    "case",
    "lesion",
    "nodule",
    "tumor",
    "tumour",
    "specimen",
    "biopsy",
    "slide",
    "scan",
    "series",
    "sequence",
    "seq",
    "clip",
    "video",
    "movie",
    "episode",
    "recording",
    "scene",
    "shot",
    "burst",
    "track",
    "trial",
    "sample",
    "wsi",
    "accession",
    "tissue",
    "mouse",
    "plant",
    "tree",
    "household",
];
/// Words for where, by whom and with what pictures are taken: those of one of them may be alike.
const PLACES: [&str; 22] = [
    "site",
    "location",
    "place",
    "station",
    "hospital",
    "clinic",
    "centre",
    "center",
    "institution",
    "camera",
    "cam",
    "device",
    "scanner",
    "sensor",
    "machine",
    "batch",
    "plot",
    "field",
    "farm",
    "photographer",
    "observer",
    "annotator",
];
/// Words that name nothing more beside such a one: `patient_id`, `Subject No.`.
const NUMBERS: [&str; 18] = [
    "id", "ids", "no", "nr", "num", "number", "name", "code", "key", "uid", "uuid", "guid", "idx",
    "index", "hash", "ref", "anon", "instance",
];

/// What a column says about pictures that belong together, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Pictures with the same value do: `patient_id`, `session`, `group`.
    Thing,
    /// They may: `site`, `camera`.
    Place,
}

/// What a column says about groups, by its name.
pub fn kind_of(name: &str) -> Option<Kind> {
    let mut words = words_of(name);
    // `patientid`, `PATIENTID`.
    if let [word] = words.as_slice()
        && let Some(short) = ["id", "uid", "no"].iter().find_map(|end| word.strip_suffix(end))
        && (THINGS.contains(&short) || PLACES.contains(&short))
    {
        words = vec![short.to_owned()];
    }
    words.retain(|word| !NUMBERS.contains(&&**word));
    match words.as_slice() {
        [word] if THINGS.contains(&&**word) => Some(Kind::Thing),
        [word] if PLACES.contains(&&**word) => Some(Kind::Place),
        [word] if matches!(&**word, "pid" | "mrn") => Some(Kind::Thing),
        _ => None,
    }
}

/// The group that a value of such a column names: in small letters and without blanks around it,
/// whole numbers in one form (`7`, `07` and `7.0` are one group); none if it means that nothing is
/// known.
pub fn group_of(value: &str) -> Option<String> {
    const NONE: [&str; 12] =
        ["na", "n/a", "#n/a", "<na>", "nan", "none", "null", "nil", "unknown", "missing", "?", "-"];
    /// Larger numbers are not exact as floating-point numbers.
    const EXACT: f64 = 9e15;
    let plain = value.trim().to_lowercase();
    if plain.is_empty() || NONE.contains(&plain.as_str()) {
        return None;
    }
    let numeric = plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    match plain.parse::<f64>() {
        Ok(number) if numeric && number.fract() == 0.0 && number.abs() < EXACT => {
            Some(format!("{number:.0}"))
        }
        _ => Some(plain),
    }
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its label.
    pub label: &'a str,
    /// The split that it is given, if any.
    pub split: Option<&'a str>,
    /// The names of its columns that say groups, and the [groups](group_of).
    pub groups: &'a [(std::sync::Arc<str>, String)],
}

/// Which column says the groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The one that looks like it.
    #[default]
    Auto,
    /// None: the pictures are independent.
    Off,
    /// None: something else says them.
    Elsewhere,
    /// This one.
    Column(&'a str),
}

/// A column that says groups, and what its values come to.
struct Candidate<'a> {
    name: &'a str,
    kind: Option<Kind>,
    /// By row: the value, if there is one.
    values: Vec<Option<&'a str>>,
    different: usize,
    /// How many rows have a value.
    given: usize,
}

impl<'a> Candidate<'a> {
    fn of(name: &'a str, rows: &[Row<'a>]) -> Self {
        let value = |row: &Row<'a>| {
            let own = row.groups.iter().find(|(other, _)| &**other == name);
            own.map(|(_, value)| value.as_str())
        };
        let values: Vec<Option<&str>> = rows.iter().map(value).collect();
        let different = values.iter().flatten().collect::<BTreeSet<_>>().len();
        let given = values.iter().flatten().count();
        Self { name, kind: kind_of(name), values, different, given }
    }

    /// Whether it has several groups, and several pictures in one of them.
    fn repeats(&self) -> bool {
        (2..self.given).contains(&self.different)
    }

    /// Whether pictures with the same value in the other column always have the same one in this
    /// one: its groups hold those of the other.
    fn contains(&self, other: &Self) -> bool {
        let mut own: HashMap<&str, &str> = HashMap::new();
        self.values.iter().zip(&other.values).all(|pair| match pair {
            (Some(outer), Some(inner)) => *own.entry(inner).or_insert(outer) == *outer,
            (None, Some(_)) => false,
            _ => true,
        })
    }

    /// Whether it says the same as the labels: one group for each class.
    fn is_label(&self, rows: &[Row<'_>]) -> bool {
        let mut of_label: HashMap<&str, &str> = HashMap::new();
        let pairs = rows.iter().zip(&self.values);
        pairs
            .filter_map(|(row, value)| Some((row.label, (*value)?)))
            .all(|(label, value)| *of_label.entry(label).or_insert(value) == value)
            && of_label.len() == self.different
    }

    /// A remark about rows without a value.
    fn unknown(&self) -> Option<String> {
        let without = self.values.len() - self.given;
        (without > 0).then(|| {
            format!(
                "{without} picture(s) have no value in the column '{}', and each counts as a group of its own",
                self.name
            )
        })
    }

    /// A remark about groups that are in several splits, as these are given.
    fn across(&self, rows: &[Row<'_>]) -> Option<String> {
        let mut splits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (row, value) in rows.iter().zip(&self.values) {
            if let (Some(split), Some(value)) = (row.split, value) {
                splits.entry(value).or_default().insert(split);
            }
        }
        let mut torn = splits.iter().filter(|(_, splits)| splits.len() > 1);
        let (example, own) = torn.next()?;
        let own: Vec<&str> = own.iter().copied().collect();
        Some(format!(
            "{} of {} values of the column '{}', such as '{example}', have pictures in several splits ({}), as the data give them: if such pictures are alike, the figures on them are too good",
            torn.count() + 1,
            splits.len(),
            self.name,
            own.join(", ")
        ))
    }
}

fn names_of<'a>(columns: &[&Candidate<'a>]) -> Vec<&'a str> {
    columns.iter().map(|column| column.name).collect()
}

/// Decides which column says the groups of the pictures, if any does, with remarks; `trains` if
/// splits may be drawn, so that it must be clear.
///
/// # Errors
/// Says what is wrong: several columns could be meant, or the one that was asked for is none.
pub fn choose(
    rows: &[Row<'_>],
    choice: Choice<'_>,
    trains: bool,
    remarks: &mut Vec<String>,
) -> Result<Option<String>, String> {
    let names: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.groups).map(|(name, _)| &**name).collect();
    let all: Vec<Candidate<'_>> = names.iter().map(|name| Candidate::of(name, rows)).collect();
    if let Choice::Column(wanted) = choice {
        return match all.first() {
            Some(one) if one.different < one.given => {
                remarks.extend(one.unknown());
                remarks.extend(one.across(rows));
                Ok(Some(one.name.to_owned()))
            }
            Some(one) => Err(format!(
                "every value in the column '{}' is another, so that it keeps no pictures together: name another column with `group_column`",
                one.name
            )),
            None => Err(format!(
                "the column '{wanted}' has no values, so that it keeps no pictures together: name another one with `group_column`"
            )),
        };
    }
    let repeating: Vec<&Candidate<'_>> = all.iter().filter(|one| one.repeats()).collect();
    let of = |kind| repeating.iter().copied().filter(move |one| one.kind == Some(kind));
    let (labels, things): (Vec<_>, Vec<_>) = of(Kind::Thing).partition(|one| one.is_label(rows));
    if choice == Choice::Off {
        if trains && repeating.is_empty() {
            return Err("no column looks like groups of pictures that belong together: leave `group_column` out".into());
        }
        remarks.extend(things.iter().filter_map(|one| one.across(rows)));
        return Ok(None);
    }
    if choice == Choice::Elsewhere {
        if !things.is_empty() {
            remarks.push(format!(
                "{} could say which pictures belong together, and {} not used, since `group_by` says it",
                listed(&names_of(&things)),
                if things.len() == 1 { "is" } else { "are" }
            ));
        }
        return Ok(None);
    }
    if trains && !labels.is_empty() {
        remarks.push(format!(
            "{} could say which pictures belong together, but there is one value for each class, so that it keeps none together",
            listed(&names_of(&labels))
        ));
    }
    let outermost = |one: &&&Candidate<'_>| things.iter().all(|other| one.contains(other));
    if !trains {
        remarks.extend(things.iter().filter_map(|one| one.across(rows)));
        return Ok(things.iter().find(outermost).map(|one| one.name.to_owned()));
    }
    let chosen = match things.iter().find(outermost) {
        _ if things.is_empty() => None,
        Some(one) => Some(*one),
        None => {
            let names: Vec<String> = things.iter().map(|one| format!("'{}'", one.name)).collect();
            return Err(format!(
                "{} could all say which pictures belong together, so that they are never drawn into different splits: say which with `group_column`, or none if the pictures are independent",
                names.join(", ")
            ));
        }
    };
    if let Some(one) = chosen {
        remarks.push(format!(
            "pictures with the same value in the column '{}' are kept together when splits are drawn ({} groups); `group_column` none, or another column, says otherwise",
            one.name, one.different
        ));
        remarks.extend(one.unknown());
        remarks.extend(one.across(rows));
    }
    // Those of one place that hold no more than the groups do say nothing new.
    let places: Vec<&Candidate<'_>> = of(Kind::Place).filter(|one| !one.is_label(rows)).collect();
    let places: Vec<&Candidate<'_>> = places
        .into_iter()
        .filter(|one| chosen.is_none_or(|chosen| !chosen.contains(one)))
        .collect();
    if !places.is_empty() {
        remarks.push(format!(
            "{} may say which pictures are alike, and {} not used; if pictures with the same value must not be in different splits, name the column with `group_column`",
            listed(&names_of(&places)),
            if places.len() == 1 { "is" } else { "are" }
        ));
    }
    Ok(chosen.map(|one| one.name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What is decided for a table of lines such as `label split value value`, and the remarks.
    fn of(
        names: &str,
        lines: &[&str],
        choice: Choice<'_>,
    ) -> (Result<Option<String>, String>, String) {
        let names: Vec<Arc<str>> = names.split(' ').map(Arc::from).collect();
        let fields: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let groups: Vec<Vec<(Arc<str>, String)>> = fields
            .iter()
            .map(|fields| {
                let values = fields[2..].iter().map(|value| (*value).to_owned());
                names.iter().cloned().zip(values).filter(|(_, value)| value != "-").collect()
            })
            .collect();
        let rows: Vec<Row<'_>> = fields
            .iter()
            .zip(&groups)
            .map(|(fields, groups)| Row {
                label: fields[0],
                split: Some(fields[1]).filter(|split| *split != "-"),
                groups,
            })
            .collect();
        let mut remarks = Vec::new();
        let chosen = choose(&rows, choice, true, &mut remarks);
        (chosen, remarks.join("\n"))
    }

    #[test]
    fn columns_of_groups_are_known_by_their_names() {
        for name in [
            "group",
            "Group ID",
            "patient_id",
            "PatientID",
            "patientid",
            "subject",
            "Subject No.",
            "lesion_id",
            "session",
            "clip",
            "video_name",
            "participant",
            "pid",
            "StudyInstanceUID",
        ] {
            assert_eq!(kind_of(name), Some(Kind::Thing), "{name}");
        }
        for name in ["site", "camera_id", "Hospital", "batch no"] {
            assert_eq!(kind_of(name), Some(Kind::Place), "{name}");
        }
        for name in ["id", "label", "image_id", "patient_age", "case_type", "age", "sex", "", "no"]
        {
            assert_eq!(kind_of(name), None, "{name}");
        }
    }

    #[test]
    fn spellings_of_one_group_are_one() {
        for [a, b] in [["7", "7.0"], ["P1", " p1 "], ["007", "7"], ["-3", "-3.0"], ["a.b", "A.B"]] {
            assert!(group_of(a).is_some() && group_of(a) == group_of(b), "{a} and {b}");
        }
        for [a, b] in [["7", "7.5"], ["p1", "p10"], ["1e2", "100"], ["2021-01-01", "2021-01-02"]] {
            assert_ne!(group_of(a), group_of(b), "{a} and {b}");
        }
        // Too large to be exact.
        assert_ne!(group_of("12345678901234567891"), group_of("12345678901234567892"));
        for none in ["", " ", "NA", "n/a", "NaN", "None", "unknown", "-"] {
            assert_eq!(group_of(none), None, "{none}");
        }
    }

    #[test]
    fn one_column_that_repeats_values_is_used_with_a_remark() {
        let lines = ["x - p1 1", "y - p1 2", "x - p2 3", "y - p3 4", "y - - 5"];
        let (chosen, remarks) = of("patient case_id", &lines, Choice::Auto);
        assert_eq!(chosen, Ok(Some("patient".into())));
        assert!(
            remarks.contains("'patient'") && remarks.contains("`group_column` none"),
            "{remarks}"
        );
        assert!(remarks.contains("1 picture(s) have no value"), "{remarks}");
        // One that is different or the same in all rows is none.
        for lines in [["x - 1", "y - 2", "x - 3"], ["x - 1", "y - 1", "x - 1"]] {
            assert_eq!(of("patient", &lines, Choice::Auto), (Ok(None), String::new()));
        }
        // Nor is one that says the same as the labels.
        let (chosen, remarks) = of("person", &["x - a", "x - a", "y - b"], Choice::Auto);
        assert_eq!(chosen, Ok(None));
        assert!(remarks.contains("'person'") && remarks.contains("each class"), "{remarks}");
        // Where pictures are taken is only remarked.
        let (chosen, remarks) = of("camera", &["x - a", "y - a", "y - b"], Choice::Auto);
        assert_eq!(chosen, Ok(None));
        assert!(remarks.contains("'camera'") && remarks.contains("`group_column`"), "{remarks}");
    }

    #[test]
    fn of_several_columns_the_one_that_holds_the_others_is_used() {
        let nested = ["x - p1 s1", "y - p1 s2", "x - p2 s3", "y - p2 s3"];
        let (chosen, _) = of("patient lesion", &nested, Choice::Auto);
        assert_eq!(chosen, Ok(Some("patient".into())));
        let crossed = ["x - p1 s1", "y - p1 s2", "x - p2 s2", "y - p2 s1"];
        let (chosen, _) = of("patient session", &crossed, Choice::Auto);
        let problem = chosen.unwrap_err();
        assert!(problem.contains("'patient', 'session'") && problem.contains("`group_column`"));
        let (chosen, remarks) = of("patient session", &crossed, Choice::Elsewhere);
        assert_eq!(chosen, Ok(None));
        assert!(remarks.contains("'patient', 'session'") && remarks.contains("`group_by`"));
        assert_eq!(of("patient session", &crossed, Choice::Off), (Ok(None), String::new()));
    }

    #[test]
    fn groups_in_several_given_splits_are_remarked() {
        let torn = ["x train p1", "y train p2", "x test p1", "y test p3"];
        for choice in [Choice::Auto, Choice::Off, Choice::Column("patient")] {
            let (_, remarks) = of("patient", &torn, choice);
            assert!(remarks.contains("1 of 3 values") && remarks.contains("'p1'"), "{remarks}");
        }
        let (_, remarks) = of("patient", &["x train p1", "y train p1", "x test p2"], Choice::Auto);
        assert!(!remarks.contains("several splits"), "{remarks}");
    }

    #[test]
    fn what_was_asked_for_and_keeps_nothing_together_is_refused() {
        let lines = ["x - 1", "y - 2", "x - 3"];
        assert!(of("patient", &lines, Choice::Column("patient")).0.unwrap_err().contains("every"));
        let lines = ["x - -", "y - -"];
        assert!(
            of("patient", &lines, Choice::Column("patient")).0.unwrap_err().contains("no values")
        );
        assert!(of("patient", &lines, Choice::Off).0.unwrap_err().contains("leave"));
    }
}
