use serde::{Deserialize, Serialize};

use crate::ParameterKind;

/// A vision transformer from the picture to its class token, as one layer: convolution to patches, class token, learned positions,
/// blocks of attention and a perceptron (GELU, four times as wide), layer norms with ε = 1e-6.
///
/// Pictures of other sizes than the one it was trained with: sides that are no multiples of a patch are padded with zeros at the right and
/// at the bottom, and the learned positions are resampled to the new grid (bicubic, antialiased).
///
/// `timm/models/vision_transformer.py` with `dynamic_img_size` and `dynamic_img_pad`. Its tensors have timm's names, without the layer's own in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisionTransformer {
    /// Side of the square picture in pixels for which there are learned positions; a multiple of `patch`.
    pub image: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Numbers per token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of the attention; `width` is a multiple.
    pub heads: usize,
    /// Whether each branch of a block is scaled by a learned number per channel.
    pub layer_scale: bool,
}

impl VisionTransformer {
    /// Rows and columns of patches of a picture; the last ones may be padded.
    pub fn grid(&self, height: usize, width: usize) -> [usize; 2] {
        [height.div_ceil(self.patch), width.div_ceil(self.patch)]
    }

    /// Patches and the class token of a picture.
    pub fn tokens(&self, height: usize, width: usize) -> usize {
        let [rows, columns] = self.grid(height, width);
        rows * columns + 1
    }

    /// All tensors: name, shape, purpose.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, ParameterKind)> {
        use ParameterKind::{Bias, Scale, Weight};
        let (w, patch) = (self.width, self.patch);
        let mut all = vec![
            ("cls_token".to_owned(), vec![1, 1, w], Weight),
            ("pos_embed".to_owned(), vec![1, self.tokens(self.image, self.image), w], Weight),
        ];
        let mut pair = |name: String, shape: Vec<usize>, kind| {
            let out = shape[0];
            all.push((format!("{name}.weight"), shape, kind));
            all.push((format!("{name}.bias"), vec![out], Bias));
            all.len()
        };
        pair("patch_embed.proj".into(), vec![w, 3, patch, patch], Weight);
        let mut scales = Vec::new();
        for block in 0..self.depth {
            let name = |part: &str| format!("blocks.{block}.{part}");
            pair(name("norm1"), vec![w], Scale);
            pair(name("attn.qkv"), vec![3 * w, w], Weight);
            scales.push((pair(name("attn.proj"), vec![w, w], Weight), name("ls1.gamma")));
            pair(name("norm2"), vec![w], Scale);
            pair(name("mlp.fc1"), vec![4 * w, w], Weight);
            scales.push((pair(name("mlp.fc2"), vec![w, 4 * w], Weight), name("ls2.gamma")));
        }
        pair("norm".into(), vec![w], Scale);
        if self.layer_scale {
            // From the last on, so that the places before stay.
            for (place, name) in scales.into_iter().rev() {
                all.insert(place, (name, vec![w], Scale));
            }
        }
        all
    }

    /// How many numbers exist at one time inside, for one picture: tokens, and either keys, queries, values and two sets of
    /// scores, or the wide layer before and after its activation.
    pub(crate) fn inside(&self, height: usize, width: usize) -> usize {
        let (t, w) = (self.tokens(height, width), self.width);
        t * w + (6 * t * w + 2 * self.heads * t * t).max(9 * t * w)
    }

    /// How many numbers a training keeps inside for the backward pass, for one picture: the outputs of all layers. Of tokens: patches,
    /// positions added and the last norm; in each block two norms, queries, keys and values, two projections, two sums, the wide
    /// layer before and after its activation, the attention's answer and, where there are any, two scaled branches. And the scores
    /// before and after their softmax.
    pub(crate) fn kept(&self, height: usize, width: usize) -> usize {
        let (t, w) = (self.tokens(height, width), self.width);
        let maps = if self.layer_scale { 20 } else { 18 };
        3 * t * w + self.depth * (maps * t * w + 2 * self.heads * t * t)
    }

    /// Floating-point operations for one picture; a multiply-add is two.
    pub(crate) fn flops(&self, height: usize, width: usize) -> u64 {
        let (t, w) = (self.tokens(height, width) as u64, self.width as u64);
        let patches = 2 * (t - 1) * w * 3 * (self.patch * self.patch) as u64;
        // Query, key, value and projection 4 w², perceptron 8 w²; two products of all tokens with all.
        let block = 2 * t * 12 * w * w + 2 * 2 * t * t * w;
        patches + self.depth as u64 * block
    }
}
