//! Times as they are given.

/// A number with its unit, `90s`, `10m` or `2h`.
pub(crate) fn time(text: &str) -> Result<humantime::Duration, String> {
    let parsed = text.parse::<humantime::Duration>();
    parsed.map_err(|_| "it is no time: use a number with its unit, such as 90s, 10m or 2h".into())
}
