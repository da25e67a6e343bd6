/// A projective map of the plane, from the position of a pixel in the output to its position in the
/// input, in pixels with integers at the centres of pixels, x to the right, y down. Row by row:
/// x' = (m₀x + m₁y + m₂) / (m₆x + m₇y + m₈), y' = (m₃x + m₄y + m₅) / (m₆x + m₇y + m₈).
///
/// With m₈ = 1 the first eight values are those of Keras' `ops.image.affine_transform` and
/// `perspective_transform`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Homography(pub [f64; 9]);

impl Homography {
    /// The identity.
    pub const IDENTITY: Homography = Homography([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);

    /// An affine map: the first two rows.
    pub const fn affine([a, b, c, d, e, f]: [f64; 6]) -> Self {
        Self([a, b, c, d, e, f, 0.0, 0.0, 1.0])
    }

    /// `linear` (rows a b, c d) about the centre of a picture.
    pub fn about_centre([a, b, c, d]: [f64; 4], width: u32, height: u32) -> Self {
        let (x, y) = ((f64::from(width) - 1.0) / 2.0, (f64::from(height) - 1.0) / 2.0);
        Self::affine([a, b, x - a * x - b * y, c, d, y - c * x - d * y])
    }

    /// Resizing: an output pixel covers `x` · `y` input pixels, and the upper left corners
    /// coincide.
    pub fn scale(x: f64, y: f64) -> Self {
        Self::affine([x, 0.0, (x - 1.0) / 2.0, 0.0, y, (y - 1.0) / 2.0])
    }

    /// Translation: output pixel (0, 0) shows input pixel (x, y).
    pub fn translation(x: f64, y: f64) -> Self {
        Self::affine([1.0, 0.0, x, 0.0, 1.0, y])
    }

    /// The map that takes each of four output points to its input point; none if no such map exists
    /// (three points on a line).
    ///
    /// Solves the eight equations of torchvision's `_get_perspective_coeffs`.
    pub fn from_points(output: [[f64; 2]; 4], input: [[f64; 2]; 4]) -> Option<Self> {
        let mut rows = [[0.0; 9]; 8];
        for (i, ([x, y], [u, v])) in output.into_iter().zip(input).enumerate() {
            rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        // Gauss–Jordan with the largest pivot.
        for column in 0..8 {
            let pivot = (column..8)
                .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
            if rows[pivot][column].abs() < 1e-9 {
                return None;
            }
            rows.swap(column, pivot);
            let own = rows[column].map(|v| v / rows[column][column]);
            for (i, row) in rows.iter_mut().enumerate() {
                let factor = row[column];
                if i == column {
                    *row = own;
                } else {
                    row.iter_mut().zip(own).for_each(|(v, o)| *v -= factor * o);
                }
            }
        }
        let mut map = [1.0; 9];
        map.iter_mut().zip(rows).for_each(|(value, row)| *value = row[8]);
        Some(Self(map))
    }

    /// First `self`, then `next`, in the direction from output to input.
    #[must_use]
    pub fn then(&self, next: &Homography) -> Self {
        let (a, b) = (&self.0, &next.0);
        Self(std::array::from_fn(|i| {
            let (row, column) = (i / 3, i % 3);
            (0..3).map(|k| b[3 * row + k] * a[3 * k + column]).sum()
        }))
    }

    /// Where an output point comes from; none if it lies on or beyond the horizon.
    pub fn at(&self, x: f64, y: f64) -> Option<[f64; 2]> {
        let [a, b, c, d, e, f, g, h, i] = self.0;
        let w = g * x + h * y + i;
        (w > 1e-9).then(|| [(a * x + b * y + c) / w, (d * x + e * y + f) / w])
    }

    /// Whether straight lines stay parallel: the last row is 0 0 m₈.
    pub fn is_affine(&self) -> bool {
        self.0[6] == 0.0 && self.0[7] == 0.0
    }

    /// How many input pixels one output pixel steps over, along the input's x and y, near an output
    /// point; infinite beyond the horizon.
    pub(crate) fn reduction(&self, x: f64, y: f64) -> [f64; 2] {
        let half = 0.5;
        let (Some(l), Some(r), Some(t), Some(b)) = (
            self.at(x - half, y),
            self.at(x + half, y),
            self.at(x, y - half),
            self.at(x, y + half),
        ) else {
            return [f64::INFINITY; 2];
        };
        [0, 1].map(|axis| (r[axis] - l[axis]).hypot(b[axis] - t[axis]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_is_application_in_turn() {
        let a = Homography([1.1, 0.2, 3.0, -0.1, 0.9, 1.0, 0.001, 0.002, 1.0]);
        let b = Homography::scale(2.0, 1.5);
        let both = a.then(&b).at(7.0, 5.0).unwrap();
        let [x, y] = a.at(7.0, 5.0).unwrap();
        let in_turn = b.at(x, y).unwrap();
        assert!((both[0] - in_turn[0]).abs() < 1e-9 && (both[1] - in_turn[1]).abs() < 1e-9);
    }

    #[test]
    fn four_points_are_met_and_lines_are_refused() {
        let from = [[0.0, 0.0], [39.0, 0.0], [39.0, 29.0], [0.0, 29.0]];
        let to = [[3.0, 2.0], [35.0, 1.0], [38.0, 28.0], [1.0, 25.0]];
        let map = Homography::from_points(from, to).unwrap();
        for ([x, y], [u, v]) in from.into_iter().zip(to) {
            let [a, b] = map.at(x, y).unwrap();
            assert!((a - u).abs() < 1e-9 && (b - v).abs() < 1e-9);
        }
        let line = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]];
        assert_eq!(Homography::from_points(line, to), None);
    }

    #[test]
    fn reduction_is_the_size_of_a_step() {
        let [x, y] = Homography::scale(2.0, 3.0).reduction(4.0, 4.0);
        assert!((x - 2.0).abs() < 1e-9 && (y - 3.0).abs() < 1e-9);
        let turned = Homography::scale(2.0, 2.0).then(&Homography::about_centre(
            [0.8, -0.6, 0.6, 0.8],
            20,
            20,
        ));
        let [x, y] = turned.reduction(1.0, 8.0);
        assert!((x - 2.0).abs() < 1e-9 && (y - 2.0).abs() < 1e-9);
    }
}
