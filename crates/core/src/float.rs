//! f64 values that survive JSON.
//!
//! JSON has no NaN and no infinities, and `serde_json` writes `null` for them. State that is saved
//! and read back, such as a checkpoint, must keep them: these modules write the strings `"nan"`,
//! `"inf"` and `"-inf"`, and plain numbers otherwise. `null` is read as NaN. For finite numbers to
//! be read back bit for bit, `serde_json` needs its feature `float_roundtrip`.
//!
//! ```
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct State {
//!     #[serde(with = "taper_core::float")]
//!     loss: f64,
//!     #[serde(with = "taper_core::float::option")]
//!     best: Option<f64>,
//! }
//! let json = serde_json::to_string(&State { loss: f64::NAN, best: None })?;
//! assert_eq!(json, r#"{"loss":"nan","best":null}"#);
//! assert!(serde_json::from_str::<State>(&json)?.loss.is_nan());
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// One f64 in the form that this module writes, for use inside collections.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Float(pub f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if value.is_finite() {
            serializer.serialize_f64(value)
        } else if value.is_nan() {
            serializer.serialize_str("nan")
        } else {
            serializer.serialize_str(if value > 0.0 { "inf" } else { "-inf" })
        }
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNumber;
        impl Visitor<'_> for AnyNumber {
            type Value = Float;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a number, "nan", "inf", "-inf" or null"#)
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Float, E> {
                Ok(Float(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Float, E> {
                Ok(Float(value as f64))
            }
            fn visit_unit<E: Error>(self) -> Result<Float, E> {
                Ok(Float(f64::NAN))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Float, E> {
                match value {
                    "nan" => Ok(Float(f64::NAN)),
                    "inf" => Ok(Float(f64::INFINITY)),
                    "-inf" => Ok(Float(f64::NEG_INFINITY)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(AnyNumber)
    }
}

/// Writes one value.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Float(*value).serialize(serializer)
}

/// Reads one value.
///
/// # Errors
/// Those of the deserializer, or if it is neither a number nor one of the names.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Float::deserialize(deserializer).map(|f| f.0)
}

/// The same for `Option<f64>`: none is `null`.
pub mod option {
    use super::{Deserialize, Deserializer, Float, Serialize, Serializer};

    /// Writes a value or `null`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Float).serialize(serializer)
    }

    /// Reads a value or `null`.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Float>::deserialize(deserializer)?.map(|f| f.0))
    }
}

/// The same for `Vec<f64>`.
pub mod vec {
    use super::{Deserialize, Deserializer, Float, Serializer};

    /// Writes all values.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().copied().map(Float))
    }

    /// Reads all values.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Float>::deserialize(deserializer)?.into_iter().map(|f| f.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Float;

    #[test]
    fn every_kind_of_number_comes_back() {
        for value in [0.0, -0.0, 0.1, 1e300, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY] {
            let json = serde_json::to_string(&Float(value)).unwrap();
            let back: Float = serde_json::from_str(&json).unwrap();
            assert_eq!(back.0.to_bits(), value.to_bits(), "{json}");
        }
        assert!(serde_json::from_str::<Float>("null").unwrap().0.is_nan());
        assert_eq!(serde_json::from_str::<Float>("3").unwrap().0, 3.0);
        assert_eq!(serde_json::from_str::<Float>("-3").unwrap().0, -3.0);
        assert!(serde_json::from_str::<Float>("\"much\"").is_err());
    }

    /// The default parser of `serde_json` is off by one unit in the last place for numbers such as
    /// these.
    #[test]
    fn numbers_come_back_to_the_bit() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = f64::from_bits(state);
            if value.is_finite() {
                let json = serde_json::to_string(&Float(value)).unwrap();
                let back: Float = serde_json::from_str(&json).unwrap();
                assert_eq!(back.0.to_bits(), value.to_bits(), "{json}");
            }
        }
    }
}
