//! Reports as one HTML file: no network, no framework, readable without scripts and on paper.
//!
//! A [`Page`] is data. [`Page::html`] writes it: every text in it is text, whatever characters it
//! has, and the same page gives the same bytes.
//!
//! ```
//! use taper_report::page::{Block, Page, Section, Verdict};
//!
//! let page = Page {
//!     title: "Rock, paper, scissors".into(),
//!     sections: vec![Section {
//!         id: "verdict".into(),
//!         title: "How good it is".into(),
//!         blocks: vec![Block::Verdict(Verdict {
//!             figure: "98.7 %".into(),
//!             label: "accuracy".into(),
//!             share: 0.987,
//!             interval: Some((0.971, 0.994)),
//!             ..Verdict::default()
//!         })],
//!         ..Section::default()
//!     }],
//!     ..Page::default()
//! };
//! let html = page.html();
//! assert!(html.starts_with("<!DOCTYPE html>"));
//! ```

mod advice;
mod chart;
mod confusion;
mod document;
mod gallery;
mod heat;
mod model;
mod table;
mod text;
mod verdict;

pub use heat::heat;
pub use model::{
    ActivationMap, Advice, Block, Cell, Chart, Column, ColumnKind, Confusion, ConfusionCell,
    Gallery, Page, Section, Shot, Table, Thumbnail, Verdict, Weight,
};

impl Page {
    /// The whole page as HTML.
    pub fn html(&self) -> String {
        document::document(self)
    }

    /// A page that [`Page::html`] wrote, with one more section before that with the id `before`; an
    /// earlier one with its own id goes. None if the page has no section `before`. Sections that
    /// refer to pictures cannot be added.
    pub fn with_section(html: &str, section: &Section, before: &str) -> Option<String> {
        document::with_section(html, section, before)
    }
}
