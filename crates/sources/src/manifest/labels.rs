//! Several labels for one picture: refused by that name.

use std::collections::{HashMap, HashSet};

use crate::rows::Row;

/// The message.
pub(crate) fn refusal(label: &str) -> String {
    format!(
        "{label} are several labels for one picture (multi-label), which is not supported: keep one label for each picture"
    )
}

/// A list of a single label is that label: `["cat"]`, `['cat']`.
pub(super) fn single(label: String) -> String {
    let inner = label.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let Some(inner) = inner.filter(|inner| !inner.contains(',')) else { return label };
    let quoted = |quote: char| inner.trim().strip_prefix(quote)?.strip_suffix(quote);
    match quoted('"').or_else(|| quoted('\'')) {
        Some(inner) if !inner.trim().is_empty() => inner.trim().to_owned(),
        _ => label,
    }
}

/// The line of the first row with several labels, and what to say about it: a list in brackets;
/// names between `|` or `;` of which one occurs in another label too; names between commas of which
/// one is also a class of its own, or of which one is part of most labels when all are such lists.
pub(super) fn several(rows: &[Row], lines: &[u64]) -> Option<(u64, String)> {
    let classes: HashSet<&str> = rows.iter().map(|row| row.class.trim()).collect();
    let parts = |class: &str, separator: char| -> Vec<String> {
        let parts: Vec<String> = class.split(separator).map(|part| part.trim().into()).collect();
        if parts.len() < 2 || parts.iter().any(String::is_empty) { Vec::new() } else { parts }
    };
    let mut uses: HashMap<(char, String), usize> = HashMap::new();
    for class in &classes {
        for separator in SEPARATORS {
            for part in parts(class, separator) {
                *uses.entry((separator, part)).or_default() += 1;
            }
        }
    }
    // A blank behind the comma is how names are written: Smith, Ann.
    let is_list = |class: &&str| !parts(class, ',').is_empty() && !class.contains(", ");
    let lists = classes.len() > 1 && classes.iter().all(is_list);
    let frequent = |part: &str| 2 * uses[&(',', part.to_owned())] > classes.len();
    let is_several = |class: &str| {
        let bracketed = class.starts_with('[') && class.ends_with(']') && class.contains(',');
        bracketed
            || SEPARATORS.into_iter().any(|separator| {
                parts(class, separator).into_iter().any(|part| {
                    classes.contains(part.as_str())
                        || (separator == ',' && lists && frequent(&part))
                        || (separator != ',' && uses[&(separator, part)] > 1)
                })
            })
    };
    let seen: HashSet<&str> = classes.iter().copied().filter(|class| is_several(class)).collect();
    let at = rows.iter().position(|row| seen.contains(row.class.trim()))?;
    Some((lines[at], refusal(&format!("'{}'", rows[at].class))))
}

/// What people put between several labels.
const SEPARATORS: [char; 3] = ['|', ';', ','];
