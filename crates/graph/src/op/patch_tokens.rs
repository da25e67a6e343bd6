use serde::{Deserialize, Serialize};

use super::operation::{Form, Fusing, Operation, Tensor, View, expect_channels, needs_map};
use crate::{FusedOp, ParameterKind, Shape};

/// From a map of patches to the tokens of a vision transformer: learned tokens, usually the class
/// token alone, then the patches row by row, each with its learned position added.
///
/// For a grid other than the training grid, the positions are resampled as in
/// `resample_abs_pos_embed` of `timm/layers/pos_embed.py`: bicubic, antialiased; learned tokens
/// keep their own. Its tensors have the prefix of the layer's parent, as in timm: `cls_token`
/// `[1, prefix, width]`, unless there are none, and `pos_embed`
/// `[1, prefix + rows · columns, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchTokens {
    /// Rows and columns of patches for which there are learned positions.
    pub grid: [usize; 2],
    /// Numbers per token.
    pub width: usize,
    /// Learned tokens before the patches: the class token, and registers after it. 0 for networks
    /// that pool all tokens.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub prefix: usize,
}

fn one() -> usize {
    1
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(count: &usize) -> bool {
    *count == 1
}

impl PatchTokens {
    /// With a class token before the patches.
    pub fn new(grid: [usize; 2], width: usize) -> Self {
        Self { grid, width, prefix: 1 }
    }

    /// The names of the tensors of the learned tokens and the positions. Without such tokens, there
    /// are only positions.
    pub fn names(layer: &str) -> [String; 2] {
        let beside = layer.rfind('.').map_or("", |at| &layer[..=at]);
        ["cls_token", "pos_embed"].map(|name| format!("{beside}{name}"))
    }

    /// The matrices `[rows, grid[0]]` and `[columns, grid[1]]`, row-major, that resample the
    /// learned positions to another grid; `None` for the training grid.
    pub fn resampling(&self, grid: [usize; 2]) -> Option<[Vec<f32>; 2]> {
        (grid != self.grid).then(|| [0, 1].map(|axis| bicubic(self.grid[axis], grid[axis])))
    }

    /// The values added to the tokens of a grid, `[prefix + rows · columns, width]`: the learned
    /// tokens with their positions, then the positions of the patches. `class` is empty without
    /// learned tokens.
    ///
    /// # Panics
    /// If the tensors do not have the lengths that the operation needs.
    pub fn table(&self, class: &[f32], positions: &[f32], grid: [usize; 2]) -> Vec<f32> {
        let (width, [from_rows, from_columns]) = (self.width, self.grid);
        let front = self.prefix * width;
        assert_eq!(class.len(), front, "learned tokens");
        assert_eq!(positions.len(), front + width * from_rows * from_columns, "positions");
        let (of_class, learned) = positions.split_at(front);
        let mut table: Vec<f32> = class.iter().zip(of_class).map(|(a, b)| a + b).collect();
        let Some([by_row, by_column]) = self.resampling(grid) else {
            table.extend_from_slice(learned);
            return table;
        };
        let [rows, columns] = grid;
        // [rows, from_rows] · [from_rows, from_columns · width], then the columns of each row.
        let line = from_columns * width;
        let mut sums = vec![0f64; line];
        for row in 0..rows {
            sums.fill(0.0);
            for (from, learned) in learned.chunks_exact(line).enumerate() {
                let weight = f64::from(by_row[row * from_rows + from]);
                sums.iter_mut().zip(learned).for_each(|(s, &l)| *s += weight * f64::from(l));
            }
            for column in 0..columns {
                let weights = &by_column[column * from_columns..][..from_columns];
                table.extend((0..width).map(|c| {
                    let terms = weights.iter().zip(sums[c..].iter().step_by(width));
                    terms.map(|(&w, s)| f64::from(w) * s).sum::<f64>() as f32
                }));
            }
        }
        table
    }
}

/// The matrix `[to, from]` that resamples a line: torch's antialiased bicubic filter (a = −0.5, as
/// Pillow's), centres of pixels matched, in `aten/src/ATen/native/cpu/UpSampleKernel.cpp`.
fn bicubic(from: usize, to: usize) -> Vec<f32> {
    let filter = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let scale = from as f64 / to as f64;
    let spread = scale.max(1.0);
    let mut matrix = Vec::with_capacity(from * to);
    for i in 0..to {
        let centre = scale * (i as f64 + 0.5);
        let first = (centre - 2.0 * spread + 0.5).max(0.0) as usize;
        let last = ((centre + 2.0 * spread + 0.5) as usize).min(from);
        let weight = |j: usize| match (first..last).contains(&j) {
            true => filter((j as f64 - centre + 0.5) / spread),
            false => 0.0,
        };
        let sum: f64 = (0..from).map(weight).sum();
        matrix.extend((0..from).map(|j| (weight(j) / sum) as f32));
    }
    matrix
}

impl Operation for PatchTokens {
    fn kind(&self) -> &'static str {
        "PatchTokens"
    }

    fn arity(&self) -> usize {
        1
    }

    fn output(&self, inputs: &[Shape], _picture: [usize; 2]) -> Result<Shape, String> {
        expect_channels(inputs[0], self.width)?;
        match inputs[0] {
            Shape::Map { height, width, channels } => {
                Ok(Shape::Tokens { count: self.prefix + height * width, width: channels })
            }
            Shape::Tokens { .. } | Shape::Vector(_) => Err(needs_map(inputs[0])),
        }
    }

    fn channels(&self, _inputs: &[usize]) -> usize {
        self.width
    }

    fn form(&self, _inputs: &[Form]) -> Form {
        Form::Tokens
    }

    fn tensors(&self, layer: &str) -> Vec<Tensor> {
        let [class, positions] = Self::names(layer);
        let count = self.prefix + self.grid[0] * self.grid[1];
        let learned = (class, vec![1, self.prefix, self.width], ParameterKind::Weight);
        let positions = (positions, vec![1, count, self.width], ParameterKind::Weight);
        (self.prefix > 0).then_some(learned).into_iter().chain([positions]).collect()
    }

    fn flops(&self, _inputs: &[Shape], output: Shape) -> u64 {
        output.elements() as u64
    }

    fn hidden(&self, _inputs: &[Shape]) -> usize {
        0
    }

    fn view(&self) -> View {
        View::Position
    }

    fn description(&self, _first: bool) -> Option<String> {
        Some(match self.prefix {
            0 => "positions".into(),
            1 => "class token and positions".into(),
            more => format!("class token, {} registers and positions", more - 1),
        })
    }

    fn follows(&self) -> bool {
        false
    }

    fn fusing(&self) -> Fusing {
        let op = FusedOp::PatchTokens(*self);
        Fusing::Step { op, channels: 0, bias: false, open: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_stand_beside_the_layer() {
        assert_eq!(PatchTokens::names("tokens"), ["cls_token", "pos_embed"]);
        assert_eq!(PatchTokens::names("a.b.tokens"), ["a.b.cls_token", "a.b.pos_embed"]);
    }

    #[test]
    fn positions_of_the_training_are_taken_as_they_are_and_constant_ones_stay_constant() {
        let tokens = PatchTokens::new([3, 4], 2);
        let positions: Vec<f32> = (0..26).map(|i| i as f32).collect();
        let table = tokens.table(&[0.5, 0.25], &positions, [3, 4]);
        assert_eq!(table[..2], [0.5, 1.25]);
        assert_eq!(table[2..], positions[2..]);
        for grid in [[1, 1], [5, 2], [3, 9]] {
            let table = tokens.table(&[0.0; 2], &[7.0; 26], grid);
            assert_eq!(table.len(), 2 * (1 + grid[0] * grid[1]));
            assert!(table.iter().all(|v| (v - 7.0).abs() < 1e-5), "{table:?}");
        }
    }

    #[test]
    fn without_learned_tokens_there_are_only_patches() {
        let tokens = PatchTokens { prefix: 0, ..PatchTokens::new([1, 2], 2) };
        assert_eq!(tokens.table(&[], &[1.0, 2.0, 3.0, 4.0], [1, 2]), [1.0, 2.0, 3.0, 4.0]);
        let named: Vec<String> = tokens.tensors("tokens").into_iter().map(|own| own.0).collect();
        assert_eq!(named, ["pos_embed"]);
        let registers = PatchTokens { prefix: 3, ..tokens };
        let table = registers.table(&[0.5; 6], &[1.0; 10], [1, 1]);
        assert_eq!(table.len(), 8);
        assert_eq!(table[..6], [1.5; 6]);
        assert!(table[6..].iter().all(|v| (v - 1.0).abs() < 1e-6));
    }
}
