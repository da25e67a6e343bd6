use std::fmt::Write as _;

use crate::{
    Picture, letters,
    raster::Shape,
    style::{Anchor, Type, rgb},
};

/// The body of an SVG file, element by element, and the same shapes for rasterising.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
    shapes: Vec<Shape>,
}

/// At most two decimals, without trailing zeros: short files, and the same bytes everywhere.
pub(crate) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// As [`n`] writes it.
fn rounded(value: f64) -> f32 {
    n(value).parse().unwrap_or(0.0)
}

impl Svg {
    fn raw(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// Until [`Svg::end_clip`], nothing is drawn outside this rectangle, the `id`-th of the
    /// picture.
    pub(crate) fn clip(&mut self, id: usize, place: [f64; 4]) {
        let [x, y, w, h] = place.map(n);
        self.raw(&format!(
            "<clipPath id=\"c{id}\"><rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/></clipPath>"
        ));
        self.raw(&format!("<g clip-path=\"url(#c{id})\">"));
        self.shapes.push(Shape::Clip(place.map(rounded)));
    }

    pub(crate) fn end_clip(&mut self) {
        self.raw("</g>");
        self.shapes.push(Shape::EndClip);
    }

    pub(crate) fn rect(&mut self, place: [f64; 4], fill: &str, stroke: Option<&str>) {
        self.shapes.push(Shape::Rect {
            place: place.map(rounded),
            fill: rgb(fill),
            stroke: stroke.map(rgb),
        });
        let stroke = stroke.map(|s| format!(" stroke=\"{s}\"")).unwrap_or_default();
        let [x, y, w, h] = place.map(n);
        self.raw(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"{fill}\"{stroke}/>"
        ));
    }

    pub(crate) fn line(&mut self, ends: [f64; 4], colour: &str, width: f64, dash: &str) {
        let [x1, y1, x2, y2] = ends.map(rounded);
        self.shapes.push(Shape::Lines {
            points: vec![(x1, y1), (x2, y2)],
            colour: rgb(colour),
            width: rounded(width),
            dash: dashes(dash),
            round: false,
        });
        let ([x1, y1, x2, y2], width) = (ends.map(n), n(width));
        let dash = dash_attribute(dash);
        self.raw(&format!(
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}/>"
        ));
    }

    pub(crate) fn path(&mut self, points: &[(f64, f64)], colour: &str, width: f64, dash: &str) {
        self.shapes.push(Shape::Lines {
            points: points.iter().map(|&(x, y)| (rounded(x), rounded(y))).collect(),
            colour: rgb(colour),
            width: rounded(width),
            dash: dashes(dash),
            round: true,
        });
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(d, "{}{} {}", if i == 0 { "M" } else { " L" }, n(*x), n(*y));
        }
        let (width, dash) = (n(width), dash_attribute(dash));
        self.raw(&format!(
            "<path d=\"{d}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\" stroke-linecap=\"round\"{dash}/>"
        ));
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), r: f64, fill: &str, stroke: &str) {
        self.shapes.push(Shape::Circle {
            centre: (rounded(x), rounded(y)),
            radius: rounded(r),
            fill: rgb(fill),
            stroke: rgb(stroke),
        });
        let (x, y, r) = (n(x), n(y), n(r));
        self.raw(&format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"1.5\"/>"
        ));
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), text: &str, style: Type) {
        self.shapes.push(Shape::Text {
            at: (rounded(x), rounded(y)),
            // Viewers of SVG show any number of spaces as one.
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            style,
        });
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
        let rim = if style.rim {
            " stroke=\"#ffffff\" stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\""
        } else {
            ""
        };
        let (x, y, size) = (n(x), n(y), n(style.size));
        let turn = if style.turn == 0.0 {
            String::new()
        } else {
            format!(" transform=\"rotate({} {x} {y})\"", n(style.turn))
        };
        let (colour, text) = (style.colour, escape(text));
        self.raw(&format!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{bold}{rim}{turn}>{text}</text>"
        ));
    }

    /// Draws the content of another one.
    pub(crate) fn append(&mut self, other: Self) {
        self.body.push_str(&other.body);
        self.shapes.extend(other.shapes);
    }

    /// The whole picture.
    pub(crate) fn finish(self, width: f64, height: f64) -> Picture {
        let (w, h) = (n(width), n(height));
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">\n\
             <!-- Taper figure -->\n\
             <rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        );
        Picture::new(svg, self.shapes, (rounded(width), rounded(height)))
    }
}

/// The alternating lengths of dashes and gaps.
fn dashes(dash: &str) -> Vec<f32> {
    dash.split([' ', ',']).filter_map(|length| length.parse().ok()).collect()
}

fn dash_attribute(dash: &str) -> String {
    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") }
}

/// Text escaped for XML: names come from folders and may contain anything.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// How wide a text is, with a little room for viewers that have another font.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    1.03 * f64::from(letters::width(text, size as f32, false))
}

/// The text, or as much of its beginning as fits, with an ellipsis.
pub(crate) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.into();
    }
    let short = |end: usize| format!("{}…", text[..end].trim_end());
    let ends = places_to_cut(text);
    let fits = ends.partition_point(|end| width(&short(*end), size) <= room);
    short(fits.checked_sub(1).map_or(0, |last| ends[last]))
}

/// The text, or as much of its end as fits, with an ellipsis: the end of a path says more than its
/// beginning.
pub(crate) fn fitted_end(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.into();
    }
    let short = |start: usize| format!("…{}", text[start..].trim_start());
    let starts = places_to_cut(text);
    let too_long = starts.partition_point(|start| width(&short(*start), size) > room);
    short(starts.get(too_long).copied().unwrap_or(text.len()))
}

/// Where a text may be cut, in ascending order: not between a letter and its marks. Of a text that
/// is far too long for any picture, only both ends.
fn places_to_cut(text: &str) -> Vec<usize> {
    const MOST: usize = 400;
    let places = text.char_indices().filter(|(_, c)| !letters::belongs_to_previous(*c));
    let places: Vec<usize> = places.map(|(at, _)| at).chain([text.len()]).collect();
    if places.len() <= 2 * MOST {
        return places;
    }
    [&places[..MOST], &places[places.len() - MOST..]].concat()
}

/// A name for use within a sentence: one that is written from right to left must not pull the words
/// around it along.
pub(crate) fn isolated(name: &str) -> String {
    if letters::has_right_to_left(name) { format!("\u{2068}{name}\u{2069}") } else { name.into() }
}
