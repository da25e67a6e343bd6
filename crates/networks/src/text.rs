use taper_core::Activation;

/// An encoder of text: a transformer whose answer is comparable with the features of the network
/// that it was trained beside. The cosine of both says how well a text describes a picture.
///
/// Token embeddings plus learned positions, blocks of attention and an MLP (four times as wide)
/// with the layer norms in front, a last layer norm, one token of which is projected to the length
/// of the features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextTower {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// How many tokens a text has at most, those for its beginning and end included.
    pub context: usize,
    /// Numbers per token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of the attention; `width` is a multiple.
    pub heads: usize,
    /// Length of the answer: that of the network's features.
    pub features: usize,
    /// Of the MLPs.
    pub activation: Activation,
    /// Added to the variance by layer norms.
    pub eps: f64,
    /// Which tokens see which, and which one is the answer.
    pub reading: Reading,
    /// Where the tokenizer is.
    pub tokenizer: Tokens,
}

/// How an encoder reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As in CLIP: each token sees those before it, and the text's last one is the answer. What
    /// comes after it makes no difference.
    Forward,
    /// As in MobileCLIP: each token sees all of them. The text is filled up to the context with
    /// this token, and the last token of the text itself is the answer.
    Marked {
        /// What follows the text.
        padding: u32,
    },
    /// As in SigLIP: each token sees all of them. The text is filled up to the context with this
    /// token, and the last position is the answer. The projection has a bias.
    Everything {
        /// What follows the text.
        padding: u32,
    },
}

/// A tokenizer on the Hugging Face Hub, as a file of the `tokenizers` library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// The repository.
    pub repository: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The SHA-256 of `tokenizer.json` there, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// A sentence and what it makes of that, by which another file is found out.
    pub probe: (&'static str, &'static [u32]),
    /// What is done to a text before.
    pub cleaning: Cleaning,
}

/// How a text is prepared for its tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning {
    /// The tokenizer does all there is to do.
    Nothing,
    /// Lower case, as for SigLIP 2.
    Lower,
    /// Lower case without punctuation, underscores and runs of spaces as one space, as for SigLIP
    /// (`canonicalize_text` of `open_clip/tokenizer.py`).
    Plain,
}

impl TextTower {
    /// The names and shapes of its tensors, as in [`VisionTransformer`](taper_graph): `blocks.0.…`,
    /// then `norm` and `projection`.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let &Self { vocabulary, context, width, features, .. } = self;
        let mut all = vec![
            ("token_embedding.weight".to_owned(), vec![vocabulary, width]),
            ("pos_embed".to_owned(), vec![context, width]),
        ];
        let mut push = |name: String, outputs: usize, inputs: Option<usize>| {
            let shape = inputs.map_or_else(|| vec![outputs], |inputs| vec![outputs, inputs]);
            all.push((format!("{name}.weight"), shape));
            all.push((format!("{name}.bias"), vec![outputs]));
        };
        for block in 0..self.depth {
            let name = |layer: &str| format!("blocks.{block}.{layer}");
            push(name("norm1"), width, None);
            push(name("attn.qkv"), 3 * width, Some(width));
            push(name("attn.proj"), width, Some(width));
            push(name("norm2"), width, None);
            push(name("mlp.fc1"), 4 * width, Some(width));
            push(name("mlp.fc2"), width, Some(4 * width));
        }
        push("norm".into(), width, None);
        all.push(("projection.weight".into(), vec![features, width]));
        if self.is_biased() {
            all.push(("projection.bias".into(), vec![features]));
        }
        all
    }

    /// Whether the projection at the end has a bias.
    pub fn is_biased(&self) -> bool {
        matches!(self.reading, Reading::Everything { .. })
    }

    /// How many learned numbers it has.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}
