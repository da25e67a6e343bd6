use std::{collections::HashMap, ops::ControlFlow};

use crate::{Error, Result, TextEncoder, Tokenizer};

/// Sentences with a place for a class's name, `{}`. The answers to all of them are averaged, which
/// is more accurate than that to the bare name (Radford et al. 2021, section 3.1.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    templates: Vec<String>,
}

impl Default for Prompts {
    /// Seven that say little more than that it is a picture: the best subset in CLIP's own
    /// notebook.
    fn default() -> Self {
        Self { templates: SEVEN.map(str::to_owned).to_vec() }
    }
}

impl Prompts {
    /// The 80 that CLIP was measured with on ImageNet.
    pub fn imagenet() -> Self {
        Self { templates: EIGHTY.map(str::to_owned).to_vec() }
    }

    /// The bare name.
    pub fn bare() -> Self {
        Self { templates: vec!["{}".to_owned()] }
    }

    /// Other ones.
    ///
    /// # Errors
    /// [`Error::Template`] for one without `{}`, [`Error::NoTexts`] if there are none.
    pub fn new(templates: Vec<String>) -> Result<Self> {
        if templates.is_empty() {
            return Err(Error::NoTexts);
        }
        match templates.iter().find(|template| !template.contains("{}")) {
            Some(template) => Err(Error::Template { template: template.clone() }),
            None => Ok(Self { templates }),
        }
    }

    /// The sentences.
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// The sentences about a class. Underscores in its name count as spaces.
    pub fn about(&self, name: &str) -> Vec<String> {
        let name = name.replace('_', " ");
        self.templates.iter().map(|template| template.replace("{}", name.trim())).collect()
    }
}

/// Sentences between two looks at whether to go on.
const PART: usize = 32;

/// Is told again and again how many names are answered, first that none is and last that all are;
/// breaking off ends the work with [`Error::Interrupted`].
pub type Watch<'a> = dyn Fn(usize) -> ControlFlow<()> + 'a;

/// The direction of each class, `[classes, features]`, of unit length: the mean of the normalised
/// answers to all sentences about it, normalised again, as in open_clip's
/// `zero_shot_classifier.py`. The cosine with a picture's features says how well the name
/// describes it.
///
/// # Errors
/// As [`Questions::new`] and [`Questions::directions`].
pub fn class_directions(
    encoder: &TextEncoder,
    tokenizer: &Tokenizer,
    names: &[String],
    prompts: &Prompts,
    watch: &Watch<'_>,
) -> Result<Vec<f32>> {
    Questions::new(tokenizer, names, prompts)?.directions(encoder, watch)
}

/// What an encoder is asked about classes: the tokens of all sentences about each name. Everything
/// that can be wrong with names is known before the encoder is needed.
#[derive(Debug, Clone)]
pub struct Questions {
    tokens: Vec<Vec<Vec<u32>>>,
    cut: Vec<String>,
}

impl Questions {
    /// About these names.
    ///
    /// # Errors
    /// As [`Tokenizer::tokens`]; [`Error::NoTexts`] without names, [`Error::EmptyName`] and
    /// [`Error::SameNames`] for names that cannot be told apart.
    pub fn new(tokenizer: &Tokenizer, names: &[String], prompts: &Prompts) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::NoTexts);
        }
        let mut known: HashMap<Vec<Vec<u32>>, &String> = HashMap::new();
        let (mut all, mut cut) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            if tokenizer.reads_nothing_of(&name.replace('_', " ")) {
                return Err(Error::EmptyName { name: name.clone() });
            }
            let texts = prompts.about(name);
            let texts = texts.iter().map(|text| tokenizer.cut(text)).collect::<Result<Vec<_>>>();
            let texts = texts.map_err(|error| match error {
                // Said of the name where that has it.
                Error::Mark { mark, .. } if name.contains(&mark) => {
                    Error::Mark { text: name.clone(), mark }
                }
                error => error,
            })?;
            if texts.iter().any(|(_, cut)| *cut) {
                cut.push(name.clone());
            }
            let tokens: Vec<Vec<u32>> = texts.into_iter().map(|(tokens, _)| tokens).collect();
            // They differ in what the tokenizer leaves out, or beyond the end of the longest text.
            if let Some(other) = known.insert(tokens.clone(), name) {
                return Err(Error::SameNames { name: name.clone(), other: other.clone() });
            }
            all.push(tokens);
        }
        Ok(Self { tokens: all, cut })
    }

    /// The names with a sentence that is longer than the encoder reads: its end is cut off.
    pub fn cut(&self) -> &[String] {
        &self.cut
    }

    /// The answers: see [`class_directions`].
    ///
    /// # Errors
    /// As [`TextEncoder::encode`]; [`Error::Interrupted`].
    pub fn directions(&self, encoder: &TextEncoder, watch: &Watch<'_>) -> Result<Vec<f32>> {
        let features = encoder.tower().features;
        let mut all = Vec::with_capacity(self.tokens.len() * features);
        for (done, tokens) in self.tokens.iter().enumerate() {
            let mut sum = vec![0f64; features];
            for part in tokens.chunks(PART) {
                told(watch, done)?;
                for answer in encoder.encode(part)?.chunks_exact(features) {
                    let length = length(answer.iter().map(|v| f64::from(*v)));
                    sum.iter_mut().zip(answer).for_each(|(s, &v)| *s += f64::from(v) / length);
                }
            }
            let length = length(sum.iter().copied());
            all.extend(sum.iter().map(|s| (s / length) as f32));
        }
        told(watch, self.tokens.len())?;
        Ok(all)
    }
}

fn told(watch: &Watch<'_>, done: usize) -> Result<()> {
    match watch(done) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted),
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
}

/// From CLIP's notebook "Prompt Engineering for ImageNet" (MIT, OpenAI), in open_clip's order.
const SEVEN: [&str; 7] = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
];

/// From the same notebook.
const EIGHTY: [&str; 80] = [
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
];
