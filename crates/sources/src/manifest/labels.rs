//! Several labels for one picture: refused by that name.

use std::collections::HashSet;

use crate::rows::Row;

/// The message.
pub(super) fn refusal(label: &str) -> String {
    format!(
        "{label} are several labels for one picture (multi-label), which is not supported: keep one label for each picture"
    )
}

/// The line of the first row with several labels, and what to say about it: a list in brackets, or
/// names between `|`, `;` or `,` each of which is also a class of its own.
pub(super) fn several(rows: &[Row], lines: &[u64]) -> Option<(u64, String)> {
    let classes: HashSet<&str> = rows.iter().map(|row| row.class.trim()).collect();
    let is_several = |class: &str| {
        let class = class.trim();
        let bracketed = class.starts_with('[') && class.ends_with(']') && class.contains(',');
        bracketed
            || ['|', ';', ','].into_iter().any(|separator| {
                class.contains(separator)
                    && class.split(separator).all(|part| classes.contains(part.trim()))
            })
    };
    let seen: HashSet<&str> = classes.iter().copied().filter(|class| is_several(class)).collect();
    let at = rows.iter().position(|row| seen.contains(row.class.trim()))?;
    Some((lines[at], refusal(&format!("'{}'", rows[at].class))))
}
