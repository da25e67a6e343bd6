use taper_graph::WeightSource;
use taper_kernels::{
    Attention, Conv2dShape, Epilogue, KernelClass, LayerNorm, PackedFilter, Team, Window,
};
use taper_networks::{Reading, TextTower};

use crate::{Error, Result};

/// Values (f32) of the widest layer that a batch of texts may have: 64 MiB.
const BATCH: usize = 16 << 20;

/// Texts of which lengths are computed together: those up to a multiple of it.
const STEP: usize = 8;

/// An encoder of texts, ready to run on the CPU, on all threads of the current rayon pool.
///
/// Its arithmetic is that of `open_clip/transformer.py`, in f32. Answers do not depend on the
/// number of threads, nor on which texts are asked about together.
#[derive(Debug)]
pub struct TextEncoder {
    tower: TextTower,
    class: KernelClass,
    tokens: Vec<f32>,
    positions: Vec<f32>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: PackedFilter<f32>,
}

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: PackedFilter<f32>,
    proj: PackedFilter<f32>,
    norm2: LayerNorm,
    fc1: PackedFilter<f32>,
    fc2: PackedFilter<f32>,
}

impl TextEncoder {
    /// Packs the weights, named as [`TextTower::tensors`] lists them.
    ///
    /// # Errors
    /// [`Error::Weights`] names the first tensor that is missing or of another shape.
    pub fn new(tower: &TextTower, weights: &dyn WeightSource, class: KernelClass) -> Result<Self> {
        let reader = Reader { weights, class, eps: tower.eps as f32 };
        let &TextTower { vocabulary, context, width, features, .. } = tower;
        let block = |at: usize| {
            let name = |layer: &str| format!("blocks.{at}.{layer}");
            Ok(Block {
                norm1: reader.norm(&name("norm1"), width)?,
                qkv: reader.linear(&name("attn.qkv"), [width, 3 * width], true)?,
                proj: reader.linear(&name("attn.proj"), [width, width], true)?,
                norm2: reader.norm(&name("norm2"), width)?,
                fc1: reader.linear(&name("mlp.fc1"), [width, 4 * width], true)?,
                fc2: reader.linear(&name("mlp.fc2"), [4 * width, width], true)?,
            })
        };
        Ok(Self {
            tokens: reader.values("token_embedding.weight", &[vocabulary, width])?,
            positions: reader.values("pos_embed", &[context, width])?,
            blocks: (0..tower.depth).map(block).collect::<Result<_>>()?,
            norm: reader.norm("norm", width)?,
            projection: reader.linear("projection", [width, features], tower.is_biased())?,
            tower: *tower,
            class,
        })
    }

    /// What it is.
    pub fn tower(&self) -> &TextTower {
        &self.tower
    }

    /// The answers to texts of tokens, `[texts, features]`, not normalised.
    ///
    /// # Panics
    /// If a text is empty, longer than the context, or has a token beyond the vocabulary:
    /// [`Tokenizer`](crate::Tokenizer) gives none such.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let features = self.tower.features;
        let mut out = vec![0f32; texts.len() * features];
        // Texts of about the same length together, in batches that fit into memory.
        let length = |text: &Vec<u32>| match self.tower.reading {
            Reading::Forward => text.len().next_multiple_of(STEP).min(self.tower.context),
            Reading::Marked { .. } | Reading::Everything { .. } => self.tower.context,
        };
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| length(&texts[at]));
        for same in order.chunk_by(|&a, &b| length(&texts[a]) == length(&texts[b])) {
            let length = length(&texts[same[0]]);
            let most = (BATCH / (4 * self.tower.width * length)).max(1);
            for batch in same.chunks(most) {
                let batch_texts: Vec<&[u32]> =
                    batch.iter().map(|&at| texts[at].as_slice()).collect();
                let rows = self.batch(&batch_texts, length)?;
                for (row, &at) in rows.chunks_exact(features).zip(batch) {
                    out[at * features..][..features].copy_from_slice(row);
                }
            }
        }
        Ok(out)
    }

    /// Texts that are filled up to one length.
    fn batch(&self, texts: &[&[u32]], length: usize) -> Result<Vec<f32>> {
        let (n, width, rows) = (texts.len(), self.tower.width, texts.len() * length);
        let attention = Attention::new(self.class, length, width, self.tower.heads)?;
        let attention = match self.tower.reading {
            Reading::Forward => attention.causal(),
            Reading::Marked { .. } | Reading::Everything { .. } => attention,
        };
        let filters = self.blocks.iter().flat_map(|own| [&own.qkv, &own.proj, &own.fc1, &own.fc2]);
        let each = filters.map(PackedFilter::scratch_len).chain([attention.scratch_len()]);
        let scratch = each.max().unwrap_or(0).max(self.projection.scratch_len());
        let mut scratch = vec![0f32; scratch * rayon::current_num_threads()];
        let team = &mut Team::current(&mut scratch);

        let mut x = self.embedded(texts, length);
        let (mut normal, mut wide) = (vec![0f32; rows * width], vec![0f32; rows * 4 * width]);
        let mut next = vec![0f32; rows * width];
        for block in &self.blocks {
            block.norm1.run(team, rows, &x, &mut normal)?;
            let qkv = &mut wide[..rows * 3 * width];
            block.qkv.run(team, rows, &normal, Epilogue::default(), qkv)?;
            attention.run(team, n, qkv, &mut normal)?;
            let added = Epilogue { residual: Some(&x), ..Epilogue::default() };
            block.proj.run(team, rows, &normal, added, &mut next)?;
            std::mem::swap(&mut x, &mut next);
            block.norm2.run(team, rows, &x, &mut normal)?;
            let activated = Epilogue::activation(self.tower.activation);
            block.fc1.run(team, rows, &normal, activated, &mut wide)?;
            let added = Epilogue { residual: Some(&x), ..Epilogue::default() };
            block.fc2.run(team, rows, &wide, added, &mut next)?;
            std::mem::swap(&mut x, &mut next);
        }
        let last = |text: &[u32]| match self.tower.reading {
            Reading::Forward | Reading::Marked { .. } => text.len() - 1,
            Reading::Everything { .. } => length - 1,
        };
        let mut read = Vec::with_capacity(n * width);
        for (at, text) in texts.iter().enumerate() {
            read.extend_from_slice(&x[(at * length + last(text)) * width..][..width]);
        }
        let mut normal = vec![0f32; n * width];
        self.norm.run(team, n, &read, &mut normal)?;
        let mut out = vec![0f32; n * self.tower.features];
        self.projection.run(team, n, &normal, Epilogue::default(), &mut out)?;
        Ok(out)
    }

    /// Token embeddings and positions, `[texts, length, width]`.
    fn embedded(&self, texts: &[&[u32]], length: usize) -> Vec<f32> {
        let width = self.tower.width;
        let filling = match self.tower.reading {
            // Nothing that is read sees it.
            Reading::Forward => 0,
            Reading::Marked { padding } | Reading::Everything { padding } => padding,
        };
        let mut x = Vec::with_capacity(texts.len() * length * width);
        for text in texts {
            assert!(!text.is_empty() && text.len() <= length, "a text of {} tokens", text.len());
            let filled = text.iter().copied().chain(std::iter::repeat(filling));
            for (position, token) in self.positions.chunks_exact(width).zip(filled).take(length) {
                let embedding = &self.tokens[token as usize * width..][..width];
                x.extend(embedding.iter().zip(position).map(|(token, place)| token + place));
            }
        }
        x
    }
}

/// Reads weights.
struct Reader<'a> {
    weights: &'a dyn WeightSource,
    class: KernelClass,
    eps: f32,
}

impl Reader<'_> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fits = self.weights.shape(name) == Some(shape);
        let values = fits.then(|| self.weights.values(name)).flatten();
        let missing = || Error::Weights { tensor: name.to_owned(), shape: shape.to_vec() };
        values.map(std::borrow::Cow::into_owned).ok_or_else(missing)
    }

    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm> {
        let scale = self.values(&format!("{name}.weight"), &[width])?;
        let bias = self.values(&format!("{name}.bias"), &[width])?;
        Ok(LayerNorm::new(self.class, &scale, &bias, self.eps)?)
    }

    fn linear(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        biased: bool,
    ) -> Result<PackedFilter<f32>> {
        let weight = self.values(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = match biased {
            true => Some(self.values(&format!("{name}.bias"), &[outputs])?),
            false => None,
        };
        let shape = Conv2dShape::new([1, 1], inputs, outputs, Window::square(1));
        Ok(PackedFilter::pack(self.class, &shape, &weight, bias.as_deref())?)
    }
}
