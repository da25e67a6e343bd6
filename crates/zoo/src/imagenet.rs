//! The 1000 classes of ImageNet-1k (ILSVRC 2012), in the order of the pretrained classifiers'
//! outputs.

use taper_core::ClassNames;

const TABLE: &str = include_str!("../assets/imagenet-1k.tsv");

/// A class of ImageNet-1k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The WordNet synset, e.g. `n01440764`.
    pub synset: &'static str,
    /// Its names, separated by a comma and a space, e.g. `tench, Tinca tinca`.
    pub names: &'static str,
}

impl Class {
    /// The first name; no two classes share one.
    pub fn name(&self) -> &'static str {
        self.names.split(", ").next().unwrap_or(self.names)
    }
}

/// The classes in label order: the i-th logit of a pretrained classifier belongs to the i-th class.
///
/// ```
/// let classes: Vec<_> = taper_zoo::imagenet::classes().collect();
/// assert_eq!(classes.len(), 1000);
/// assert_eq!((classes[0].synset, classes[0].name()), ("n01440764", "tench"));
/// ```
pub fn classes() -> impl Iterator<Item = Class> {
    TABLE.lines().filter_map(|line| {
        let (synset, names) = line.split_once('\t')?;
        Some(Class { synset, names })
    })
}

/// The first names of all classes, as labels.
pub fn class_names() -> ClassNames {
    let names = classes().map(|class| class.name().to_owned()).collect();
    ClassNames::new(names).expect("the embedded table repeats no name: tested")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_thousand_classes_and_each_has_its_own_name() {
        let names = class_names();
        assert_eq!(names.len(), 1000);
        assert_eq!(names.name(134), Some("crane (bird)"));
        assert_eq!(names.name(517), Some("crane (machine)"));
        assert_eq!(names.name(999), Some("toilet tissue"));
        let mut synsets: Vec<_> = classes().map(|class| class.synset).collect();
        assert!(synsets.iter().all(|s| s.len() == 9 && s.starts_with('n')));
        synsets.sort();
        synsets.dedup();
        assert_eq!(synsets.len(), 1000);
    }
}
