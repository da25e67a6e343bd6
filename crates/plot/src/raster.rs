//! From shapes to pixels, as a viewer of the SVG file draws them.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap, Rect, Stroke, StrokeDash,
    Transform,
};

use crate::{
    style::{Anchor, Type, rgb},
    typeface,
};

type Rgb = [u8; 3];

/// An element of a picture, in units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// `[x, y, width, height]`; the rim is one unit wide.
    Rect {
        place: [f32; 4],
        fill: Rgb,
        stroke: Option<Rgb>,
    },
    Lines {
        points: Vec<(f32, f32)>,
        colour: Rgb,
        width: f32,
        dash: Vec<f32>,
        round: bool,
    },
    /// The rim is one and a half units wide.
    Circle {
        centre: (f32, f32),
        radius: f32,
        fill: Rgb,
        stroke: Rgb,
    },
    Text {
        at: (f32, f32),
        text: String,
        style: Type,
    },
    /// What follows is clipped to `[x, y, width, height]`.
    Clip([f32; 4]),
    EndClip,
}

/// Where and how shapes become pixels.
struct Canvas<'a> {
    pixels: &'a mut Pixmap,
    scale: Transform,
    clip: Option<Mask>,
}

/// Draws shapes one over the other, `scale` pixels for each unit.
pub(crate) fn draw(shapes: &[Shape], scale: f32, pixels: &mut Pixmap) {
    let mut canvas = Canvas { pixels, scale: Transform::from_scale(scale, scale), clip: None };
    for shape in shapes {
        canvas.draw(shape);
    }
}

fn paint([r, g, b]: Rgb) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(Color::from_rgba8(r, g, b, 255));
    paint
}

fn rectangle([x, y, width, height]: [f32; 4]) -> Option<tiny_skia::Path> {
    Some(PathBuilder::from_rect(Rect::from_xywh(x, y, width, height)?))
}

impl Canvas<'_> {
    /// Shapes without extent, or with coordinates that are not finite, are not drawn.
    fn draw(&mut self, shape: &Shape) {
        match shape {
            Shape::Rect { place, fill, stroke } => {
                let path = rectangle(*place);
                self.fill(path.as_ref(), *fill);
                if let Some(colour) = stroke {
                    self.stroke(path.as_ref(), *colour, &Stroke::default());
                }
            }
            Shape::Lines { points, colour, width, dash, round } => {
                let mut path = PathBuilder::new();
                for (i, &(x, y)) in points.iter().enumerate() {
                    if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
                }
                let (line_cap, line_join) = match round {
                    true => (LineCap::Round, LineJoin::Round),
                    false => (LineCap::Butt, LineJoin::Miter),
                };
                let dash = StrokeDash::new(dash.clone(), 0.0);
                let stroke =
                    Stroke { width: *width, line_cap, line_join, dash, ..Stroke::default() };
                self.stroke(path.finish().as_ref(), *colour, &stroke);
            }
            Shape::Circle { centre, radius, fill, stroke } => {
                let path = PathBuilder::from_circle(centre.0, centre.1, *radius);
                self.fill(path.as_ref(), *fill);
                let rim = Stroke { width: 1.5, ..Stroke::default() };
                self.stroke(path.as_ref(), *stroke, &rim);
            }
            Shape::Text { at, text, style } => self.text(*at, text, style),
            Shape::Clip(place) => {
                let mask = Mask::new(self.pixels.width(), self.pixels.height());
                self.clip = mask.map(|mut mask| {
                    if let Some(path) = rectangle(*place) {
                        mask.fill_path(&path, FillRule::Winding, true, self.scale);
                    }
                    mask
                });
            }
            Shape::EndClip => self.clip = None,
        }
    }

    fn text(&mut self, (x, y): (f32, f32), text: &str, style: &Type) {
        let (outline, width) = typeface::outline(text, style.size as f32, style.bold);
        let Some(outline) = outline else { return };
        let start = match style.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let place = Transform::from_rotate_at(style.turn as f32, x, y)
            .pre_concat(Transform::from_translate(x + start, y));
        let outline = outline.transform(place);
        if style.rim {
            let rim = Stroke { width: 4.0, line_join: LineJoin::Round, ..Stroke::default() };
            self.stroke(outline.as_ref(), [255; 3], &rim);
        }
        self.fill(outline.as_ref(), rgb(style.colour));
    }

    fn fill(&mut self, path: Option<&tiny_skia::Path>, colour: Rgb) {
        if let Some(path) = path {
            let paint = paint(colour);
            let clip = self.clip.as_ref();
            self.pixels.fill_path(path, &paint, FillRule::Winding, self.scale, clip);
        }
    }

    fn stroke(&mut self, path: Option<&tiny_skia::Path>, colour: Rgb, stroke: &Stroke) {
        if let Some(path) = path {
            let paint = paint(colour);
            self.pixels.stroke_path(path, &paint, stroke, self.scale, self.clip.as_ref());
        }
    }
}
