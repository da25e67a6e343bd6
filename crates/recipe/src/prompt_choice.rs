use std::str::FromStr;

use serde::{Deserialize, Serialize};
use taper_core::OutOfRange;

/// The sentences about the name of a class, where a head starts from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMore", into = "OneOrMore")]
pub enum PromptChoice {
    /// Seven that say little more than that it is a picture.
    #[default]
    Default,
    /// The 80 that CLIP was measured with on ImageNet.
    Imagenet,
    /// The bare name.
    Name,
    /// Sentences with `{}` for the name.
    Own(Vec<String>),
}

impl FromStr for PromptChoice {
    type Err = OutOfRange;

    /// A word, or the path of a file with a sentence in each line; empty lines are left out.
    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        match text {
            "default" => return Ok(Self::Default),
            "imagenet" => return Ok(Self::Imagenet),
            "name" => return Ok(Self::Name),
            _ => {}
        }
        let read = std::fs::read_to_string(text).map_err(|error| {
            let remedy = format!(
                "{error}: use default, imagenet, name, or a file with a sentence in each line and {{}} for the name"
            );
            OutOfRange::new("prompts", format!("'{text}'"), remedy)
        })?;
        let lines = read.trim_start_matches('\u{feff}').lines().map(str::trim);
        let own = Self::Own(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect());
        own.check().map(|()| own)
    }
}

impl PromptChoice {
    /// Whether every sentence has a place for the name.
    ///
    /// # Errors
    /// [`OutOfRange`] names the first one without.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let Self::Own(own) = self else { return Ok(()) };
        let wrong = match own.iter().find(|sentence| !sentence.contains("{}")) {
            Some(sentence) => format!("'{sentence}'"),
            None if own.is_empty() => "empty".to_owned(),
            None => return Ok(()),
        };
        Err(OutOfRange::new("prompts", wrong, "use sentences with {} where the name belongs"))
    }
}

/// As it stands in a file: a word, or a list of sentences.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "use default, imagenet, name, or a list of sentences with {}")]
enum OneOrMore {
    Word(Word),
    Sentences(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Default,
    Imagenet,
    Name,
}

impl From<OneOrMore> for PromptChoice {
    fn from(read: OneOrMore) -> Self {
        match read {
            OneOrMore::Word(Word::Default) => Self::Default,
            OneOrMore::Word(Word::Imagenet) => Self::Imagenet,
            OneOrMore::Word(Word::Name) => Self::Name,
            OneOrMore::Sentences(own) => Self::Own(own),
        }
    }
}

impl From<PromptChoice> for OneOrMore {
    fn from(choice: PromptChoice) -> Self {
        match choice {
            PromptChoice::Default => Self::Word(Word::Default),
            PromptChoice::Imagenet => Self::Word(Word::Imagenet),
            PromptChoice::Name => Self::Word(Word::Name),
            PromptChoice::Own(own) => Self::Sentences(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;

    #[test]
    fn prompts_are_words_sentences_or_a_file() {
        let read = |value: &str| {
            Recipe::parse(&format!("prompts = {value}\n"), "recipe.toml".as_ref())
                .map(|recipe| recipe.prompts)
        };
        assert_eq!(read("'imagenet'").unwrap(), PromptChoice::Imagenet);
        let own = PromptChoice::Own(vec!["a {}".to_owned()]);
        assert_eq!(read("['a {}']").unwrap(), own);
        let error = read("'many'").unwrap_err().to_string();
        assert!(error.contains("default, imagenet, name"), "{error}");

        let folder = std::env::temp_dir().join(format!("taper-prompts-{}", std::process::id()));
        std::fs::write(&folder, "\u{feff}a {}\n\n").unwrap();
        let path = folder.to_str().unwrap();
        assert_eq!(path.parse::<PromptChoice>().unwrap(), own);
        std::fs::write(&folder, "a cat").unwrap();
        let error = path.parse::<PromptChoice>().unwrap_err().to_string();
        assert!(error.contains("prompts is 'a cat'"), "{error}");
        std::fs::remove_file(&folder).unwrap();
        let error = "nowhere".parse::<PromptChoice>().unwrap_err().to_string();
        assert!(error.contains("prompts is 'nowhere'"), "{error}");
    }
}
