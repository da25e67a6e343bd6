use taper_picture::Homography;

/// A part of a picture, as fractions of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropBox {
    /// Distance of the left edge from the picture's, 0 to 1.
    pub left: f32,
    /// Distance of the top edge from the picture's, 0 to 1.
    pub top: f32,
    /// Width, above 0 to 1.
    pub width: f32,
    /// Height, above 0 to 1.
    pub height: f32,
}

/// Where things go. Steps are applied in the order of the fields, all about the centre of the
/// picture or of the crop; they are composed into one map, so that a picture is resampled once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// The part that is seen instead of the whole, scaled to the output whatever its aspect ratio
    /// (torchvision's `resized_crop`). It takes the place of the network's own crop.
    pub crop: Option<CropBox>,
    /// Whether left and right are exchanged (torchvision's `horizontal_flip`).
    pub flip: bool,
    /// Whether top and bottom are exchanged (torchvision's `vertical_flip`).
    pub flip_vertical: bool,
    /// Counter-clockwise turn as a fraction of a full turn (Keras' `RandomRotation`).
    pub rotation: f32,
    /// Shear along x and along y: the input is seen at x + s\[0\]·y and y + s\[1\]·x.
    /// (torchvision's `affine` with `shear=[d, 0]` degrees is s\[0\] = tan d.)
    pub shear: [f32; 2],
    /// Side of the part that is seen, relative to the picture: above 1 things become smaller
    /// (Keras' `RandomZoom`: 1 + factor).
    pub zoom: f32,
    /// Shift to the right and downwards, as a fraction of width and height (Keras'
    /// `RandomTranslation`).
    pub translation: [f32; 2],
    /// How far the corners (top left, top right, bottom right, bottom left) move inwards along x
    /// and y, as a fraction of width and height (torchvision's `perspective` with these end
    /// points). None: they stay.
    pub perspective: Option<[[f32; 2]; 4]>,
}

impl Default for Geometry {
    /// Everything stays where it is.
    fn default() -> Self {
        Self {
            crop: None,
            flip: false,
            flip_vertical: false,
            rotation: 0.0,
            shear: [0.0; 2],
            zoom: 1.0,
            translation: [0.0; 2],
            perspective: None,
        }
    }
}

impl Geometry {
    /// The steps but the crop, as one map from output to input, for a picture of this size.
    pub fn steps(&self, width: u32, height: u32) -> Homography {
        let about = |linear| Homography::about_centre(linear, width, height);
        let (w, h) = (f64::from(width), f64::from(height));
        // What is applied last comes first on the way from output to input.
        let mut map = self.perspective.map_or(Homography::IDENTITY, |moves| corners(moves, w, h));
        let [right, down] = self.translation.map(f64::from);
        if [right, down] != [0.0; 2] {
            map = map.then(&Homography::translation(-right * w, -down * h));
        }
        if self.zoom != 1.0 {
            let zoom = f64::from(self.zoom);
            map = map.then(&about([zoom, 0.0, 0.0, zoom]));
        }
        if self.shear != [0.0; 2] {
            let [x, y] = self.shear.map(f64::from);
            map = map.then(&about([1.0, x, y, 1.0]));
        }
        if self.rotation != 0.0 {
            let (sin, cos) = (f64::from(self.rotation) * std::f64::consts::TAU).sin_cos();
            map = map.then(&about([cos, -sin, sin, cos]));
        }
        if self.flip || self.flip_vertical {
            let sign = |mirrored| if mirrored { -1.0 } else { 1.0 };
            map = map.then(&about([sign(self.flip), 0.0, 0.0, sign(self.flip_vertical)]));
        }
        map
    }
}

/// The map that moves the corners of a picture inwards. If they cannot be moved so (they come to
/// lie on a line), none is.
fn corners(moves: [[f32; 2]; 4], w: f64, h: f64) -> Homography {
    let start = [[0.0, 0.0], [w - 1.0, 0.0], [w - 1.0, h - 1.0], [0.0, h - 1.0]];
    let inwards = [[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]];
    let end = std::array::from_fn(|i| {
        [
            start[i][0] + inwards[i][0] * f64::from(moves[i][0]) * w,
            start[i][1] + inwards[i][1] * f64::from(moves[i][1]) * h,
        ]
    });
    // torchvision gives the corners as those of pixels 0 and w − 1, but evaluates the map at x + ½.
    let map = Homography::from_points(end, start).unwrap_or(Homography::IDENTITY);
    Homography::translation(0.5, 0.5).then(&map).then(&Homography::translation(-0.5, -0.5))
}
