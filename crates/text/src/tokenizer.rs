use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use taper_networks::{Cleaning, TextTower};

use crate::{Error, Result};

/// From texts to tokens, by the `tokenizers` library and its file.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    context: usize,
    /// What no text may contain: the marks of its beginning and end.
    marks: Vec<String>,
    cleaning: Cleaning,
}

impl Tokenizer {
    /// Opens `tokenizer.json` for an encoder of texts.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot be read, or has other tokens than the encoder.
    pub fn open(path: impl Into<PathBuf>, tower: &TextTower) -> Result<Self> {
        let path = path.into();
        let fail = |problem: String| Error::Tokenizer { path: path.clone(), problem };
        let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        Self::from_bytes(&bytes, &path, tower)
    }

    /// The same from a file in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn from_bytes(bytes: &[u8], path: &Path, tower: &TextTower) -> Result<Self> {
        let fail = |problem: String| Error::Tokenizer { path: path.to_owned(), problem };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| {
            fail(format!("it is not a file of the tokenizers library: {error}"))
        })?;
        let found = inner.get_vocab_size(true);
        if found > tower.vocabulary {
            return Err(fail(format!(
                "it has {found} tokens, and the encoder of texts knows {}: give that of the network",
                tower.vocabulary
            )));
        }
        let cut = tokenizers::TruncationParams { max_length: tower.context, ..Default::default() };
        inner.with_truncation(Some(cut)).map_err(|error| fail(error.to_string()))?;
        inner.with_padding(None);
        let special = inner.get_added_tokens_decoder();
        let marks = special.values().filter(|token| token.special);
        let marks = marks.map(|token| token.content.clone()).collect();
        let cleaning = tower.tokenizer.cleaning;
        let own = Self { inner, context: tower.context, marks, cleaning };
        // Another network's file would be found out by its answers only.
        let (probe, known) = tower.tokenizer.probe;
        match own.tokens(probe) {
            Ok(tokens) if tokens == known => Ok(own),
            Ok(tokens) => Err(fail(format!(
                "it makes {tokens:?} of '{probe}', and the network knows that as {known:?}: give that of the network"
            ))),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// The tokens of a text, with those for its beginning and end; a text that is too long is cut
    /// before its end.
    ///
    /// # Errors
    /// [`Error::Mark`] for a text that contains a mark of the tokenizer.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.cut(text).map(|(tokens, _)| tokens)
    }

    /// Whether nothing is left of a text, since there is nothing in it, or nothing that is kept.
    pub(crate) fn reads_nothing_of(&self, text: &str) -> bool {
        match self.cleaning {
            Cleaning::Nothing | Cleaning::Lower => text.trim().is_empty(),
            Cleaning::Plain => canonical(text).is_empty(),
        }
    }

    /// The tokens, and whether the text was too long.
    pub(crate) fn cut(&self, text: &str) -> Result<(Vec<u32>, bool)> {
        if let Some(mark) = self.marks.iter().find(|mark| text.contains(mark.as_str())) {
            return Err(Error::Mark { text: text.to_owned(), mark: mark.clone() });
        }
        let cleaned = match self.cleaning {
            Cleaning::Nothing => Cow::Borrowed(text),
            Cleaning::Lower => Cow::Owned(text.to_lowercase()),
            Cleaning::Plain => Cow::Owned(canonical(text)),
        };
        let encoded = self.inner.encode_fast(&*cleaned, true);
        let encoded = encoded.map_err(|error| Error::Tokenizer {
            path: PathBuf::new(),
            problem: format!("'{text}': {error}"),
        })?;
        let tokens = encoded.get_ids();
        let kept = &tokens[..tokens.len().min(self.context)];
        let cut = kept.len() < tokens.len() || !encoded.get_overflowing().is_empty();
        Ok((kept.to_vec(), cut))
    }
}

/// As SigLIP's texts were prepared (`open_clip/tokenizer.py`, `canonicalize`): lower case, without
/// punctuation, underscores and runs of spaces as one space.
fn canonical(text: &str) -> String {
    let spaced = text.replace('_', " ");
    let kept: String = spaced.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    kept.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
