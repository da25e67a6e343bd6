//! From shapes to pixels, as a viewer of the SVG file draws them.

use tiny_skia::{
    Color, FillRule, FilterQuality, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap,
    PixmapPaint, PremultipliedColorU8, Rect, Stroke, StrokeDash, Transform,
};

use crate::{
    letters::{Letters, letters},
    style::{Anchor, Type, rgb},
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
        let Letters { outline, pictures, width } = letters(text, style.size as f32, style.bold);
        let start = match style.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let place = Transform::from_rotate_at(style.turn as f32, x, y)
            .pre_concat(Transform::from_translate(x + start, y));
        if let Some(outline) = outline {
            let outline = outline.transform(place);
            if style.rim {
                let rim = Stroke { width: 4.0, line_join: LineJoin::Round, ..Stroke::default() };
                self.stroke(outline.as_ref(), [255; 3], &rim);
            }
            self.fill(outline.as_ref(), rgb(style.colour));
        }
        for (picture, own) in pictures {
            self.picture(picture, place.pre_concat(own));
        }
    }

    /// Draws a coloured letter, antialiased.
    fn picture(&mut self, mut picture: Pixmap, mut place: Transform) {
        // Bilinear interpolation alone would skip pixels of a picture that is much larger.
        while self.scale.pre_concat(place).get_scale().0 < 0.6
            && let Some(half) = halved(&picture)
        {
            picture = half;
            place = place.pre_scale(2.0, 2.0);
        }
        let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
        let place = self.scale.pre_concat(place);
        self.pixels.draw_pixmap(0, 0, picture.as_ref(), &paint, place, self.clip.as_ref());
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

/// Half as wide and high: the means of two by two pixels.
fn halved(picture: &Pixmap) -> Option<Pixmap> {
    let (width, height) = (picture.width() / 2, picture.height() / 2);
    let mut half = Pixmap::new(width, height)?;
    let from = picture.pixels();
    let stride = picture.width() as usize;
    for (i, to) in half.pixels_mut().iter_mut().enumerate() {
        let at = i / width as usize * 2 * stride + i % width as usize * 2;
        let four = [at, at + 1, at + stride, at + stride + 1].map(|k| from[k]);
        let mean = |of: fn(PremultipliedColorU8) -> u8| {
            (four.iter().map(|p| u32::from(of(*p))).sum::<u32>() / 4) as u8
        };
        let [r, g, b, a] = [
            mean(PremultipliedColorU8::red),
            mean(PremultipliedColorU8::green),
            mean(PremultipliedColorU8::blue),
            mean(PremultipliedColorU8::alpha),
        ];
        *to = PremultipliedColorU8::from_rgba(r, g, b, a)?;
    }
    Some(half)
}
