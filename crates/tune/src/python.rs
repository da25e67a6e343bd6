//! JSON as Python writes it: with the words `NaN`, `Infinity` and `-Infinity` for numbers.

use serde_json::Value;

/// Reads a JSON text. Where numbers have the names that JSON does not know, texts stand in their
/// place, which [`number`] understands.
pub(crate) fn from_json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|error| match quoted(text) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    })
}

/// The text with such names in quotation marks, if there are any.
fn quoted(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped, mut found) = (false, false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let name = ["NaN", "Infinity", "-Infinity"].into_iter().find(|n| rest.starts_with(n));
        if let Some(name) = name.filter(|_| !in_string) {
            out.extend(["\"", name, "\""]);
            rest = &rest[name.len()..];
            found = true;
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    found.then_some(out)
}

/// A number, if it is one, including those that JSON does not know.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(name) => match name.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number as Python's `json` writes it, to the bit.
pub(crate) fn written(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_read_outside_of_texts_only() {
        let text = r#"{"a": [NaN, -Infinity, 1e-05], "NaN \" \\": "Infinity ü", "c": Infinity}"#;
        let value = from_json(text).unwrap();
        assert!(number(&value["a"][0]).unwrap().is_nan());
        assert_eq!(number(&value["a"][1]), Some(f64::NEG_INFINITY));
        assert_eq!(number(&value["a"][2]), Some(1e-5));
        assert_eq!(value["NaN \" \\"], "Infinity ü");
        assert_eq!(number(&value["c"]), Some(f64::INFINITY));
        assert!(from_json(r#"{"a": Nan}"#).is_err());
        for value in [0.1, 3.0, 1e300, 5e-324, -1e-7, f64::INFINITY] {
            let back = from_json(&written(value)).unwrap();
            assert_eq!(number(&back).unwrap().to_bits(), value.to_bits());
        }
    }
}
