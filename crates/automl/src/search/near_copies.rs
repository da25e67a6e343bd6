//! Pictures that are too much alike to judge by: the frames of one clip, the shots of one thing.

use rayon::prelude::*;

/// Two pictures of a class are alike if the cosine of their features, of which the mean of all
/// pictures was taken off, is above this. The frames of rock-paper-scissors' hands fall into 35
/// groups with it, which are nearly its 21 clips; pictures that were taken one by one hardly ever
/// do.
const ALIKE: f32 = 0.85;

/// Tried in turn if a class has a single group with a lower one.
const STRICTER: [f32; 3] = [ALIKE, 0.92, 0.97];

/// In a larger class nothing is compared: that would take longer than it is worth, and so many
/// pictures hardly come from a few clips.
const LARGEST_CLASS: usize = 5_000;

/// The number of each picture's group: pictures that are connected by being alike. `rows`: f32
/// `[pictures, width]`.
pub(crate) fn near_copies(rows: &[f32], width: usize, labels: &[u32]) -> Vec<u32> {
    let rows = centred(rows, width);
    let classes = labels.iter().max().map_or(0, |last| last + 1);
    let of_class = |class: u32| -> Vec<usize> {
        (0..labels.len()).filter(|&row| labels[row] == class).collect()
    };
    let mut group: Vec<u32> = (0..labels.len() as u32).collect();
    for pictures in (0..classes).map(of_class).filter(|own| own.len() <= LARGEST_CLASS) {
        for alike in STRICTER {
            let first = groups_of(&rows, width, &pictures, alike);
            for (at, first) in first.iter().enumerate() {
                group[pictures[at]] = pictures[*first] as u32;
            }
            if first.iter().any(|first| *first != 0) {
                break;
            }
        }
    }
    group
}

/// The rows without their mean, each of length 1.
fn centred(rows: &[f32], width: usize) -> Vec<f32> {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let mut mean = vec![0.0f64; width];
    for row in rows.chunks_exact(width.max(1)) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / count);
    }
    let mut centred = rows.to_vec();
    for row in centred.chunks_exact_mut(width.max(1)) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= *mean as f32);
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|value| *value /= length);
        }
    }
    centred
}

/// For each of these pictures, the first one of its group, by their places in the list.
fn groups_of(rows: &[f32], width: usize, pictures: &[usize], alike: f32) -> Vec<usize> {
    let row = |at: usize| &rows[pictures[at] * width..][..width];
    let pairs: Vec<Vec<usize>> = (0..pictures.len())
        .into_par_iter()
        .map(|at| (0..at).filter(|&other| dot(row(at), row(other)) > alike).collect())
        .collect();
    let mut parent: Vec<usize> = (0..pictures.len()).collect();
    for (at, others) in pairs.iter().enumerate() {
        for &other in others {
            let (a, b) = (root(&mut parent, at), root(&mut parent, other));
            parent[a.max(b)] = a.min(b);
        }
    }
    (0..pictures.len()).map(|at| root(&mut parent, at)).collect()
}

/// In eight sums, which the compiler turns into vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_are_alike_are_grouped_within_their_class() {
        let width = 10;
        // Five directions, three nearly equal rows of each; the third direction has two classes.
        let mut rows = Vec::new();
        let mut labels = Vec::new();
        for direction in 0..5 {
            for copy in 0..3u32 {
                let mut row = vec![0.1 * copy as f32; width];
                row[direction * 2] += 5.0;
                rows.extend(row);
                labels.push(u32::from(direction > 2 || (direction == 2 && copy == 2)));
            }
        }
        let groups = near_copies(&rows, width, &labels);
        assert_eq!(groups, [0, 0, 0, 3, 3, 3, 6, 6, 8, 9, 9, 9, 12, 12, 12]);
        // Alone in their class, they are told apart as far as that goes.
        let groups = near_copies(&rows[..3 * width], width, &[0, 0, 0]);
        assert_eq!(groups.len(), 3);
    }
}
