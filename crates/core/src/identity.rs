use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Everything that determines a result, as a digest: the keys of caches and checkpoints.
///
/// The form is canonical: a domain with a version, then named fields, each with its length, so that
/// no two lists of fields concatenate to the same bytes. Structures are added as JSON with sorted
/// keys, never in Rust's `Debug` format: renaming a type changes nothing, changing a value or a
/// field does. Raise the version when the same fields come to mean a different result.
///
/// ```
/// use taper_core::Identity;
/// let rows = Identity::new("taper/rows", 1).text("network", "resnet50").number("size", 224);
/// let others = Identity::new("taper/rows", 2).text("network", "resnet50").number("size", 224);
/// assert_ne!(rows.finish(), others.finish());
/// ```
#[derive(Debug, Clone)]
pub struct Identity(Sha256);

impl Identity {
    /// Starts with what is identified, and the version of its form.
    pub fn new(domain: &str, version: u64) -> Self {
        Self(Sha256::new()).bytes(domain, &version.to_le_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, field: &str, value: &[u8]) -> Self {
        for part in [field.as_bytes(), value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, field: &str, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, field: &str, value: u64) -> Self {
        self.bytes(field, &value.to_le_bytes())
    }

    /// Adds numbers by their bits, including the sign of a zero and the payload of a NaN.
    #[must_use]
    pub fn floats(mut self, field: &str, values: &[f32]) -> Self {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
        self.0.update((4 * values.len() as u64).to_le_bytes());
        let mut buffer = [0; 4 << 10];
        for part in values.chunks(buffer.len() / 4) {
            for (bytes, value) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(part) {
                *bytes = value.to_le_bytes();
            }
            self.0.update(&buffer[..4 * part.len()]);
        }
        self
    }

    /// Adds a structure, as JSON with sorted keys.
    #[must_use]
    pub fn structure(self, field: &str, value: &impl Serialize) -> Self {
        let mut text = String::new();
        match serde_json::to_value(value) {
            Ok(value) => canonical(&value, &mut text),
            // Only a map whose keys are not strings can fail, and Taper has none.
            Err(error) => text = error.to_string(),
        }
        self.text(field, &text)
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (name, value) in fields {
                canonical(&Value::from(name.as_str()), out);
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for value in values {
                canonical(value, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[derive(Serialize)]
    struct Settings {
        rate: f32,
        name: &'static str,
    }

    #[derive(Serialize)]
    struct Reordered {
        name: &'static str,
        rate: f32,
    }

    #[test]
    fn the_form_is_the_promised_one() {
        // printf '\x08\0\0\0\0\0\0\0taper/xx\x08\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0' and so on,
        // through sha256sum.
        let mut hash = Sha256::new();
        hash.update(b"\x08\0\0\0\0\0\0\0taper/xx\x08\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
        hash.update(b"\x01\0\0\0\0\0\0\0s\x18\0\0\0\0\0\0\0{\"name\":\"a\",\"rate\":0.5,}");
        let expected: Digest = hash.finalize().into();
        let settings = Settings { rate: 0.5, name: "a" };
        let identity = Identity::new("taper/xx", 3).structure("s", &settings).finish();
        assert_eq!(hex(&identity), hex(&expected));
    }

    #[test]
    fn order_of_declaration_and_names_of_types_do_not_count_and_values_do() {
        let of = |s: &dyn Fn(Identity) -> Identity| s(Identity::new("x", 1)).finish();
        let a = of(&|i| i.structure("s", &Settings { rate: 0.1, name: "n" }));
        assert_eq!(a, of(&|i| i.structure("s", &Reordered { name: "n", rate: 0.1 })));
        assert_ne!(a, of(&|i| i.structure("s", &Settings { rate: 0.2, name: "n" })));
        assert_ne!(a, of(&|i| i.structure("t", &Settings { rate: 0.1, name: "n" })));
    }

    #[test]
    fn fields_do_not_run_together() {
        let of = |a: &str, b: &str| Identity::new("x", 1).text("a", a).text("b", b).finish();
        assert_ne!(of("1", "23"), of("12", "3"));
        let long: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        let bytes: Vec<u8> = long.iter().flat_map(|v| v.to_le_bytes()).collect();
        let new = || Identity::new("x", 1);
        assert_eq!(new().floats("v", &long).finish(), new().bytes("v", &bytes).finish());
    }
}
