//! Charts, which are part of the page's markup.

use super::{
    Chart,
    document::Writer,
    text::{escape, paragraphs},
};

pub(super) fn chart(writer: &mut Writer<'_>, chart: &Chart) -> String {
    let prefix = writer.id("chart");
    let caption = match chart.caption.is_empty() {
        true => String::new(),
        false => format!("<figcaption>{}</figcaption>\n", escape(&chart.caption)),
    };
    let drawn = match root(&chart.svg) {
        Some(svg) => format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Chart\">\n\
             {}\n</div>\n",
            inline(svg, &prefix, &chart.alt)
        ),
        None => paragraphs(&chart.alt, "text"),
    };
    format!("<figure class=\"card chart\">\n{drawn}{caption}</figure>\n")
}

/// The root element, without the document's declarations.
fn root(svg: &str) -> Option<&str> {
    const END: &str = "</svg>";
    let start = svg.find("<svg")?;
    let end = svg.rfind(END)? + END.len();
    svg.get(start..end)
}

/// The element as a picture with a description, its ids unlike any other's of the page.
fn inline(svg: &str, prefix: &str, alt: &str) -> String {
    let alt = if alt.is_empty() { "Chart" } else { alt };
    let mut out = format!("<svg role=\"img\" aria-label=\"{}\"", escape(alt));
    let mut rest = &svg["<svg".len()..];
    let mut in_tag = true;
    while !rest.is_empty() {
        let length = match in_tag {
            true => {
                let length = tag_length(rest);
                own_ids(&rest[..length], prefix, &mut out);
                length
            }
            false => {
                let length = text_length(rest);
                out.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
        in_tag = !in_tag;
    }
    out
}

/// How long the rest of a tag is, with its bracket: brackets within quotes do not end it.
fn tag_length(rest: &str) -> usize {
    let mut quote = None;
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    rest.len()
}

/// How much text and comments come before the next tag.
fn text_length(rest: &str) -> usize {
    let mut at = 0;
    while let Some(next) = rest[at..].find('<') {
        at += next;
        let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>")]
            .into_iter()
            .find(|(open, _)| rest[at..].starts_with(open));
        let Some((_, close)) = skipped else {
            return at;
        };
        match rest[at..].find(close) {
            Some(length) => at += length + close.len(),
            None => return rest.len(),
        }
    }
    rest.len()
}

/// A tag whose ids and references to them begin with `prefix`.
fn own_ids(tag: &str, prefix: &str, out: &mut String) {
    let mut rest = tag;
    // Attributes end at quotes; what lies between them is taken in turn.
    while let Some(open) = rest.find(['"', '\'']) {
        let quote = &rest[open..=open];
        let (before, after) = (&rest[..open], &rest[open + 1..]);
        let Some(length) = after.find(quote) else { break };
        let value = &after[..length];
        let attribute = before.trim_end().trim_end_matches('=').trim_end();
        let attribute = attribute.rsplit([' ', '\n', '\t', '\r']).next().unwrap_or_default();
        let value = match attribute {
            "id" => format!("{prefix}_{value}"),
            "href" | "xlink:href" if value.starts_with('#') => {
                format!("#{prefix}_{}", &value[1..])
            }
            "aria-labelledby" | "aria-describedby" => {
                let ids: Vec<_> =
                    value.split_whitespace().map(|id| format!("{prefix}_{id}")).collect();
                ids.join(" ")
            }
            _ => value.replace("url(#", &format!("url(#{prefix}_")),
        };
        out.push_str(before);
        out.push_str(quote);
        out.push_str(&value);
        out.push_str(quote);
        rest = &after[length + 1..];
    }
    out.push_str(rest);
}
