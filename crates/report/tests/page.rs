//! Pages say what their data says, whatever characters it has.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::HashSet;

use taper_report::{
    Curves, EpochFigures,
    page::{
        ActivationMap, Advice, Block, Cell, Chart, Column, ColumnKind, Confusion, ConfusionCell,
        Gallery, Page, Section, Shot, Table, Thumbnail, Verdict, Weight, heat,
    },
};

/// Ends every context that a text may be in.
const HOSTILE: &str =
    "</script></style></title>\"'><img src=x onerror=alert(1)>&amp;<!--\u{202e}\0";

fn chart() -> Chart {
    let epochs = (0..3)
        .map(|epoch| EpochFigures { epoch, loss: Some(0.5), ..EpochFigures::default() })
        .collect();
    let curves = Curves { title: "a \"run\" id=\"c0\"".into(), epochs, ..Curves::default() };
    Chart { svg: curves.draw().svg().into(), alt: HOSTILE.into(), caption: HOSTILE.into() }
}

fn shot(picture: usize) -> Shot {
    Shot {
        picture: Some(picture),
        name: HOSTILE.into(),
        truth: Some(HOSTILE.into()),
        predicted: Some("cat".into()),
        probability: Some(0.5),
        note: HOSTILE.into(),
    }
}

fn confusion(classes: usize) -> Confusion {
    let mut labels: Vec<String> = (0..classes).map(|i| format!("class {i}")).collect();
    labels[1] = HOSTILE.into();
    let count = |i: usize, j: usize| if i == j { 10 } else { ((i + 2 * j) % 3) as u64 };
    Confusion {
        labels,
        counts: (0..classes).map(|i| (0..classes).map(|j| count(i, j)).collect()).collect(),
        cells: vec![
            ConfusionCell { truth: 0, predicted: 1, shots: vec![shot(0)] },
            ConfusionCell { truth: 1, predicted: 0, shots: vec![shot(1), shot(0)] },
            // Of a class that does not exist.
            ConfusionCell { truth: 0, predicted: classes, shots: vec![shot(1)] },
        ],
    }
}

fn table(rows: usize) -> Table {
    let column = |kind| Column { name: HOSTILE.into(), kind };
    let row = |i: usize| {
        vec![
            Cell::Text(format!("row {i} {HOSTILE}")),
            Cell::Number { value: i as f64, text: HOSTILE.into() },
            Cell::Number { value: 0.25, text: "25 %".into() },
            Cell::None,
        ]
    };
    Table {
        caption: HOSTILE.into(),
        columns: vec![
            column(ColumnKind::Text),
            column(ColumnKind::Number),
            column(ColumnKind::Share),
            column(ColumnKind::Text),
        ],
        rows: (0..rows).map(row).collect(),
        notes: HOSTILE.into(),
    }
}

fn blocks() -> Vec<Block> {
    let hostile = || HOSTILE.to_string();
    vec![
        Block::Text(hostile()),
        Block::Verdict(Verdict {
            figure: hostile(),
            label: hostile(),
            share: 0.9,
            interval: Some((0.85, 0.93)),
            text: hostile(),
            facts: vec![(hostile(), hostile())],
        }),
        Block::Advice(vec![Advice {
            weight: Weight::Problem,
            text: hostile(),
            command: Some(hostile()),
            pictures: vec![0, 1, 99],
        }]),
        Block::Table(table(3)),
        Block::Table(table(61)),
        Block::Chart(chart()),
        Block::Chart(chart()),
        Block::Gallery(Gallery {
            caption: hostile(),
            shots: vec![shot(0), shot(99), Shot::default()],
            filter: true,
        }),
        Block::Confusion(confusion(3)),
        Block::Confusion(confusion(100)),
        Block::Facts(vec![(hostile(), hostile())]),
        Block::Code { caption: hostile(), text: hostile() },
    ]
}

fn page() -> Page {
    let thumbnail = |byte, map| Thumbnail {
        jpeg: vec![byte; 9],
        width: 4,
        height: 3,
        alt: if map { HOSTILE.into() } else { String::new() },
        map: map.then(|| ActivationMap { png: vec![7; 9], region: [0.0, 0.25, 1.0, 0.75] }),
    };
    let section = |id: &str| Section {
        id: id.into(),
        title: HOSTILE.into(),
        lead: HOSTILE.into(),
        blocks: blocks(),
    };
    Page {
        title: HOSTILE.into(),
        subtitle: HOSTILE.into(),
        sections: vec![section("a"), section("a"), section(HOSTILE), section("")],
        pictures: vec![thumbnail(1, true), thumbnail(2, false)],
        footer: HOSTILE.into(),
    }
}

/// A page with one block.
fn html_of(block: Block) -> String {
    let section = Section { id: "only".into(), blocks: vec![block], ..Section::default() };
    Page { sections: vec![section], ..Page::default() }.html()
}

/// The tags of a page outside its style and script, which it has one of each.
fn tags(html: &str) -> Vec<&str> {
    let (before, rest) = html.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, script) = rest.rsplit_once("<script>").unwrap();
    let (_, after) = script.split_once("</script>").unwrap();
    let mut tags = Vec::new();
    for part in [before, body, after] {
        let mut rest = part;
        while let Some(open) = rest.find('<') {
            let length = rest[open..].find('>').unwrap();
            tags.push(&rest[open..=open + length]);
            rest = &rest[open + length..];
        }
    }
    tags
}

fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    let value = |tag: &'a str| {
        let at = tag.find(&start)? + start.len();
        tag[at..].split('"').next()
    };
    tags(html).into_iter().filter_map(value).collect()
}

#[test]
fn every_text_is_text() {
    let html = page().html();
    for tag in tags(&html) {
        assert!(!tag.starts_with("<img"), "{tag}");
        // Every other part lies between quotes.
        let parts: Vec<&str> = tag.split('"').collect();
        assert!(parts.len() % 2 == 1, "{tag}");
        for outside in parts.iter().step_by(2) {
            assert!(!outside.contains("onerror") && !outside.contains('\''), "{tag}");
        }
    }
    for end in ["</script>", "</style>", "</title>"] {
        assert_eq!(html.matches(end).count(), 1, "{end}");
    }
    assert_eq!(html.matches("<script>").count(), 1);
    assert!(!html.contains('\0'));
    assert!(html.contains("&lt;/script&gt;&lt;/style&gt;&lt;/title&gt;&quot;&#39;&gt;&lt;img"));
    assert!(html.contains("&amp;amp;"));
}

#[test]
fn names_do_not_turn_the_words_around_them() {
    let shot = Shot { name: "\u{202e}gpj.exe\u{2069}".into(), ..Shot::default() };
    let gallery = Gallery { shots: vec![shot], ..Gallery::default() };
    let html = html_of(Block::Gallery(gallery));
    assert!(html.contains("<bdi>\u{fffd}gpj.exe\u{fffd}</bdi>"));
    // A name within a text is isolated by the same characters, in pairs.
    for (text, shown) in [
        ("\u{2068}قطة\u{2069} (3)", "\u{2068}قطة\u{2069} (3)"),
        ("\u{2068}قطة", "\u{fffd}قطة"),
        ("\u{2068}\u{2069}\u{2069}\u{2067}", "\u{2068}\u{2069}\u{fffd}\u{fffd}"),
    ] {
        let facts = vec![("name".into(), text.into())];
        assert!(html_of(Block::Facts(facts)).contains(&format!("<bdi>{shown}</bdi>")), "{text}");
    }
    let row = vec![Cell::Text("قطة".into())];
    let columns = vec![Column { name: "Class".into(), kind: ColumnKind::Text }];
    let html = html_of(Block::Table(Table { columns, rows: vec![row], ..Table::default() }));
    assert!(html.contains("<th scope=\"row\"><bdi>قطة</bdi></th>"));
}

#[test]
fn the_same_page_gives_the_same_bytes() {
    assert_eq!(page().html(), page().html());
}

#[test]
fn ids_are_unique_and_what_refers_to_them_finds_them() {
    let html = page().html();
    let ids = values(&html, "id");
    let unique: HashSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len());
    for anchor in ["a", "a-2"] {
        assert!(unique.contains(anchor), "{anchor}");
    }
    for id in &unique {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(
            id.starts_with(|c: char| c.is_ascii_alphabetic()) && id.chars().all(letter),
            "{id}"
        );
    }
    for link in values(&html, "href").into_iter().filter_map(|own| own.strip_prefix('#')) {
        assert!(unique.contains(link), "#{link}");
    }
    for attribute in ["aria-labelledby", "data-pair"] {
        for id in values(&html, attribute) {
            assert!(unique.contains(id), "{attribute}={id}");
        }
    }
    let clips = values(&html, "clip-path");
    assert!(!clips.is_empty());
    for clip in clips {
        let id = clip.strip_prefix("url(#").unwrap().strip_suffix(')').unwrap();
        assert!(unique.contains(id), "{clip}");
    }
    // The same in a text of the chart is not an id.
    assert!(html.contains("a \"run\" id=\"c0\"</text>"));
}

#[test]
fn pictures_are_embedded_once() {
    let html = page().html();
    assert_eq!(html.matches("data:image/jpeg;base64,AQEBAQEBAQEB\"").count(), 1);
    assert_eq!(html.matches("data:image/jpeg;base64,AgICAgICAgIC\"").count(), 1);
    assert_eq!(html.matches("data:image/png;base64,BwcHBwcHBwcH\"").count(), 1);
    assert!(html.matches("href=\"#p_0\"").count() > 4);
    assert!(!html.contains("#p_99"));
    assert!(html.contains("x=\"0\" y=\"0.75\" width=\"4\" height=\"1.5\""));
    assert!(html.contains("id=\"maps_0\" checked"));
    assert!(!html_of(Block::Text(String::new())).contains("id=\"maps_0\""));
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let html = page().html();
    let policy = &values(&html, "content")[0];
    assert!(policy.starts_with("default-src 'none'; img-src data:; "), "{policy}");
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    for attribute in ["src", "href"] {
        for value in values(&html, attribute) {
            assert!(value.starts_with('#') || value.starts_with("data:image/"), "{value}");
        }
    }
}

#[test]
fn a_table_has_headings_values_and_bars() {
    let html = html_of(Block::Table(table(2)));
    assert_eq!(html.matches("<th scope=\"col\"").count(), 4);
    assert_eq!(html.matches("<th scope=\"row\">").count(), 2);
    assert!(html.contains("<td class=\"number\" data-value=\"1\">"));
    assert!(html.contains("<rect width=\"25.0%\""));
    assert!(html.contains("<div class=\"scroll\""));
    assert!(html_of(Block::Table(table(61))).contains("<div class=\"scroll long\""));

    let odd = |value| Cell::Number { value, text: "odd".into() };
    let table = Table {
        columns: vec![Column { name: "Share".into(), kind: ColumnKind::Share }; 2],
        rows: vec![vec![odd(f64::NAN), odd(7.0), odd(1.0)], vec![]],
        ..Table::default()
    };
    let html = html_of(Block::Table(table));
    assert!(html.contains("<th scope=\"row\" class=\"share\">odd</th>"));
    assert!(html.contains("<rect width=\"100.0%\""));
    assert!(html.contains("<tr><td class=\"share\"></td><td class=\"share\"></td></tr>"));
}

#[test]
fn a_verdict_shows_its_interval_on_a_fitting_scale() {
    let html = |share, interval| {
        html_of(Block::Verdict(Verdict { share, interval, ..Verdict::default() }))
    };
    let high = html(0.96, Some((0.92, 0.98)));
    assert!(high.contains("95\u{a0}% interval: 92.0\u{a0}% to 98.0\u{a0}%, on a scale from 80 to"));
    assert!(html(0.5, None).contains("50.0\u{a0}%, on a scale from 0 to 100\u{a0}%"));
    assert!(html(0.01, Some((0.0, 0.02))).contains("on a scale from 0 to 5\u{a0}%"));
    assert!(!html(f64::NAN, None).contains("<svg class=\"scale\""));
    assert!(!html(0.5, Some((f64::NAN, 0.6))).contains("interval:"));
}

#[test]
fn a_matrix_leads_to_the_pictures_behind_its_cells() {
    let html = html_of(Block::Confusion(confusion(3)));
    assert!(html.contains("<table class=\"matrix"));
    assert_eq!(html.matches(" data-pair=").count(), 2);
    assert_eq!(html.matches("<details class=\"pair\"").count(), 2);
    assert!(html.contains("class 0") && html.contains("depth10"));
}

#[test]
fn of_many_classes_the_most_confused_pairs_are_listed() {
    let html = html_of(Block::Confusion(confusion(100)));
    assert!(!html.contains("<table"));
    let pairs = html.matches("<p class=\"pair\">").count()
        + html.matches("<details class=\"pair\"").count();
    assert_eq!(pairs, 40);
    let none = Confusion { labels: vec!["a".into(); 30], ..Confusion::default() };
    assert!(html_of(Block::Confusion(none)).contains("No class was taken for another."));
}

#[test]
fn shots_say_whether_the_model_was_right() {
    let shot = |truth: Option<&str>, predicted: Option<&str>| {
        let shot = Shot {
            truth: truth.map(Into::into),
            predicted: predicted.map(Into::into),
            probability: Some(0.125),
            ..Shot::default()
        };
        html_of(Block::Gallery(Gallery { shots: vec![shot], ..Gallery::default() }))
    };
    let right = shot(Some("cat"), Some("cat"));
    assert!(right.contains("Rightly predicted:") && right.contains("12.5\u{a0}%"));
    let wrong = shot(Some("cat"), Some("dog"));
    assert!(wrong.contains("Wrongly predicted:") && wrong.contains("True class:"));
    assert!(shot(None, Some("dog")).contains("Predicted:"));
    assert!(shot(Some("cat"), None).contains("Label:"));
}

#[test]
fn words_of_commands_stay_whole() {
    let command = Some("taper inspect --fix 'a b'".into());
    let html = html_of(Block::Advice(vec![Advice { command, ..Advice::default() }]));
    let words = "<code><span>taper</span> <span>inspect</span> <span>--fix</span> \
                 <span>&#39;a</span> <span>b&#39;</span></code>";
    assert!(html.contains(words), "{html}");
}

#[test]
fn what_is_no_svg_is_not_embedded() {
    let chart = Chart { svg: "<b>no".into(), alt: "A chart".into(), caption: String::new() };
    let html = html_of(Block::Chart(chart));
    assert!(!html.contains("<b>no"));
    assert!(html.contains("A chart"));
}

#[test]
fn an_empty_page_is_a_page() {
    let html = Page::default().html();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
    assert!(!html.contains("<nav"));
}

#[test]
fn heat_rises_throughout() {
    let alphas: Vec<u8> = (0..=10).map(|i| heat(i as f32 / 10.0)[3]).collect();
    assert!(alphas.is_sorted() && alphas[0] == 0);
    assert_eq!(heat(f32::NAN), heat(0.0));
    assert_eq!(heat(9.0), heat(1.0));
}

#[test]
fn a_section_can_be_added_later() {
    let section = |id: &str, title: &str, text: &str| Section {
        id: id.into(),
        title: title.into(),
        lead: HOSTILE.into(),
        blocks: vec![Block::Text(text.into()), Block::Table(table(3))],
    };
    let sections = vec![section("data", "Data", "a"), section("details", "Details", "b")];
    let page = Page { title: "t".into(), sections, ..Page::default() };
    let (html, search) = (page.html(), section("search", "What was <tried>", "first words"));
    let once = Page::with_section(&html, &search, "details").unwrap();
    let place = |text: &str| once.find(text).unwrap();
    assert!(place("<section id=\"data\"") < place("<section id=\"search\""));
    assert!(place("<section id=\"search\"") < place("<section id=\"details\""));
    // Both tables of contents have it, and no id occurs twice.
    assert_eq!(once.matches("<li><a href=\"#search\">What was &lt;tried&gt;</a></li>").count(), 2);
    let ids: Vec<&str> =
        once.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    // Again: in place of the earlier one.
    let other = Section { blocks: vec![Block::Text("other words".into())], ..search };
    let twice = Page::with_section(&once, &other, "details").unwrap();
    assert!(twice.contains("other words") && !twice.contains("first words"));
    assert_eq!(twice.matches("<section id=\"search\"").count(), 1);
    assert_eq!(twice.matches("<li><a href=\"#search\">").count(), 2);
    assert!(Page::with_section("<p>something else</p>", &other, "details").is_none());
}
