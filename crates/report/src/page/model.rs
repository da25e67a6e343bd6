//! What a page says. Data only: how it looks is decided elsewhere.

/// A self-contained page: [`Page::html`] writes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The headline, and the title of the window.
    pub title: String,
    /// A line below the headline; may be empty.
    pub subtitle: String,
    /// The sections in order; each is listed in the table of contents.
    pub sections: Vec<Section>,
    /// The pictures that the sections show, by index. Each is embedded once, however often it is
    /// shown.
    pub pictures: Vec<Thumbnail>,
    /// The last line, e.g. the program and its version; may be empty.
    pub footer: String,
}

/// A part of the page with a heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// The anchor, as in `report.html#classes`. Anything but ASCII letters, digits and hyphens
    /// becomes a hyphen, and a second section of the same anchor gets a number.
    pub id: String,
    /// The heading.
    pub title: String,
    /// What the section shows, below its heading; may be empty.
    pub lead: String,
    /// The content in order.
    pub blocks: Vec<Block>,
}

/// One piece of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph; empty lines separate several.
    Text(String),
    /// The result in one figure.
    Verdict(Verdict),
    /// What to do next, in order of importance.
    Advice(Vec<Advice>),
    /// A table.
    Table(Table),
    /// A chart.
    Chart(Chart),
    /// Pictures with what the model said of them.
    Gallery(Gallery),
    /// What was taken for what, with the pictures behind it.
    Confusion(Confusion),
    /// Names and values, e.g. of settings.
    Facts(Vec<(String, String)>),
    /// A command or a file, to be copied.
    Code {
        /// What it is; may be empty.
        caption: String,
        /// The text; line breaks are kept.
        text: String,
    },
}

/// The result in one figure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The figure as it is read, e.g. `98.7 %`.
    pub figure: String,
    /// What the figure is, e.g. `accuracy`.
    pub label: String,
    /// The figure as a share, 0…1.
    pub share: f64,
    /// The limits of its 95 % interval, 0…1, lower limit first.
    pub interval: Option<(f64, f64)>,
    /// What the figure means, in a sentence or two; may be empty.
    pub text: String,
    /// What it was measured on and the like: names and values.
    pub facts: Vec<(String, String)>,
}

/// How much a piece of advice matters. It is shown as a word and an icon, never by colour alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weight {
    /// Something is wrong.
    Problem,
    /// Something could be better.
    #[default]
    Advice,
    /// Something was checked and is as it should be.
    Fine,
}

/// A piece of advice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advice {
    /// How much it matters.
    pub weight: Weight,
    /// What was found and what to do.
    pub text: String,
    /// A command that does it.
    pub command: Option<String>,
    /// Pictures that show it, as indices into [`Page::pictures`].
    pub pictures: Vec<usize>,
}

/// A table. Readers can sort it by any column; a long one scrolls and can be filtered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The columns; the first one names the rows.
    pub columns: Vec<Column>,
    /// The rows, each as long as there are columns: missing cells are empty, further ones are
    /// left out.
    pub rows: Vec<Vec<Cell>>,
    /// Remarks below the table; may be empty.
    pub notes: String,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// What its cells are.
    pub kind: ColumnKind,
}

/// What the cells of a [`Column`] are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColumnKind {
    /// Names and words.
    #[default]
    Text,
    /// Figures, aligned to the right.
    Number,
    /// Shares, 0…1, each drawn as a bar beside its text.
    Share,
}

/// A cell of a [`Table`].
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Cell {
    /// Nothing.
    #[default]
    None,
    /// A name or words.
    Text(String),
    /// A figure.
    Number {
        /// Its value: rows are sorted by it, and it is the length of a share's bar.
        value: f64,
        /// How it is written.
        text: String,
    },
}

/// A chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// An SVG document, as [`crate::Picture::svg`] gives it. This is markup, not text: it must come
    /// from a program that escapes the names in it.
    pub svg: String,
    /// What the chart shows, for readers who cannot see it.
    pub alt: String,
    /// A line below the chart; may be empty.
    pub caption: String,
}

/// Pictures with what the model said of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gallery {
    /// What they have in common; may be empty.
    pub caption: String,
    /// The pictures in order.
    pub shots: Vec<Shot>,
    /// Whether readers can choose a true class to see the pictures of. Needs scripts.
    pub filter: bool,
}

/// A picture with what the model said of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shot {
    /// The picture as an index into [`Page::pictures`]; none, or one that does not exist, is an
    /// empty frame.
    pub picture: Option<usize>,
    /// The name of the file.
    pub name: String,
    /// The true class, as far as it is known.
    pub truth: Option<String>,
    /// The class that the model predicted.
    pub predicted: Option<String>,
    /// The probability of the predicted class, 0…1.
    pub probability: Option<f64>,
    /// Anything else; may be empty.
    pub note: String,
}

/// How often which class was taken for which. Up to 25 classes are shown as a matrix; of more, the
/// pairs that were confused most often.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confusion {
    /// The names of the classes.
    pub labels: Vec<String>,
    /// How many pictures there are, `[truth][predicted]`; missing ones count as 0.
    pub counts: Vec<Vec<u64>>,
    /// The pictures behind the cells.
    pub cells: Vec<ConfusionCell>,
}

/// The pictures behind a cell of a [`Confusion`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfusionCell {
    /// The true class as an index into [`Confusion::labels`].
    pub truth: usize,
    /// The predicted class, likewise.
    pub predicted: usize,
    /// The pictures; may be fewer than were counted.
    pub shots: Vec<Shot>,
}

/// A small picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thumbnail {
    /// A JPEG file.
    pub jpeg: Vec<u8>,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// What it shows, for readers who cannot see it; where it is empty, the name of the file is
    /// taken.
    pub alt: String,
    /// What the model looked at.
    pub map: Option<ActivationMap>,
}

/// What the model looked at, to be laid over a [`Thumbnail`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivationMap {
    /// A PNG file with transparency in the colours of [`heat`](crate::page::heat()), which the
    /// page's legend explains. It is stretched smoothly, though some viewers of PDF files show its
    /// pixels: at least 56 × 56 pixels look good there, too.
    pub png: Vec<u8>,
    /// The part of the thumbnail that it covers: left, top, right and bottom as fractions of the
    /// thumbnail.
    pub region: [f32; 4],
}
