//! The frame of a page: head, table of contents, sections, and the pictures.

use std::collections::HashSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{
    Block, Page, Section, Thumbnail, advice, chart, confusion, gallery, heat, table,
    text::{escape, name, paragraphs},
    verdict,
};

const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");

/// What the blocks of a page share while they are written.
pub(super) struct Writer<'a> {
    /// The pictures that blocks refer to.
    pub(super) pictures: &'a [Thumbnail],
    /// How many ids were given.
    given: usize,
}

impl Writer<'_> {
    /// An id that no other element of the page has. Anchors of sections have no underscores.
    pub(super) fn id(&mut self, kind: &str) -> String {
        self.given += 1;
        format!("{kind}_{}", self.given)
    }

    fn block(&mut self, block: &Block) -> String {
        match block {
            Block::Text(text) => paragraphs(text, "text"),
            Block::Verdict(own) => verdict::verdict(own),
            Block::Advice(list) => advice::advice(self, list),
            Block::Table(own) => table::table(self, own),
            Block::Chart(own) => chart::chart(self, own),
            Block::Gallery(own) => gallery::gallery(self, own),
            Block::Confusion(own) => confusion::confusion(self, own),
            Block::Facts(list) => format!("<div class=\"card sheet\">{}</div>\n", facts(list)),
            Block::Code { caption, text } => code(caption, text),
        }
    }
}

/// The whole page.
pub(super) fn document(page: &Page) -> String {
    let mut writer = Writer { pictures: &page.pictures, given: 0 };
    let anchors = anchors(&page.sections);
    let sections: String = page
        .sections
        .iter()
        .zip(&anchors)
        .map(|(section, anchor)| one_section(&mut writer, section, anchor))
        .collect();
    let subtitle = match page.subtitle.is_empty() {
        true => String::new(),
        false => format!("<p>{}</p>\n", escape(&page.subtitle)),
    };
    let footer = match page.footer.is_empty() {
        true => String::new(),
        false => format!("<footer class=\"foot\"><p>{}</p></footer>\n", escape(&page.footer)),
    };
    let (title, aside) = (escape(&page.title), aside(page, &anchors));
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         <style>\n{STYLE}</style>\n\
         </head>\n\
         <body>\n\
         <a class=\"skip\" href=\"#content_0\">Skip to the content</a>\n\
         <header class=\"top\">\n<h1>{title}</h1>\n{subtitle}</header>\n\
         <div class=\"frame\">\n\
         {aside}\
         <main id=\"content_0\" tabindex=\"-1\">\n{sections}</main>\n\
         </div>\n\
         {footer}\
         {sprite}\
         <script>{SCRIPT}</script>\n\
         </body>\n\
         </html>\n",
        policy = policy(),
        sprite = sprite(&page.pictures),
    )
}

/// Ids of a page have smaller numbers.
const LATER_IDS: usize = 1_000_000;

/// A page with one more section.
pub(super) fn with_section(html: &str, section: &Section, before: &str) -> Option<String> {
    let anchor = anchors(std::slice::from_ref(section)).pop()?;
    let starts = |anchor: &str| format!("<section id=\"{anchor}\" ");
    let listed = |anchor: &str| format!("<li><a href=\"#{anchor}\">");
    let mut page = html.to_owned();
    for (start, end) in [(starts(&anchor), "</section>\n"), (listed(&anchor), "</li>\n")] {
        while let Some(at) = page.find(&start) {
            let length = page[at..].find(end)? + end.len();
            page.replace_range(at..at + length, "");
        }
    }
    let at = page.find(&starts(before))?;
    let own = one_section(&mut Writer { pictures: &[], given: LATER_IDS }, section, &anchor);
    page.insert_str(at, &own);
    let entry = format!("{}{}</a></li>\n", listed(&anchor), escape(&section.title));
    let next = listed(before);
    Some(page.replace(&next, &format!("{entry}{next}")))
}

/// What the page may load: nothing but its own pictures, styles and script.
fn policy() -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
         script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
}

/// An anchor of each section, none twice.
fn anchors(sections: &[Section]) -> Vec<String> {
    let mut taken = HashSet::new();
    let clean = |id: &str| {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let id: String = id.chars().map(safe).collect();
        match id.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => id,
            false => format!("section-{}", id.trim_start_matches('-')),
        }
    };
    let mut anchors = Vec::with_capacity(sections.len());
    for section in sections {
        let base = clean(&section.id);
        let mut anchor = base.clone();
        let mut number = 2;
        while !taken.insert(anchor.clone()) {
            anchor = format!("{base}-{number}");
            number += 1;
        }
        anchors.push(anchor);
    }
    anchors
}

/// The table of contents, and the switch for the maps if there are any.
fn aside(page: &Page, anchors: &[String]) -> String {
    let has_maps = page.pictures.iter().any(|picture| picture.map.is_some());
    if page.sections.is_empty() && !has_maps {
        return String::new();
    }
    let mut out = "<aside class=\"side\" aria-label=\"Overview\">\n".to_string();
    if !page.sections.is_empty() {
        let entry = |(section, anchor): (&Section, &String)| {
            format!("<li><a href=\"#{anchor}\">{}</a></li>\n", escape(&section.title))
        };
        let list: String = page.sections.iter().zip(anchors).map(entry).collect();
        out += &format!(
            "<nav class=\"contents\" aria-label=\"Contents\">\n\
             <details class=\"narrow\"><summary>Contents</summary>\n<ol>\n{list}</ol></details>\n\
             <ol class=\"wide\">\n{list}</ol>\n</nav>\n"
        );
    }
    if has_maps {
        out += &switch();
    }
    out + "</aside>\n"
}

/// The switch for the maps and what their colours mean.
fn switch() -> String {
    let stop = |step: u8| {
        let share = f32::from(step) / 8.0;
        let [r, g, b, alpha] = heat(share);
        let (offset, opacity) = (100.0 * share, f32::from(alpha) / 255.0);
        format!(
            "<stop offset=\"{offset}%\" stop-color=\"rgb({r},{g},{b})\" \
 stop-opacity=\"{opacity:.2}\"/>"
        )
    };
    let stops: String = (0..=8).map(stop).collect();
    format!(
        "<div class=\"maps\">\n\
         <label><input type=\"checkbox\" id=\"maps_0\" checked> \
 Show what the model looked at</label>\n\
         <div class=\"legend\"><span class=\"paper\">What the model looked at:</span>\
         <span>little</span>\
         <svg aria-hidden=\"true\" focusable=\"false\"><defs>\
         <linearGradient id=\"heat_0\">{stops}</linearGradient></defs>\
         <rect width=\"100%\" height=\"100%\" fill=\"url(#heat_0)\"/></svg>\
         <span>much</span></div>\n\
         </div>\n"
    )
}

fn one_section(writer: &mut Writer<'_>, section: &Section, anchor: &str) -> String {
    let blocks: String = section.blocks.iter().map(|block| writer.block(block)).collect();
    format!(
        "<section id=\"{anchor}\" aria-labelledby=\"{anchor}_title\">\n\
         <h2 id=\"{anchor}_title\">{}</h2>\n{}{blocks}</section>\n",
        escape(&section.title),
        paragraphs(&section.lead, "lead"),
    )
}

/// Names and values.
pub(super) fn facts(list: &[(String, String)]) -> String {
    let fact = |(key, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(key), name_or_nothing(value))
    };
    match list.is_empty() {
        true => String::new(),
        false => {
            format!("<dl class=\"facts\">\n{}</dl>\n", list.iter().map(fact).collect::<String>())
        }
    }
}

fn name_or_nothing(value: &str) -> String {
    if value.is_empty() { "–".into() } else { name(value) }
}

fn code(caption: &str, text: &str) -> String {
    let label = if caption.is_empty() { "Text to copy" } else { caption };
    let caption = match caption.is_empty() {
        true => String::new(),
        false => format!("<figcaption>{}</figcaption>\n", escape(caption)),
    };
    format!(
        "<figure class=\"card listing\">\n{caption}<div class=\"copied\">\
         <pre tabindex=\"0\" role=\"group\" aria-label=\"{}\"><code>{}</code></pre></div>\n\
         </figure>\n",
        escape(label),
        escape(text),
    )
}

/// A command with room for a button to copy it.
pub(super) fn command(text: &str) -> String {
    // Words stay whole: nobody sees whether a line that ends in "--" goes on with a space.
    let word = |word: &str| format!("<span>{}</span>", escape(word));
    let words: Vec<String> = text.split(' ').map(word).collect();
    format!("<div class=\"copied command\"><code>{}</code></div>\n", words.join(" "))
}

/// All pictures, once, where elements can refer to them.
fn sprite(pictures: &[Thumbnail]) -> String {
    if pictures.is_empty() {
        return String::new();
    }
    let mut out = "<svg class=\"sprite\" width=\"0\" height=\"0\" aria-hidden=\"true\" \
                   focusable=\"false\"><defs>\n"
        .to_string();
    for (i, picture) in pictures.iter().enumerate() {
        let (w, h) = (picture.width.max(1), picture.height.max(1));
        out += &format!(
            "<symbol id=\"p_{i}\" viewBox=\"0 0 {w} {h}\"><image width=\"{w}\" height=\"{h}\" \
             href=\"data:image/jpeg;base64,"
        );
        BASE64_STANDARD.encode_string(&picture.jpeg, &mut out);
        out += "\"/>";
        if let Some(map) = &picture.map {
            let [left, top, right, bottom] = map.region.map(finite);
            let (x, width) = (left * w as f32, (right - left).max(0.0) * w as f32);
            let (y, height) = (top * h as f32, (bottom - top).max(0.0) * h as f32);
            out += &format!(
                "<g class=\"map\"><image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
                 preserveAspectRatio=\"none\" href=\"data:image/png;base64,"
            );
            BASE64_STANDARD.encode_string(&map.png, &mut out);
            out += "\"/></g>";
        }
        out += "</symbol>\n";
    }
    out + "</defs></svg>\n"
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}
