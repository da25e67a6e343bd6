//! A network as a drawing: blocks from top to bottom, with their operations and output shapes.

use std::fmt::Write as _;

use crate::{Graph, Node, Op, Result, Shape, summary::grouped};

const WIDTH: f64 = 860.0;
const CENTRE: f64 = 330.0;
const BOX_HEIGHT: f64 = 44.0;
const GAP: f64 = 18.0;
const TOP: f64 = 96.0;

/// Neighbouring layers that are drawn as one box.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    /// The common name, e.g. `layer1.0`.
    name: String,
    /// A description of its layers.
    does: String,
    output: Shape,
    parameters: usize,
    /// Whether its input is added to its output.
    shortcut: bool,
    /// How many identical blocks follow one another.
    times: usize,
    trained: bool,
}

/// Draws a backbone and the head on it as SVG: a box for each block, or for a run of equal ones,
/// with shapes and parameters. Wider boxes have more channels; a line beside a box is a shortcut;
/// trained blocks have a different colour.
///
/// # Errors
/// As [`Graph::shapes`].
pub fn diagram(
    backbone: &Graph,
    backbone_trainable: bool,
    head: Option<&Graph>,
    height: usize,
    width: usize,
) -> Result<String> {
    let mut blocks = blocks(backbone, &backbone.shapes(height, width)?, backbone_trainable, "");
    let mut parameters = backbone.learnable_parameters();
    if let Some(head) = head {
        blocks.extend(self::blocks(head, &head.shapes(0, 0)?, true, "head."));
        parameters += head.learnable_parameters();
    }
    let title = format!(
        "{} at {height} × {width}: {} parameters",
        backbone.name(),
        grouped(parameters as u64)
    );
    Ok(draw(&title, &merged(blocks)))
}

/// The layers of a graph in blocks, by their names and kinds.
fn blocks(graph: &Graph, shapes: &[Shape], trained: bool, prefix: &str) -> Vec<Block> {
    let mut counts = vec![0; shapes.len()];
    for parameter in graph.parameters().iter().filter(|p| p.kind.is_learnable()) {
        counts[parameter.node] += parameter.shape.iter().product::<usize>();
    }
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        if matches!(node.op, Op::Features(_)) {
            continue;
        }
        let (group, alone) = group_of(node);
        match groups.last_mut() {
            Some((last, ids)) if !alone && *last == group => ids.push(id),
            // Layers without parameters belong to the layer before them.
            Some((_, ids)) if group.is_empty() && node.op.operation().follows() => ids.push(id),
            _ => groups.push((group, vec![id])),
        }
    }
    let block = |(group, ids): (String, Vec<usize>)| {
        let nodes: Vec<&Node> = ids.iter().map(|&id| &graph.nodes()[id]).collect();
        let last = ids.last().copied().unwrap_or_default();
        let name = if group.is_empty() { nodes[0].name.clone() } else { group };
        let shortcut = nodes.iter().any(|node| matches!(node.op, Op::Add));
        let parts =
            nodes.iter().enumerate().filter_map(|(i, node)| describe(node, i == 0, shortcut));
        let parts: Vec<String> = parts.collect();
        Block {
            name: format!("{prefix}{name}"),
            does: parts.join(" → "),
            output: shapes[last],
            parameters: ids.iter().map(|&id| counts[id]).sum(),
            shortcut,
            times: 1,
            trained: trained && ids.iter().any(|&id| counts[id] > 0),
        }
    };
    groups.into_iter().map(block).collect()
}

/// The block named in a layer's name, e.g. `layer1.0` in `layer1.0.conv1`; empty for a layer on its
/// own. And whether the layer always begins a block.
fn group_of(node: &Node) -> (String, bool) {
    let parts: Vec<&str> = node.name.split('.').collect();
    let number = |part: &&str| part.bytes().all(|b| b.is_ascii_digit());
    // ConvNeXt's layer scale has the same name as its block.
    if matches!(node.op, Op::LayerScale(_)) && parts.last().is_some_and(number) {
        return (node.name.clone(), false);
    }
    // The last number that is followed by a word, with the shortcut's own numbers left out.
    let words = parts.iter().position(|part| *part == "downsample").unwrap_or(parts.len() - 1);
    match parts[..words].iter().rposition(number) {
        Some(at) => (parts[..=at].join("."), false),
        None => (String::new(), true),
    }
}

/// What a layer does, if worth mentioning: a projection on a shortcut never is.
fn describe(node: &Node, first: bool, shortcut: bool) -> Option<String> {
    let projects = matches!(node.op, Op::Conv2d(_)) && node.name.contains("downsample");
    if shortcut && projects { None } else { node.op.operation().description(first) }
}

/// Merges runs of equal blocks.
fn merged(blocks: Vec<Block>) -> Vec<Block> {
    let mut all: Vec<Block> = Vec::new();
    for block in blocks {
        match all.last_mut() {
            Some(last)
                if last.does == block.does
                    && last.output == block.output
                    && last.parameters == block.parameters * last.times
                    && last.trained == block.trained
                    && stage(&last.name) == stage(&block.name) =>
            {
                last.times += 1;
                last.parameters += block.parameters;
            }
            _ => all.push(block),
        }
    }
    all
}

fn stage(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(stage, _)| stage)
}

fn draw(title: &str, blocks: &[Block]) -> String {
    let height = TOP + blocks.len() as f64 * (BOX_HEIGHT + GAP) + 16.0;
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"13\">"
    ));
    // As in all figures: not taken for a picture of a data set.
    line("<!-- Taper figure -->".into());
    line(format!("<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"));
    line(text(24.0, 36.0, "start", "font-size=\"18\" font-weight=\"bold\"", title));
    let legend = [
        ("#dfe8f2", "#5b7794", "frozen"),
        ("#fbe3c8", "#c4701a", "trained"),
        ("#f1f1f1", "#999999", "nothing to learn"),
    ];
    for (i, (fill, stroke, label)) in legend.into_iter().enumerate() {
        let x = 24.0 + 120.0 * i as f64;
        line(format!(
            "<rect x=\"{x}\" y=\"52\" width=\"14\" height=\"14\" fill=\"{fill}\" \
             stroke=\"{stroke}\"/>"
        ));
        line(text(x + 20.0, 64.0, "start", "fill=\"#444444\"", label));
    }
    for (i, block) in blocks.iter().enumerate() {
        let y = TOP + i as f64 * (BOX_HEIGHT + GAP);
        // The logarithm of the channels, from 3 to 4096, on 250 to 540 pixels.
        let share = ((block.output.channels() as f64).ln() - 1.1) / 7.2;
        let width = 250.0 + 290.0 * share.clamp(0.0, 1.0);
        let x = CENTRE - width / 2.0;
        let (fill, stroke, _) = match (block.parameters, block.trained) {
            (0, _) => legend[2],
            (_, true) => legend[1],
            (_, false) => legend[0],
        };
        if i + 1 < blocks.len() {
            let (from, to) = (y + BOX_HEIGHT, y + BOX_HEIGHT + GAP);
            line(format!(
                "<path d=\"M {CENTRE} {from} V {to} m -4 -6 l 4 6 l 4 -6\" fill=\"none\" \
                 stroke=\"#777777\"/>"
            ));
        }
        if block.times > 1 {
            // A second sheet behind the first.
            line(format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"6\" \
             fill=\"{fill}\" \
             stroke=\"{stroke}\"/>",
                x + 5.0,
                y + 5.0
            ));
        }
        line(format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"6\" \
             fill=\"{fill}\" \
             stroke=\"{stroke}\"/>"
        ));
        if block.shortcut {
            let (left, middle) = (x - 14.0, y + BOX_HEIGHT / 2.0);
            line(format!(
                "<path d=\"M {CENTRE} {0} H {left} V {1} H {CENTRE}\" fill=\"none\" stroke=\"{stroke}\" \
                 stroke-dasharray=\"3 2\"/>",
                y - GAP / 2.0,
                y + BOX_HEIGHT + GAP / 2.0 - 3.0
            ));
            line(text(left - 6.0, middle + 4.0, "end", "fill=\"#777777\" font-size=\"11\"", "+"));
        }
        let times = if block.times > 1 { format!("  × {}", block.times) } else { String::new() };
        let name = format!("{}{times}", block.name);
        line(text(CENTRE, y + 18.0, "middle", "font-weight=\"bold\"", &name));
        let does = shortened(&block.does, (width / 6.4) as usize);
        line(text(CENTRE, y + 35.0, "middle", "fill=\"#444444\" font-size=\"11\"", &does));
        let right = CENTRE + 300.0;
        line(text(right, y + 18.0, "start", "", &block.output.to_string()));
        if block.parameters > 0 {
            let parameters = format!("{} parameters", grouped(block.parameters as u64));
            line(text(right, y + 35.0, "start", "fill=\"#777777\" font-size=\"11\"", &parameters));
        }
    }
    line("</svg>".into());
    svg
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{start}…")
}

fn text(x: f64, y: f64, anchor: &str, style: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" {style}>{content}</text>")
}
