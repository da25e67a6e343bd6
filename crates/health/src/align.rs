//! Whether two pictures are the same except for size, crop, encoding and mirroring: one is
//! registered with the other, and the remaining difference is measured.
//!
//! The method is that of Lucas and Kanade (An iterative image registration technique, 1981):
//! Gauss–Newton over scale and shift of each axis, with a gain and an offset of brightness.

/// A picture in which another is searched for: planes of `side` × `side` values, 0…255.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    pub(crate) side: usize,
    pub(crate) values: Vec<f32>,
}

impl Plane {
    pub(crate) fn new(side: usize, values: Vec<f32>) -> Self {
        debug_assert!(values.len() == side * side && (2..=MAX_SIDE).contains(&side));
        Self { side, values }
    }

    pub(crate) fn mirrored(&self) -> Self {
        let values =
            self.values.chunks_exact(self.side).flat_map(|row| row.iter().rev().copied()).collect();
        Self { side: self.side, values }
    }

    /// At half the size, so that the first steps reach further and cost less.
    fn halved(&self) -> Self {
        let side = self.side / 2;
        let at = |x: usize, y: usize| self.values[y * self.side + x];
        let values = (0..side * side)
            .map(|i| {
                let (x, y) = (i % side * 2, i / side * 2);
                0.25 * (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1))
            })
            .collect();
        Self { side, values }
    }

    /// The value between pixels, and its slope along both axes; none outside.
    pub(crate) fn at(&self, x: f32, y: f32) -> Option<[f32; 3]> {
        let last = (self.side - 1) as f32;
        if !(0.0..=last).contains(&x) || !(0.0..=last).contains(&y) {
            return None;
        }
        let (left, top) = ((x as usize).min(self.side - 2), (y as usize).min(self.side - 2));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let corner = top * self.side + left;
        let [a, b] = [self.values[corner], self.values[corner + 1]];
        let [c, d] = [self.values[corner + self.side], self.values[corner + self.side + 1]];
        let upper = a + fx * (b - a);
        let lower = c + fx * (d - c);
        Some([upper + fy * (lower - upper), (b - a) + fy * ((d - c) - (b - a)), lower - upper])
    }
}

/// The position of one picture in another: a point p of the first, −1…1 from edge to edge, is found
/// at `scale · p + shift`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pose {
    pub(crate) scale: [f32; 2],
    pub(crate) shift: [f32; 2],
    pub(crate) gain: f32,
    pub(crate) offset: f32,
}

impl Pose {
    pub(crate) const SAME: Pose = Pose { scale: [1.0; 2], shift: [0.0; 2], gain: 1.0, offset: 0.0 };

    /// Whether it is possible for a slight crop: anything beyond would be a different picture.
    fn plausible(&self) -> bool {
        self.scale.iter().all(|s| (0.72..=1.4).contains(s))
            && self.shift.iter().all(|t| t.abs() <= 0.4)
            && (0.6..=1.6).contains(&self.gain)
            && self.offset.abs() <= 80.0
    }
}

/// The least share of the first picture that must lie within the second.
const OVERLAP: f32 = 0.6;

/// The difference that remains after registration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fit {
    pub(crate) pose: Pose,
    /// Root mean square of the difference, over the standard deviation of the first picture in the
    /// overlap: 0 for the same picture, about 1 for two that have nothing in common.
    pub(crate) distance: f32,
}

/// Refines a pose over `steps` steps; none if it does not converge.
pub(crate) fn refine(a: &Plane, b: &Plane, mut pose: Pose, steps: usize) -> Option<Fit> {
    let mut best: Option<Fit> = None;
    for step in 0..=steps {
        let (distance, equations) = residual(a, b, &pose)?;
        if best.is_none_or(|best| distance < best.distance) {
            best = Some(Fit { pose, distance });
        }
        if step == steps {
            break;
        }
        let Some(change) = solve(equations) else { break };
        pose.scale[0] += change[0];
        pose.shift[0] += change[1];
        pose.scale[1] += change[2];
        pose.shift[1] += change[3];
        pose.gain += change[4];
        pose.offset += change[5];
        if !pose.plausible() {
            break;
        }
        if change[..4].iter().all(|c| c.abs() < 1e-4) {
            let (distance, _) = residual(a, b, &pose)?;
            if best.is_none_or(|best| distance < best.distance) {
                best = Some(Fit { pose, distance });
            }
            break;
        }
    }
    best
}

/// The largest side of a plane.
pub(crate) const MAX_SIDE: usize = 256;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (a, rest_a) = a.as_chunks::<8>();
    let (b, rest_b) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Gauss–Newton's normal equations, as a 6 × 7 matrix.
type Equations = [[f64; 7]; 6];

fn residual(a: &Plane, b: &Plane, pose: &Pose) -> Option<(f32, Equations)> {
    let side = a.side;
    let half_a = (side - 1) as f32 / 2.0;
    let half_b = (b.side - 1) as f32 / 2.0;
    let mut equations = [[0f64; 7]; 6];
    let (mut n, mut squares, mut sum, mut sum_squares) = (0f64, 0f64, 0f64, 0f64);
    // For a row: slope along x times x, slope along x, slope along y, value, one, error. The slope
    // along y times y follows, as y is the same for the whole row.
    let mut lanes = [[0f32; MAX_SIDE]; 6];
    for y in 0..side {
        let v = y as f32 / half_a - 1.0;
        let at_y = (pose.scale[1] * v + pose.shift[1] + 1.0) * half_b;
        let mut count = 0;
        for x in 0..side {
            let u = x as f32 / half_a - 1.0;
            let at_x = (pose.scale[0] * u + pose.shift[0] + 1.0) * half_b;
            let Some([value, dx, dy]) = b.at(at_x, at_y) else { continue };
            let wanted = a.values[y * side + x];
            let error = wanted - (pose.gain * value + pose.offset);
            let (gx, gy) = (pose.gain * dx * half_b, pose.gain * dy * half_b);
            for (lane, value) in lanes.iter_mut().zip([gx * u, gx, gy, value, 1.0, error]) {
                lane[count] = value;
            }
            count += 1;
            squares += f64::from(error * error);
            sum += f64::from(wanted);
            sum_squares += f64::from(wanted * wanted);
        }
        n += count as f64;
        let v = f64::from(v);
        let product = |i: usize, j: usize| f64::from(dot(&lanes[i][..count], &lanes[j][..count]));
        // Which lane and which factor make up each unknown's slope.
        let slopes = [(0, 1.0), (1, 1.0), (2, v), (2, 1.0), (3, 1.0), (4, 1.0)];
        let mut products = [[0f64; 6]; 5];
        for (i, row) in products.iter_mut().enumerate() {
            for (j, product_ij) in row.iter_mut().enumerate().skip(i) {
                *product_ij = product(i, j);
            }
        }
        for (i, (lane, factor)) in slopes.iter().enumerate() {
            for (j, (other, other_factor)) in slopes.iter().enumerate().skip(i) {
                equations[i][j] += factor * other_factor * products[*lane][*other];
            }
            equations[i][6] += factor * products[*lane][5];
        }
    }
    if n < f64::from(OVERLAP) * (side * side) as f64 {
        return None;
    }
    let upper = equations;
    for (i, row) in equations.iter_mut().enumerate() {
        for (j, value) in row[..i].iter_mut().enumerate() {
            *value = upper[j][i];
        }
    }
    // A uniform surface fits everything: below 2 grey levels of structure nothing can be decided.
    let spread = (sum_squares / n - (sum / n).powi(2)).max(4.0).sqrt();
    Some((((squares / n).sqrt() / spread) as f32, equations))
}

/// Gaussian elimination with pivots.
fn solve(mut m: Equations) -> Option<[f32; 6]> {
    for (i, row) in m.iter_mut().enumerate() {
        row[i] *= 1.0 + 1e-4;
        row[i] += 1e-6;
    }
    for column in 0..6 {
        let pivot =
            (column..6).max_by(|a, b| m[*a][column].abs().total_cmp(&m[*b][column].abs()))?;
        if m[pivot][column].abs() < 1e-9 {
            return None;
        }
        m.swap(column, pivot);
        let pivot_row = m[column];
        for (i, row) in m.iter_mut().enumerate() {
            if i == column {
                continue;
            }
            let factor = row[column] / pivot_row[column];
            for (value, pivot) in row.iter_mut().zip(&pivot_row) {
                *value -= factor * pivot;
            }
        }
    }
    Some(std::array::from_fn(|i| (m[i][6] / m[i][i]) as f32))
}

/// The largest difference at half the size for which continuing is worthwhile.
const HOPELESS: f32 = 0.55;

/// The first, coarse registration of thumbnails: from several starts, since the central one may
/// miss a crop.
pub(crate) fn coarse(a: &Plane, b: &Plane) -> Option<Fit> {
    let (half_a, half_b) = (a.halved(), b.halved());
    let mut best: Option<Fit> = None;
    for scale in [1.0, 0.88, 1.14] {
        let start = Pose { scale: [scale; 2], ..Pose::SAME };
        if let Some(fit) = refine(&half_a, &half_b, start, 8)
            && best.is_none_or(|best| fit.distance < best.distance)
        {
            best = Some(fit);
        }
        if best.is_some_and(|best| best.distance < 0.1) {
            break;
        }
    }
    refine(a, b, best.filter(|best| best.distance <= HOPELESS)?.pose, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(side: usize, of: impl Fn(f32, f32) -> f32) -> Plane {
        let values = (0..side * side)
            .map(|i| {
                let half = (side - 1) as f32 / 2.0;
                of((i % side) as f32 / half - 1.0, (i / side) as f32 / half - 1.0)
            })
            .collect();
        Plane::new(side, values)
    }

    fn blobs(x: f32, y: f32) -> f32 {
        let blob = |cx: f32, cy: f32, r: f32| (-((x - cx).powi(2) + (y - cy).powi(2)) / r).exp();
        120.0 + 90.0 * blob(0.2, 0.1, 0.1) - 70.0 * blob(-0.4, -0.3, 0.2)
            + 40.0 * blob(0.5, -0.5, 0.05)
    }

    #[test]
    fn a_crop_with_other_brightness_is_found_again() {
        let a = plane(32, blobs);
        // The second shows the part from −0.86 to 0.94, a little darker.
        let b = plane(32, |x, y| 0.9 * blobs(0.9 * x + 0.04, 0.88 * y - 0.02) + 5.0);
        let fit = coarse(&a, &b).unwrap();
        assert!(fit.distance < 0.05, "{fit:?}");
        assert!((fit.pose.scale[0] - 1.0 / 0.9).abs() < 0.02, "{fit:?}");
        let fine = refine(&b, &a, Pose { scale: [0.95; 2], ..Pose::SAME }, 20).unwrap();
        assert!((fine.pose.scale[1] - 0.88).abs() < 0.02, "{fine:?}");
        assert!(coarse(&a, &b.mirrored()).is_none_or(|fit| fit.distance > 0.3));
    }

    #[test]
    fn an_even_picture_is_like_no_other() {
        let a = plane(32, blobs);
        let even = plane(32, |_, _| 128.0);
        assert!(coarse(&a, &even).is_none_or(|fit| fit.distance > 0.5));
    }
}
