/// A choice among words, which are also its names in arguments and files.
macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident, $field:literal,
        $($(#[$of:meta])* $word:ident = $text:literal),+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$of])* $word),+
        }

        impl $name {
            fn word(self) -> &'static str {
                match self {
                    $(Self::$word => $text),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = taper_core::OutOfRange;

            fn from_str(text: &str) -> std::result::Result<Self, taper_core::OutOfRange> {
                let all = [$(Self::$word),+];
                all.into_iter().find(|choice| choice.word() == text).ok_or_else(|| {
                    let words = all.map(Self::word).join(", ");
                    taper_core::OutOfRange::new($field, format!("'{text}'"), format!("use one of {words}"))
                })
            }
        }
    };
}

pub(crate) use words;
