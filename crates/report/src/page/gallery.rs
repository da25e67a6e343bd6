//! Pictures with what the model said of them.

use super::{
    Gallery, Shot,
    document::Writer,
    text::{escape, isolated, name, percent},
};

pub(super) fn gallery(writer: &Writer<'_>, gallery: &Gallery) -> String {
    if gallery.shots.is_empty() && gallery.caption.is_empty() {
        return String::new();
    }
    let caption = match gallery.caption.is_empty() {
        true => String::new(),
        false => format!("<figcaption>{}</figcaption>\n", escape(&gallery.caption)),
    };
    let filter = if gallery.filter { " data-filter=\"true-class\"" } else { "" };
    let shots = shots(writer, &gallery.shots);
    format!("<figure class=\"gallery\"{filter}>\n{caption}{shots}</figure>\n")
}

/// A list of pictures.
pub(super) fn shots(writer: &Writer<'_>, shots: &[Shot]) -> String {
    if shots.is_empty() {
        return "<p class=\"quiet\">No pictures.</p>\n".into();
    }
    let items: String = shots.iter().map(|own| shot(writer, own)).collect();
    format!("<ul class=\"shots\">\n{items}</ul>\n")
}

fn shot(writer: &Writer<'_>, shot: &Shot) -> String {
    let truth = match &shot.truth {
        Some(truth) => format!(" data-truth=\"{}\"", escape(truth)),
        None => String::new(),
    };
    let mut out = format!("<li{truth}>{}\n", picture(writer, shot.picture, &shot.name));
    let probability = match shot.probability {
        Some(p) if p.is_finite() => format!(" <span class=\"figure\">{}</span>", percent(p)),
        _ => String::new(),
    };
    let answer = |class: &str, term: &str, predicted: &str| {
        format!(
            "<p class=\"answer{class}\"><span><span class=\"away\">{term}</span> \
             <strong>{}</strong></span>{probability}</p>\n",
            name(predicted)
        )
    };
    let truth = |term: &str, truth: &str| {
        format!("<p><span class=\"term\">{term}</span> {}</p>\n", name(truth))
    };
    match (&shot.predicted, &shot.truth) {
        (Some(predicted), Some(right)) if predicted == right => {
            out += &answer(" right", "Rightly predicted:", predicted);
        }
        (Some(predicted), Some(right)) => {
            out += &answer(" wrong", "Wrongly predicted:", predicted);
            out += &truth("True class:", right);
        }
        (Some(predicted), None) => out += &answer("", "Predicted:", predicted),
        // Where the model was not asked, the label itself is in question.
        (None, Some(label)) => out += &truth("Label:", label),
        (None, None) => {}
    }
    if !shot.note.is_empty() {
        out += &format!("<p class=\"note\">{}</p>\n", escape(&shot.note));
    }
    if !shot.name.is_empty() {
        out += &format!("<p class=\"file\">{}</p>\n", name(&shot.name));
    }
    out + "</li>\n"
}

/// One of the page's pictures; `file` describes it if nothing else does.
pub(super) fn picture(writer: &Writer<'_>, index: Option<usize>, file: &str) -> String {
    let known = index.and_then(|i| Some((i, writer.pictures.get(i)?)));
    let Some((index, picture)) = known else {
        return "<div class=\"picture none\">No picture</div>".into();
    };
    let alt = match (picture.alt.is_empty(), file.is_empty()) {
        (false, _) => picture.alt.clone(),
        (true, false) => isolated(file),
        (true, true) => format!("Picture {}", index + 1),
    };
    let (w, h) = (picture.width.max(1), picture.height.max(1));
    format!(
        "<svg class=\"picture\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {w} {h}\">\
         <use href=\"#p_{index}\" width=\"{w}\" height=\"{h}\"/></svg>",
        escape(&alt),
    )
}
