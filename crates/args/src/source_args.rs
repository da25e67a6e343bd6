use clap::Args;
use taper_sources::{FolderUse, LayoutChoice, Reading, SourceOptions};

/// How labelled pictures are to be read where they leave a choice.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// What the topmost folders are: auto, classes or splits [default: auto].
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<LayoutChoice>,
    /// Take labels from paths: what this expression's first pair of parentheses matches (without
    /// any, all that it matches), e.g. '([a-z]+)\.\d+\.jpg$' for cat.0.jpg.
    #[arg(long, value_name = "REGEX")]
    label_from: Option<String>,
    /// The column of a manifest or of Parquet that holds the pictures or their paths.
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,
    /// The column that holds the labels.
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// The column that says the split.
    #[arg(long, value_name = "NAME")]
    split_column: Option<String>,
    /// The largest number of pixels that a picture may have; larger ones count as unreadable
    /// [default: 178956970].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,
}

impl SourceArgs {
    /// Whether any was given.
    pub fn is_empty(&self) -> bool {
        self.resolve(SourceOptions::default(), None).is_default()
    }

    /// The options, with the arguments over them; the column of groups is one of the commands for
    /// which it matters.
    pub fn resolve(&self, options: SourceOptions, group_column: Option<&String>) -> SourceOptions {
        let mut resolved = options;
        if let Some(layout) = self.layout {
            resolved.layout = layout;
        }
        let given = [
            (self.label_from.as_ref(), &mut resolved.label_from),
            (self.image_column.as_ref(), &mut resolved.image_column),
            (self.label_column.as_ref(), &mut resolved.label_column),
            (self.split_column.as_ref(), &mut resolved.split_column),
            (group_column, &mut resolved.group_column),
        ];
        for (argument, option) in given {
            if argument.is_some() {
                *option = argument.cloned();
            }
        }
        resolved.max_pixels = self.max_pixels.or(resolved.max_pixels);
        resolved
    }

    /// The options to evaluate or inspect.
    pub fn reading(&self, group_column: Option<&String>) -> Reading {
        Reading::new(FolderUse::Evaluate, self.resolve(SourceOptions::default(), group_column))
    }
}
