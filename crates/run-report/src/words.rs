//! Figures and lists in words.

/// `98.7 %`, with a space at which no line ends.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// A difference of shares, `1.3 points`.
pub(crate) fn points(difference: f64) -> String {
    format!("{:.1}\u{a0}points", 100.0 * difference)
}

/// `1 picture is`, `3 pictures are`.
pub(crate) fn plural(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// At most eight of them.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// A text as one word of a command line of a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Wilson's 95 % interval of a share of `n` (Wilson 1927, "Probable inference, the law of
/// succession, and statistical inference").
pub(crate) fn wilson(share: f64, n: u64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let n = n.max(1) as f64;
    let centre = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - reach) / scale).max(0.0), ((centre + reach) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_stay_whole() {
        assert_eq!(quoted("a/b-1.txt"), "a/b-1.txt");
        assert_eq!(quoted("my pictures"), "'my pictures'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }

    #[test]
    fn intervals_are_wilsons() {
        // scipy.stats.binomtest(357, 372).proportion_ci(method="wilson")
        let (low, high) = wilson(357.0 / 372.0, 372);
        assert!((low - 0.934_544_024_6).abs() < 1e-9, "{low}");
        assert!((high - 0.975_414_129_3).abs() < 1e-9, "{high}");
    }
}
