use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{Error, Graph, ParameterKind, Result};

/// Something that holds named tensors: a file, an embedded blob, a map.
pub trait WeightSource {
    /// All names, in any order.
    fn names(&self) -> Vec<&str>;

    /// The shape of a tensor, if it is there.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// The values of a tensor in row-major order as 32-bit floats, if it is there.
    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>>;

    /// What is not there of a tensor that is made of several, by the names that these have. Empty
    /// where a tensor is there, or is missing under its own name.
    fn lacking(&self, _name: &str) -> &[String] {
        &[]
    }
}

/// Named tensors in memory, ordered by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, or replaces it.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn insert(&mut self, name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape and values disagree");
        self.tensors.insert(name.into(), (shape, values));
    }

    /// Weights for `graph` by a fixed formula, bit for bit the same in any language: the basis of
    /// the parity tests.
    ///
    /// The value at flat index i of the tensor named `name` comes from u in [0, 1): with h the
    /// 32-bit FNV-1a hash of the name and x = h + i · 0x9E3779B9 (mod 2³²), u is the upper 24 bits
    /// of MurmurHash3's finaliser of x, over 2²⁴. Then, in 64-bit arithmetic and rounded to 32 bits
    /// at the end: weights (2u − 1) · √(6 / fan-in), so that the variance is 2 / fan-in (He et
    /// al.); scales 0.65 + 0.4u; running variances 0.75 + 0.5u; biases and running means 0.2 · (u −
    /// 0.5). Activations keep their size through ReLU networks of any depth, and the outputs depend
    /// visibly on every tensor. Only the names matter: a network with and without its classifier
    /// gets the same weights. `crates/testing/reference/seeded.py` does the same for timm's models.
    pub fn seeded(graph: &Graph) -> Self {
        let mut all = Self::new();
        for parameter in graph.parameters() {
            all.insert_seeded(parameter.name, parameter.shape, parameter.kind);
        }
        all
    }

    /// The same for tensors of any names and shapes; their role follows from the last part of the
    /// name, as in `seeded.py`.
    pub fn seeded_by_name(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut all = Self::new();
        for (name, shape) in tensors {
            let kind = match name.rsplit('.').next().unwrap_or_default() {
                "running_var" => ParameterKind::RunningVar,
                "running_mean" => ParameterKind::RunningMean,
                "bias" => ParameterKind::Bias,
                _ if shape.len() == 1 => ParameterKind::Scale,
                _ => ParameterKind::Weight,
            };
            all.insert_seeded(name, shape, kind);
        }
        all
    }

    fn insert_seeded(&mut self, name: String, shape: Vec<usize>, kind: ParameterKind) {
        let count: usize = shape.iter().product();
        let fan_in: usize = shape.iter().skip(1).product::<usize>().max(1);
        let bound = (6.0 / fan_in as f64).sqrt();
        let seed = fnv1a(&name);
        let value = |i: usize| {
            let u = uniform(seed.wrapping_add((i as u32).wrapping_mul(0x9E37_79B9)));
            let value = match kind {
                ParameterKind::Weight => (2.0 * u - 1.0) * bound,
                ParameterKind::Scale => 0.65 + 0.4 * u,
                ParameterKind::RunningVar => 0.75 + 0.5 * u,
                ParameterKind::Bias | ParameterKind::RunningMean => 0.2 * (u - 0.5),
            };
            value as f32
        };
        let values = (0..count).map(value).collect();
        self.insert(name, shape, values);
    }
}

fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// MurmurHash3's 32-bit finaliser, its upper 24 bits as a number in [0, 1).
fn uniform(mut x: u32) -> f64 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^= x >> 16;
    f64::from(x >> 8) / f64::from(1 << 24)
}

impl WeightSource for Weights {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(shape, _)| shape.as_slice())
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.tensors.get(name).map(|(_, values)| Cow::Borrowed(values.as_slice()))
    }
}

/// Everything about a set of weights that does not fit a network, listed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors that the network needs and that are missing, each with the nearest names among the
    /// unused tensors.
    pub missing: Vec<(String, Vec<String>)>,
    /// Tensors of a different shape: name, needed, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Unused tensors.
    pub unexpected: Vec<String>,
}

/// How many of each kind a message names.
const SHOWN: usize = 5;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let mut text = format!("{} missing: ", self.missing.len());
            let names = self.missing.iter().take(SHOWN).map(|(name, near)| match near.first() {
                Some(near) => format!("'{name}' (nearest found: '{near}')"),
                None => format!("'{name}'"),
            });
            text += &names.collect::<Vec<_>>().join(", ");
            if self.missing.len() > SHOWN {
                text += ", …";
            }
            parts.push(text);
        }
        if !self.misshapen.is_empty() {
            let mut text = format!("{} of a different shape: ", self.misshapen.len());
            let names = self.misshapen.iter().take(SHOWN);
            let names = names
                .map(|(name, needed, found)| format!("'{name}' is {found:?}, needed {needed:?}"));
            text += &names.collect::<Vec<_>>().join(", ");
            if self.misshapen.len() > SHOWN {
                text += ", …";
            }
            parts.push(text);
        }
        if !self.unexpected.is_empty() {
            let names: Vec<String> =
                self.unexpected.iter().take(SHOWN).map(|name| format!("'{name}'")).collect();
            let more = if self.unexpected.len() > SHOWN { ", …" } else { "" };
            parts.push(format!("{} unexpected: {}{more}", self.unexpected.len(), names.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

/// Checks that every tensor of the network is there with its shape. Tensors that the network does
/// not need are fine: a backbone may be read from a file that includes the classifier.
///
/// # Errors
/// [`Error::Weights`] lists everything that is missing or of the wrong shape, and what is there
/// instead.
pub fn check_weights(graph: &Graph, source: &dyn WeightSource) -> Result<()> {
    check_weights_in(graph, graph, source)
}

/// The same for a part of a network: tensors that only the `whole` needs are not unexpected.
///
/// # Errors
/// As [`check_weights`].
pub fn check_weights_in(graph: &Graph, whole: &Graph, source: &dyn WeightSource) -> Result<()> {
    let known: BTreeSet<String> = whole.parameters().into_iter().map(|p| p.name).collect();
    let unexpected = || source.names().into_iter().filter(|name| !known.contains(*name));
    let mut mismatch = Mismatch::default();
    for parameter in graph.parameters() {
        match source.shape(&parameter.name) {
            None if !source.lacking(&parameter.name).is_empty() => {
                for name in source.lacking(&parameter.name) {
                    let missing = (name.clone(), Vec::new());
                    // Of a layer's weight and bias.
                    if !mismatch.missing.contains(&missing) {
                        mismatch.missing.push(missing);
                    }
                }
            }
            None => {
                // Comparing all names with each other would take long for a file of another
                // network.
                let shown = mismatch.missing.len() < SHOWN;
                let candidates = shown.then(unexpected).into_iter().flatten();
                let near = taper_core::nearest(&parameter.name, candidates, 1);
                let near = near.into_iter().map(str::to_owned).collect();
                mismatch.missing.push((parameter.name, near));
            }
            Some(found) if found != parameter.shape => {
                mismatch.misshapen.push((parameter.name, parameter.shape, found.to_vec()));
            }
            Some(_) => {}
        }
    }
    if mismatch == Mismatch::default() {
        Ok(())
    } else {
        mismatch.unexpected = unexpected().map(str::to_owned).collect();
        Err(Error::Weights { network: graph.name().into(), mismatch: Box::new(mismatch) })
    }
}
