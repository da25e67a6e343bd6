//! Which pictures train, which validate, and which stay untouched.

use std::{cmp::Reverse, collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use taper_core::{
    OutOfRange, Split,
    random::{Key, Purpose},
};

use crate::{Dataset, Error, Result, groups::MixedGroups};

const SPLIT: Purpose = Purpose::new("data/split");

/// The default share of a class for validation, and the share for the test split where the source
/// assigns no splits at all.
pub const DEFAULT_FRACTION: f64 = 0.15;

/// Which pictures validate. Written `auto`, `val`, `test` (and the aliases of [`Split`]) or a
/// fraction such as `0.15`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ValChoice {
    /// The split `val` if the data set has one, else 0.15 of `train`.
    #[default]
    Auto,
    /// The split of that name. Many tutorials use `test`: nothing then remains for an honest final
    /// figure.
    Split(Split),
    /// This share of `train`, drawn at random, stratified by class. Above 0 and below 1.
    Fraction(f64),
}

impl fmt::Display for ValChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValChoice::Auto => f.pad("auto"),
            ValChoice::Split(split) => split.fmt(f),
            ValChoice::Fraction(fraction) => fraction.fmt(f),
        }
    }
}

impl FromStr for ValChoice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::ValChoice { value: text.into() };
        if text == "auto" {
            return Ok(ValChoice::Auto);
        }
        if let Ok(split) = text.parse::<Split>() {
            // Validating on training pictures measures nothing.
            return if split == Split::Train { Err(wrong()) } else { Ok(ValChoice::Split(split)) };
        }
        text.parse::<f64>().map_err(|_| wrong()).and_then(Self::fraction)
    }
}

impl ValChoice {
    /// A fraction of `train`.
    ///
    /// # Errors
    /// [`Error::ValChoice`] unless it lies above 0 and below 1.
    pub fn fraction(fraction: f64) -> Result<Self> {
        if fraction > 0.0 && fraction < 1.0 {
            Ok(ValChoice::Fraction(fraction))
        } else {
            Err(Error::ValChoice { value: fraction.to_string() })
        }
    }
}

impl Serialize for ValChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            ValChoice::Fraction(fraction) => serializer.serialize_f64(*fraction),
            named => serializer.collect_str(named),
        }
    }
}

impl<'de> Deserialize<'de> for ValChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ValChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", \"val\", \"test\" or a fraction between 0 and 1")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<ValChoice, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<ValChoice, E> {
                ValChoice::fraction(value).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<ValChoice, E> {
                self.visit_f64(value as f64)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<ValChoice, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Indices into [`Dataset::samples`], each list in canonical order, no index in two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Splits {
    /// What the weights are fitted to.
    pub train: Vec<usize>,
    /// What decides when to stop and which weights to keep. Never empty.
    pub val: Vec<usize>,
    /// What stays untouched until the end. Empty if the data set has no test split, or if it is
    /// used for validation.
    pub test: Vec<usize>,
    /// Pictures of the split `val` when something else was chosen for validation: they are not
    /// used.
    pub unused: Vec<usize>,
    /// Whether validation is on the test split, so that no honest final figure remains. The output
    /// should say so.
    pub val_is_test: bool,
}

impl Dataset {
    /// Decides which pictures train, validate and test. Excluded ones are not used.
    ///
    /// - The splits that the source assigns are kept; `choice` says what is used for validation.
    /// - A fraction of `train` is drawn class by class: of n pictures round(n · fraction), at least
    ///   1 and at most n − 1.
    /// - Pictures to which the source assigns no split are training pictures. If it assigns no test
    ///   split either (class folders alone), 0.15 of each class of them become `test` first; then
    ///   `choice` is applied, where a fraction means a fraction of the whole class, so that the
    ///   default gives 0.7, 0.15, 0.15.
    /// - What is drawn depends on the seed and the pictures' ids only: it is the k pictures of a
    ///   class whose random numbers, keyed by (seed, id), are smallest. Adding or removing a
    ///   picture hardly changes the draw.
    ///
    /// # Errors
    /// - [`Error::NotInTrain`] for a class that has pictures, but none to train on;
    ///   [`Error::OneClass`]; [`Error::TooFew`] for a class that cannot be in every split that
    ///   needs it.
    /// - [`Error::NoSplit`] if the chosen split does not exist; [`Error::NoTrain`] if there is
    ///   nothing to train on.
    pub fn splits(&self, choice: ValChoice, seed: u64) -> Result<Splits> {
        if let ValChoice::Fraction(fraction) = choice {
            ValChoice::fraction(fraction)?;
        }
        let given = |split| self.indices(Some(split));
        let mut splits = Splits {
            train: given(Split::Train),
            val: given(Split::Val),
            test: given(Split::Test),
            ..Splits::default()
        };
        let mut pool = self.unassigned();
        // A test split that is given stays the only one.
        let drawn = !pool.is_empty() && splits.test.is_empty();
        if drawn {
            let key = Key::new(seed, SPLIT).part("test");
            let taken = self.draw(&pool, DEFAULT_FRACTION, &key, "train, val and test", 3)?;
            (splits.test, pool) = part(pool, &taken);
        }
        if !pool.is_empty() {
            splits.train.extend(pool);
            splits.train.sort_unstable();
        }
        if splits.train.is_empty() {
            let there = [(Split::Val, &splits.val), (Split::Test, &splits.test)];
            let there = there.into_iter().filter(|(_, indices)| !indices.is_empty());
            let found: Vec<&str> = there.map(|(split, _)| split.name()).collect();
            return Err(Error::NoTrain { path: self.place().into(), found: found.join(" and ") });
        }
        self.check_classes(&splits)?;

        let fraction = match choice {
            ValChoice::Fraction(fraction) => Some(fraction),
            ValChoice::Auto if splits.val.is_empty() => Some(DEFAULT_FRACTION),
            // Where nothing is assigned, every split is drawn.
            ValChoice::Split(Split::Val) if drawn => Some(DEFAULT_FRACTION),
            ValChoice::Auto | ValChoice::Split(_) => None,
        };
        if let Some(fraction) = fraction {
            let key = Key::new(seed, SPLIT).part("val");
            // 0.85 of the class is left for training, but the fraction refers to the whole class.
            let of_rest =
                if drawn { (fraction / (1.0 - DEFAULT_FRACTION)).min(1.0) } else { fraction };
            let taken = self.draw(&splits.train, of_rest, &key, "train and val", 2)?;
            splits.unused = std::mem::take(&mut splits.val);
            (splits.val, splits.train) = part(std::mem::take(&mut splits.train), &taken);
        } else if let ValChoice::Split(split) = choice {
            let chosen = match split {
                Split::Test => {
                    splits.val_is_test = true;
                    splits.unused = std::mem::take(&mut splits.val);
                    std::mem::take(&mut splits.test)
                }
                Split::Val => std::mem::take(&mut splits.val),
                Split::Train => return Err(Error::ValChoice { value: split.name().into() }),
            };
            if chosen.is_empty() {
                return Err(self.no_split(split));
            }
            splits.val = chosen;
        }
        Ok(splits)
    }

    fn unassigned(&self) -> Vec<usize> {
        let mut all = self.indices(None);
        all.retain(|i| self.samples()[*i].split.is_none());
        all
    }

    fn check_classes(&self, splits: &Splits) -> Result<()> {
        let train = self.counts(&splits.train);
        for (split, indices) in [(Split::Val, &splits.val), (Split::Test, &splits.test)] {
            for (label, count) in self.counts(indices).into_iter().enumerate() {
                if count > 0 && train[label] == 0 {
                    return Err(Error::NotInTrain {
                        path: self.place().into(),
                        class: self.class_name(label),
                        split,
                        nearest: Vec::new(),
                    });
                }
            }
        }
        if let Some(label) = train.iter().position(|n| *n == 0) {
            return Err(self.too_few(label, 0, 1, "train"));
        }
        if self.classes().len() == 1 {
            return Err(Error::OneClass { path: self.place().into(), class: self.class_name(0) });
        }
        Ok(())
    }

    /// Marks the drawn pictures among `indices`: `fraction` of each class, at least one, and few
    /// enough that at least `needed − 1` remain. Groups are drawn as a whole: of each class, as
    /// many groups as come closest to the fraction of its pictures; of all classes together where
    /// groups have pictures of several.
    fn draw(
        &self,
        indices: &[usize],
        fraction: f64,
        key: &Key,
        splits: &str,
        needed: usize,
    ) -> Result<Vec<bool>> {
        let mut taken = vec![false; indices.len()];
        if let Some(mixed) = MixedGroups::of(self, indices, key) {
            let drawn = mixed.draw(fraction, needed, &mut taken);
            drawn.map_err(|few| self.too_few_groups(few.label, few.groups, needed))?;
            return Ok(taken);
        }
        for (label, mut groups) in self.groups_of(indices, key).into_iter().enumerate() {
            let n: usize = groups.iter().map(|g| g.positions.len()).sum();
            if n < needed {
                return Err(self.too_few(label, n, needed, splits));
            }
            if groups.len() < needed {
                return Err(self.too_few_groups(label, groups.len(), needed));
            }
            groups.sort_unstable_by_key(|g| (g.random, g.positions[0]));
            let wanted = n as f64 * fraction;
            let most = groups.len() + 1 - needed;
            let mut drawn = 0;
            for (k, group) in groups[..most].iter().enumerate() {
                let size = group.positions.len();
                // Whether it is closer with this group than without it; ties as in `round`.
                if k > 0 && drawn as f64 + 0.5 * size as f64 > wanted {
                    break;
                }
                group.positions.iter().for_each(|position| taken[*position] = true);
                drawn += size;
            }
        }
        Ok(taken)
    }

    /// The groups of each class, where each has pictures of one; pictures without one are groups of
    /// their own.
    fn groups_of(&self, indices: &[usize], key: &Key) -> Vec<Vec<Group>> {
        let mut by_class: Vec<Vec<Group>> = Vec::new();
        by_class.resize_with(self.classes().len(), Vec::new);
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, index) in indices.iter().enumerate() {
            let sample = &self.samples()[*index];
            match sample.group.as_deref() {
                Some(group) => named.entry(group).or_default().push(position),
                None => by_class[sample.label as usize].push(Group {
                    random: key.stream(0, sample.key()).next_u64(),
                    positions: vec![position],
                }),
            }
        }
        for (name, positions) in named {
            let label = self.samples()[indices[positions[0]]].label;
            let random = key.stream(0, crate::dataset::hash_of(name)).next_u64();
            by_class[label as usize].push(Group { random, positions });
        }
        by_class
    }

    /// Fold `fold` (from 0) of `folds`: its validation and training pictures. The splits `val` and
    /// `train`, or everything where the source assigns no splits, are divided class by class, and
    /// group by group where there are groups, into parts that are as equal as possible; `test`
    /// stays untouched. What is in which fold depends on the seed, the ids and the number of folds
    /// only.
    ///
    /// # Errors
    /// [`Error::Setting`] unless `folds` is at least 2 and `fold` below it; [`Error::TooFew`] or
    /// [`Error::TooFewGroups`] if a class cannot be in every fold; otherwise as
    /// [`Dataset::splits`].
    pub fn fold(&self, folds: usize, fold: usize, seed: u64) -> Result<Splits> {
        if folds < 2 || fold >= folds {
            return Err(OutOfRange::new(
                "fold",
                format!("{fold} of {folds}"),
                "use 2 or more folds, and a fold from 0 to one less",
            )
            .into());
        }
        let mut pool = self.unassigned();
        pool.extend(self.indices(Some(Split::Train)));
        pool.extend(self.indices(Some(Split::Val)));
        pool.sort_unstable();
        let mut splits = Splits { test: self.indices(Some(Split::Test)), ..Splits::default() };
        let key = Key::new(seed, SPLIT).part("fold");
        let mut of = vec![0; pool.len()];
        let mixed = MixedGroups::of(self, &pool, &key);
        if let Some(mixed) = &mixed {
            let dealt = mixed.folds(folds, &mut of);
            dealt.map_err(|few| self.too_few_groups(few.label, few.groups, folds))?;
        }
        let by_class = if mixed.is_none() { self.groups_of(&pool, &key) } else { Vec::new() };
        for (label, mut groups) in by_class.into_iter().enumerate() {
            let n: usize = groups.iter().map(|g| g.positions.len()).sum();
            if n < folds {
                return Err(self.too_few(label, n, folds, &format!("{folds} folds")));
            }
            if groups.len() < folds {
                return Err(self.too_few_groups(label, groups.len(), folds));
            }
            // The largest groups first, each into the smallest fold so far, at random among equals.
            groups.sort_unstable_by_key(|g| (Reverse(g.positions.len()), g.random, g.positions[0]));
            let mut sizes: Vec<(usize, usize)> = (0..folds).map(|fold| (0, fold)).collect();
            for group in groups {
                let Some(least) = sizes.iter_mut().min_by_key(|(size, fold)| {
                    // Classes start with different folds, so that not all of them have their
                    // surplus in the first.
                    (*size, (*fold + label) % folds)
                }) else {
                    break;
                };
                group.positions.iter().for_each(|position| of[*position] = least.1);
                least.0 += group.positions.len();
            }
        }
        for (index, of) in pool.into_iter().zip(of) {
            if of == fold { splits.val.push(index) } else { splits.train.push(index) }
        }
        if splits.train.is_empty() {
            return Err(Error::NoTrain { path: self.place().into(), found: "test".into() });
        }
        self.check_classes(&splits)?;
        Ok(splits)
    }

    fn too_few_groups(&self, label: usize, found: usize, needed: usize) -> Error {
        Error::TooFewGroups { place: self.place(), class: self.class_name(label), found, needed }
    }

    fn class_name(&self, label: usize) -> String {
        self.classes().iter().nth(label).unwrap_or_default().into()
    }

    fn too_few(&self, label: usize, found: usize, needed: usize, splits: &str) -> Error {
        Error::TooFew {
            place: self.place(),
            class: self.class_name(label),
            found,
            needed,
            splits: splits.into(),
        }
    }

    fn no_split(&self, split: Split) -> Error {
        let available: Vec<&str> = Split::ALL
            .into_iter()
            .filter(|s| !self.indices(Some(*s)).is_empty())
            .map(Split::name)
            .collect();
        Error::NoSplit { place: self.place(), split, available: available.join(", ") }
    }
}

/// Pictures that stay together.
struct Group {
    random: u64,
    /// In the list that is drawn from; at least one.
    positions: Vec<usize>,
}

/// The drawn indices and the others, both in order.
fn part(indices: Vec<usize>, taken: &[bool]) -> (Vec<usize>, Vec<usize>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (index, taken) in indices.into_iter().zip(taken) {
        if *taken { yes.push(index) } else { no.push(index) }
    }
    (yes, no)
}

impl Splits {
    /// The indices of one split.
    pub fn get(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }

    /// The same splits without the samples that turned out to be unusable: for a caller that splits
    /// first and decodes once, later. Nothing is drawn again.
    ///
    /// # Errors
    /// [`Error::NoneUsable`] if a class of `dataset` loses its last training picture, or validation
    /// its last picture.
    pub fn without(
        &self,
        dataset: &Dataset,
        unusable: &[taper_picture::Finding],
    ) -> Result<Splits> {
        let gone: std::collections::HashSet<usize> =
            unusable.iter().filter(|f| !f.usable()).filter_map(|f| f.sample).collect();
        let keep = |indices: &[usize]| -> Vec<usize> {
            indices.iter().copied().filter(|i| !gone.contains(i)).collect()
        };
        let left = Splits {
            train: keep(&self.train),
            val: keep(&self.val),
            test: keep(&self.test),
            unused: keep(&self.unused),
            val_is_test: self.val_is_test,
        };
        let none_usable = |split, indices: &[usize]| {
            let first = unusable.iter().find(|f| f.sample.is_some_and(|s| indices.contains(&s)));
            Error::NoneUsable {
                place: dataset.place(),
                class: indices.first().map_or_else(String::new, |index| {
                    dataset.class_name(dataset.samples()[*index].label as usize)
                }),
                split,
                count: indices.len(),
                example: first.map_or_else(String::new, |f| format!("{}: {}", f.path, f.reason)),
            }
        };
        let of_class = |indices: &[usize], label: usize| -> Vec<usize> {
            let samples = dataset.samples();
            indices.iter().copied().filter(|i| samples[*i].label as usize == label).collect()
        };
        let before = dataset.counts(&self.train);
        for (label, (before, after)) in
            before.into_iter().zip(dataset.counts(&left.train)).enumerate()
        {
            if before > 0 && after == 0 {
                return Err(none_usable(Split::Train, &of_class(&self.train, label)));
            }
        }
        if left.val.is_empty() {
            let label = self.val.first().map_or(0, |i| dataset.samples()[*i].label as usize);
            return Err(none_usable(Split::Val, &of_class(&self.val, label)));
        }
        Ok(left)
    }
}
