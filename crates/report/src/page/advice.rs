//! What to do next.

use super::{
    Advice, Weight,
    document::{Writer, command},
    gallery::picture,
    text::paragraphs,
};

pub(super) fn advice(writer: &Writer<'_>, list: &[Advice]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let items: String = list.iter().map(|own| item(writer, own)).collect();
    format!("<ul class=\"advice\">\n{items}</ul>\n")
}

fn item(writer: &Writer<'_>, advice: &Advice) -> String {
    // A triangle with an exclamation mark, a bulb of sorts, and a tick.
    let (class, word, icon) = match advice.weight {
        Weight::Problem => ("problem", "Problem", "M8 1.5 15.2 14H.8ZM8 6v4M8 11.6v.9"),
        Weight::Advice => ("hint", "Advice", "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM8 7v5M8 4v1"),
        Weight::Fine => {
            ("fine", "Fine", "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM4.8 8.2l2.2 2.3 4.2-4.8")
        }
    };
    let shown = |&index: &usize| format!("<li>{}</li>\n", picture(writer, Some(index), ""));
    let pictures: String = advice.pictures.iter().map(shown).collect();
    let pictures = match pictures.is_empty() {
        true => pictures,
        false => format!("<ul class=\"strip\">\n{pictures}</ul>\n"),
    };
    format!(
        "<li class=\"{class}\">\n<p class=\"weight\"><svg class=\"icon\" viewBox=\"0 0 16 16\" \
         aria-hidden=\"true\" focusable=\"false\"><path d=\"{icon}\"/></svg>{word}</p>\n\
         <div class=\"said\">{}{}{pictures}</div>\n</li>\n",
        paragraphs(&advice.text, ""),
        advice.command.as_deref().map(command).unwrap_or_default(),
    )
}
