//! The gradients of learned tokens and of learned positions.

use taper_graph::PatchTokens;

/// From the gradient of the table that is added to the tokens, `[prefix + rows · columns, width]`,
/// to those of the learned tokens, `[prefix, width]`, and of the learned positions: the transpose
/// of [`PatchTokens::table`]. Added to what is there with `add`.
pub(crate) fn gradients(
    tokens: &PatchTokens,
    grid: [usize; 2],
    table: &[f32],
    (class, positions): (&mut [f32], &mut [f32]),
    add: bool,
) {
    let width = tokens.width;
    if !add {
        class.fill(0.0);
        positions.fill(0.0);
    }
    let (of_class, of_patches) = table.split_at(tokens.prefix * width);
    class.iter_mut().zip(of_class).for_each(|(to, from)| *to += from);
    if positions.is_empty() {
        return;
    }
    let (first, learned) = positions.split_at_mut(of_class.len());
    first.iter_mut().zip(of_class).for_each(|(to, from)| *to += from);
    let Some([by_row, by_column]) = tokens.resampling(grid) else {
        learned.iter_mut().zip(of_patches).for_each(|(to, from)| *to += from);
        return;
    };
    let [from_rows, from_columns] = tokens.grid;
    for (patch, gradient) in of_patches.chunks_exact(width).enumerate() {
        let (row, column) = (patch / grid[1], patch % grid[1]);
        for from_row in 0..from_rows {
            for from_column in 0..from_columns {
                let weight = by_row[row * from_rows + from_row]
                    * by_column[column * from_columns + from_column];
                if weight != 0.0 {
                    let at = (from_row * from_columns + from_column) * width;
                    let to = &mut learned[at..][..width];
                    to.iter_mut().zip(gradient).for_each(|(to, from)| *to += weight * from);
                }
            }
        }
    }
}
