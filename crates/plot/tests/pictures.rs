//! Charts are the same everywhere, complete, and robust against any input.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use taper_plot::{
    Bar, Bars, Error, Figure, Line, Matrix, Panel, Parallel, ParallelAxis, ParallelLine, Scale,
    Style, Vertical, colour,
};
use tiny_skia::Pixmap;

fn figure(title: &str, points: Vec<(f64, f64)>, scale: Scale) -> Figure {
    Figure {
        title: title.into(),
        x_label: "x".into(),
        panels: vec![Panel {
            title: "y".into(),
            height: 120.0,
            scale,
            lines: vec![Line::new("", colour::BLUE, points)],
            ..Panel::default()
        }],
        ..Figure::default()
    }
}

/// Dark pixels in the band of the headline.
fn ink(title: &str) -> usize {
    let png = figure(title, vec![(0.0, 0.0), (1.0, 1.0)], Scale::Linear).draw().png(1.0).unwrap();
    let pixels = Pixmap::decode_png(&png).unwrap();
    let band = pixels.pixels()[..45 * pixels.width() as usize].iter();
    band.filter(|p| p.red().min(p.green()).min(p.blue()) < 128).count()
}

#[test]
fn texts_are_drawn_with_the_embedded_font() {
    assert_eq!(ink(""), 0);
    assert!(ink("Loss") > 50);
    for title in ["Größe", "Ελιά", "Берёза", "− … · ≤ → “x”", "žluťoučký"]
    {
        let (whole, short) = (ink(title), ink(&title.chars().skip(1).collect::<String>()));
        assert!(whole > short, "the first letter of {title} is missing");
    }
}

/// From a font of the machine, or a box with the letter's number: with and without fonts.
#[test]
fn letters_of_any_script_are_drawn() {
    for title in ["日本語", "قطة سوداء", "חתול", "बिल्ली", "แมว", "😺👍🏽", "\u{10fffd}", "Größe 猫"]
    {
        assert!(ink(title) > 30, "{title}");
        assert!(ink(&format!("{title} {title}")) > ink(title), "{title}");
        assert_eq!(ink(title), ink(title), "{title}");
    }
}

/// Lines that mark an epoch stay within the charts: no heading or legend is crossed.
#[test]
fn verticals_cross_neither_headings_nor_legends() {
    for (x, count) in [(0.0, 1), (0.5, 2), (1.0, 3)] {
        let mut figure = figure("t", vec![(0.0, 0.0), (1.0, 1.0)], Scale::Linear);
        figure.panels = vec![figure.panels[0].clone(); 3];
        let vertical = |i: usize| Vertical {
            label: format!("mark {i}"),
            x: x - 0.01 * i as f64,
            colour: colour::RED,
            style: Style::Dashed,
        };
        figure.verticals = (0..count).map(vertical).collect();
        let picture = figure.draw();
        let number = |element: &str, name: &str| -> f64 {
            let rest = element.split(&format!(" {name}=\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let lines: Vec<(f64, f64)> = picture
            .svg()
            .lines()
            .filter(|l| l.starts_with("<line") && l.contains(colour::RED))
            .map(|l| (number(l, "y1"), number(l, "y2")))
            .collect();
        assert_eq!(lines.len(), 3 * count);
        let headings =
            picture.svg().lines().filter(|l| l.starts_with("<text") && l.contains(">y<"));
        let headings: Vec<f64> = headings.map(|l| number(l, "y")).collect();
        assert_eq!(headings.len(), 3);
        for y in headings {
            assert!(lines.iter().all(|(from, to)| y < *from || y - 14.0 > *to), "{y}: {lines:?}");
        }
    }
}

#[test]
fn the_same_bytes_every_time_and_scale_is_checked() {
    let picture = figure("Loss", vec![(0.0, 2.0), (1.0, 1.0)], Scale::Linear).draw();
    let again = figure("Loss", vec![(0.0, 2.0), (1.0, 1.0)], Scale::Linear).draw();
    assert_eq!(picture, again);
    assert_eq!(picture.png(2.0).unwrap(), again.png(2.0).unwrap());
    let pixels = Pixmap::decode_png(&picture.png(0.5).unwrap()).unwrap();
    assert_eq!(pixels.width(), 400);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 100.0] {
        assert!(matches!(picture.png(scale), Err(Error::Scale(_))), "{scale}");
    }
}

#[test]
fn values_that_cannot_be_shown_leave_a_gap() {
    let nan = f64::NAN;
    let gaps =
        vec![(0.0, 1.0), (1.0, 2.0), (2.0, nan), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 2.0)];
    let svg = figure("", gaps, Scale::Linear).draw();
    assert_eq!(svg.svg().matches("<path").count(), 1);
    // The two values between gaps are dots.
    assert_eq!(svg.svg().matches("<circle").count(), 2);
    let below_zero = figure("", vec![(0.0, 1.0), (1.0, 0.0), (2.0, 1.0)], Scale::Log).draw();
    assert_eq!(below_zero.svg().matches("<circle").count(), 2);
    for points in
        [vec![], vec![(0.0, nan)], vec![(nan, 1.0)], vec![(1e308, -1e308), (-1e308, 1e308)]]
    {
        let mut odd = figure("odd", points, Scale::Linear);
        odd.verticals =
            vec![Vertical { label: "v".into(), x: nan, colour: colour::RED, style: Style::Solid }];
        let picture = odd.draw();
        assert!(
            !picture.svg().contains("NaN") && !picture.svg().contains("inf"),
            "{}",
            picture.svg()
        );
        picture.png(1.0).unwrap();
    }
}

fn matrix(names: &[&str]) -> Matrix {
    let k = names.len();
    Matrix {
        title: "m".into(),
        subtitle: String::new(),
        row_label: "true".into(),
        column_label: "predicted".into(),
        names: names.iter().map(|n| n.to_string()).collect(),
        values: (0..k).map(|i| (0..k).map(|j| if i == j { 90.0 } else { 5.0 }).collect()).collect(),
    }
}

#[test]
fn names_may_hold_anything() {
    let odd = ["<b>&\"'", "\u{0}\u{1b}\u{ffff}", "", "日本語の長い長い名前", &"x".repeat(5000)];
    matrix(&odd).draw().unwrap().png(1.0).unwrap();
    assert!(matrix(&["a", "b"]).draw().unwrap().svg().contains(">90<"));
}

#[test]
fn many_classes_fit() {
    let names: Vec<String> = (0..260).map(|i| format!("class {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Every cell but the diagonal a mistake: more than are drawn.
    let picture = matrix(&names).draw().unwrap();
    picture.png(0.25).unwrap();
    for k in [1, 2, 5, 40, 41] {
        matrix(&names[..k]).draw().unwrap().png(1.0).unwrap();
    }
}

#[test]
fn a_matrix_must_be_square() {
    assert!(matrix(&[]).draw().is_err());
    let mut ragged = matrix(&["a", "b"]);
    ragged.values[1].pop();
    assert!(matches!(ragged.draw(), Err(Error::Matrix { rows: 2, names: 2 })));
}

#[test]
fn files_are_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let picture = figure("t", vec![(0.0, 1.0)], Scale::Linear).draw();
    picture.save(folder.path(), "curves").unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["curves.png", "curves.svg"]);
    let error = picture.save(&folder.path().join("none"), "curves").unwrap_err().to_string();
    assert!(error.contains("none/curves.svg"), "{error}");
}

#[test]
fn bars_are_as_long_as_their_values() {
    let bar = |label: &str, value: f64| Bar { label: label.into(), value, text: value.to_string() };
    let odd = [bar("half", 1.0), bar("whole", 2.0), bar("none", 0.0), bar("nan", f64::NAN)];
    let bars = Bars { title: "t".into(), bars: odd.to_vec(), ..Bars::default() };
    let picture = bars.draw();
    let widths: Vec<f64> = picture
        .svg()
        .lines()
        .filter(|line| line.starts_with("<rect") && line.contains(colour::BLUE))
        .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap())
        .map(|width| width.parse().unwrap())
        .collect();
    assert_eq!(widths.len(), 4);
    assert!((widths[1] / widths[0] - 2.0).abs() < 1e-3 && widths[2] < 1.0 && widths[3] < 1.0);
    assert!(picture.png(1.0).unwrap().starts_with(b"\x89PNG"));
    assert!(Bars::default().draw().svg().contains("nothing to show"));
}

#[test]
fn parallel_lines_meet_their_axes_and_have_gaps() {
    let axis = |name: &str| ParallelAxis { name: name.into(), ticks: vec![(0.5, "mid".into())] };
    let line =
        |at: &[Option<f64>]| ParallelLine { at: at.to_vec(), colour: colour::RED, width: 1.0 };
    let chart = Parallel {
        axes: ["a", "b", "c", "d"].map(axis).to_vec(),
        lines: vec![
            line(&[Some(0.0), Some(1.0), Some(0.5), Some(0.5)]),
            line(&[Some(0.0), None, Some(0.5), Some(f64::NAN)]),
        ],
        ..Parallel::default()
    };
    let svg = chart.draw();
    assert_eq!(svg.svg().matches("<path").count(), 1);
    // What stands between two gaps is a dot.
    assert_eq!(svg.svg().matches("<circle").count(), 2);
    assert_eq!(svg.svg().matches(">mid<").count(), 4);
    assert!(!Parallel::default().draw().svg().contains("NaN"));
}

#[test]
fn names_stand_in_place_of_numbers() {
    let points = vec![(0.0, 1.0), (2.0, 3.0)];
    let mut named = figure("t", points, Scale::Whole);
    named.x_names = ["linear", "tutorial", "mlp"].map(str::to_owned).to_vec();
    let picture = named.draw();
    for name in &named.x_names {
        assert_eq!(picture.svg().matches(&format!(">{name}<")).count(), 1);
    }
}
