//! Hands and how they are held: bones, joint angles, gesture, view.
//!
//! Everything is built for a right hand in its own frame and then turned into the camera's. In the
//! hand's frame the wrist is at the origin, +y runs along the middle finger, +z leaves the back of
//! the hand, the thumb is on −x, and the unit is the length of the palm, about 10 cm.

use taper_core::random::Stream;

use crate::{
    field::{Capsule, Part},
    math::{Rotation, Vec3, sin_cos, vec3},
};

/// What the hand shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gesture {
    Paper,
    Rock,
    Scissors,
}

impl Gesture {
    /// The gesture of a label: the order of [`CLASSES`](crate::CLASSES).
    pub(crate) fn of_label(label: u32) -> Self {
        match label {
            0 => Self::Paper,
            1 => Self::Rock,
            _ => Self::Scissors,
        }
    }
}

/// A posed hand in front of the camera, which is at (0, 0, `distance`) and looks along −z.
#[derive(Debug)]
pub(crate) struct Hand {
    /// Palm and forearm, then finger by finger, then the sleeve if there is one.
    pub(crate) capsules: Vec<Capsule>,
    /// From the hand's frame (mirrored for a left hand) to the camera's.
    pub(crate) rotation: Rotation,
    pub(crate) distance: f32,
    /// Half the height of what the camera sees at z = 0.
    pub(crate) extent: f32,
}

/// One finger: where it is rooted, how it fans out at rest, its bones.
struct Finger {
    knuckle: Vec3,
    /// Fan angle per unit of spread, in degrees; negative towards the thumb.
    fan: f32,
    /// How the finger's back is tilted by the arch of the palm, in degrees.
    tilt: f32,
    bones: [f32; 3],
    radii: [f32; 4],
}

/// Index, middle, ring and little finger of an average hand.
const FINGERS: [Finger; 4] = [
    Finger {
        knuckle: vec3(-0.325, 0.95, 0.0),
        fan: -1.0,
        tilt: -9.0,
        bones: [0.45, 0.27, 0.19],
        radii: [0.104, 0.092, 0.080, 0.066],
    },
    Finger {
        knuckle: vec3(-0.105, 0.99, 0.025),
        fan: -0.25,
        tilt: -2.0,
        bones: [0.49, 0.31, 0.20],
        radii: [0.106, 0.094, 0.082, 0.067],
    },
    Finger {
        knuckle: vec3(0.11, 0.94, 0.01),
        fan: 0.45,
        tilt: 5.0,
        bones: [0.45, 0.29, 0.20],
        radii: [0.100, 0.089, 0.078, 0.064],
    },
    Finger {
        knuckle: vec3(0.305, 0.84, -0.04),
        fan: 1.25,
        tilt: 13.0,
        bones: [0.35, 0.21, 0.18],
        radii: [0.089, 0.078, 0.068, 0.057],
    },
];

/// Joint angles of a finger in degrees, 0 when it is straight.
#[derive(Debug, Clone, Copy)]
struct Flexion {
    knuckle: f32,
    middle: f32,
    end: f32,
    /// Sideways, in degrees; negative towards the thumb.
    sideways: f32,
}

impl Flexion {
    fn open(stream: &mut Stream, sideways: f32) -> Self {
        Self {
            knuckle: stream.range(-12.0, 14.0),
            middle: stream.range(0.0, 16.0),
            end: stream.range(-2.0, 12.0),
            sideways: sideways + stream.range(-2.5, 2.5),
        }
    }

    /// `looseness` 0 is a tight fist, 1 one that could hold a broomstick.
    fn curled(stream: &mut Stream, looseness: f32) -> Self {
        Self {
            knuckle: stream.range(80.0, 92.0) - 18.0 * looseness,
            middle: stream.range(97.0, 108.0) - 12.0 * looseness,
            end: stream.range(52.0, 70.0) - 14.0 * looseness,
            sideways: stream.range(-2.0, 2.0),
        }
    }
}

/// Directions of the thumb's three bones, not normalised.
type ThumbPose = [Vec3; 3];

/// The thumb laid across the curled fingers.
const THUMB_ACROSS_FIST: ThumbPose =
    [vec3(-0.31, 0.68, -0.62), vec3(0.00, 0.60, -0.70), vec3(0.88, 0.20, -0.16)];
/// The thumb laid across the palm, holding ring and little finger down.
const THUMB_ACROSS_PALM: ThumbPose =
    [vec3(-0.36, 0.66, -0.60), vec3(0.30, 0.52, -0.76), vec3(0.92, 0.22, -0.16)];
/// The thumb alongside the index finger.
const THUMB_BESIDE: ThumbPose =
    [vec3(-0.60, 0.75, -0.30), vec3(-0.12, 0.95, -0.28), vec3(0.10, 0.98, -0.10)];

/// The thumb in the plane of the palm, `away` degrees from the index finger.
fn thumb_away(away: f32) -> ThumbPose {
    let bone = |angle: f32, z: f32| {
        let (s, c) = sin_cos(angle);
        vec3(-s, c, z)
    };
    [bone(away, -0.32), bone(away - 7.0, -0.22), bone(away - 13.0, -0.12)]
}

impl Hand {
    /// Draws a hand. `shifted` widens and moves the ranges of the views for the test split.
    pub(crate) fn draw(gesture: Gesture, shifted: bool, stream: &mut Stream) -> Self {
        let mut built = Builder::new(stream);
        let (flexions, thumb) = pose(gesture, stream);
        built.palm(&thumb);
        for (number, (finger, flexion)) in FINGERS.iter().zip(flexions).enumerate() {
            built.finger(number as u8 + 1, finger, flexion);
        }
        built.thumb(&thumb);
        built.forearm(shifted, stream);
        place(built.capsules, shifted, stream)
    }
}

/// The joint angles of a gesture: index to little finger, and the thumb.
fn pose(gesture: Gesture, stream: &mut Stream) -> ([Flexion; 4], ThumbPose) {
    let looseness = stream.range(0.0, 1.0);
    let spread = stream.range(1.5, 13.0);
    let away = stream.range(24.0, 58.0);
    let style = stream.uniform();
    let curl = |stream: &mut Stream| Flexion::curled(stream, looseness);
    match gesture {
        Gesture::Paper => {
            let fingers = FINGERS.each_ref().map(|f| Flexion::open(stream, f.fan * spread));
            (fingers, thumb_away(away))
        }
        Gesture::Rock => {
            let fingers = [curl(stream), curl(stream), curl(stream), curl(stream)];
            let thumb = if style < 0.75 { THUMB_ACROSS_FIST } else { THUMB_BESIDE };
            (fingers, thumb)
        }
        Gesture::Scissors => {
            let opening = stream.range(9.0, 19.0);
            let fingers = [
                Flexion::open(stream, -opening),
                Flexion::open(stream, opening * 0.7),
                curl(stream),
                curl(stream),
            ];
            let thumb = if style < 0.7 { THUMB_ACROSS_PALM } else { THUMB_BESIDE };
            (fingers, thumb)
        }
    }
}

/// Collects capsules in the hand's frame.
struct Builder {
    capsules: Vec<Capsule>,
    /// Of this hand relative to the average one: length of the fingers, width of the palm,
    /// thickness of everything.
    length: f32,
    width: f32,
    thickness: f32,
}

const BACK: Vec3 = vec3(0.0, 0.0, 1.0);
const THUMB_ROOT: Vec3 = vec3(-0.19, 0.15, -0.07);
const THUMB_BONES: [f32; 3] = [0.43, 0.33, 0.23];

impl Builder {
    fn new(stream: &mut Stream) -> Self {
        Self {
            capsules: Vec::with_capacity(32),
            length: stream.range(0.92, 1.08),
            width: stream.range(0.94, 1.06),
            thickness: stream.range(0.90, 1.10),
        }
    }

    fn add(&mut self, kind: (Part, u8), a: Vec3, b: Vec3, radii: (f32, f32), dorsal: Vec3) {
        // Towards the back, but perpendicular to the capsule.
        let along = (b - a).normalize();
        let dorsal = (dorsal - along * dorsal.dot(along)).normalize();
        let wide = |p: Vec3| vec3(p.x * self.width, p.y, p.z);
        let radii = (radii.0 * self.thickness, radii.1 * self.thickness);
        self.capsules.push(Capsule::new(kind, (wide(a), wide(b)), radii, dorsal));
    }

    fn palm(&mut self, thumb: &ThumbPose) {
        let palm = (Part::Palm, 0);
        // The bones of the palm, each to its knuckle.
        let wrist = [
            vec3(-0.16, 0.10, 0.0),
            vec3(-0.06, 0.08, 0.02),
            vec3(0.05, 0.08, 0.01),
            vec3(0.14, 0.10, -0.01),
        ];
        for (root, finger) in wrist.into_iter().zip(&FINGERS) {
            let knuckle = vec3(finger.knuckle.x, finger.knuckle.y - 0.02, finger.knuckle.z - 0.025);
            self.add(palm, root, knuckle, (0.125, 0.118), BACK);
        }
        // The pad of the little finger, then the thumb's ball and the web that joins it to the
        // palm.
        self.add(palm, vec3(0.20, 0.16, -0.06), vec3(0.28, 0.58, -0.09), (0.13, 0.11), BACK);
        let base = THUMB_ROOT + thumb[0].normalize() * THUMB_BONES[0];
        self.add(palm, vec3(-0.14, 0.18, -0.06), base, (0.15, 0.115), BACK);
        let web = base.mix(THUMB_ROOT, 0.45);
        self.add(palm, web, vec3(-0.22, 0.62, -0.05), (0.10, 0.10), BACK);
    }

    fn finger(&mut self, group: u8, finger: &Finger, flexion: Flexion) {
        let (sin, cos) = sin_cos(flexion.sideways);
        let forward = vec3(sin, cos, 0.0);
        let (sin, cos) = sin_cos(finger.tilt);
        let back = vec3(sin, 0.0, cos);
        let back = (back - forward * forward.dot(back)).normalize();
        let bends = [flexion.knuckle, flexion.middle, flexion.end];
        let parts = [Part::Proximal, Part::Middle, Part::Distal];
        let mut start = finger.knuckle;
        let mut bent = 0.0;
        for bone in 0..3 {
            bent += bends[bone];
            let (sin, cos) = sin_cos(bent);
            let end = start + (forward * cos - back * sin) * (finger.bones[bone] * self.length);
            let radii = (finger.radii[bone], finger.radii[bone + 1]);
            self.add((parts[bone], group), start, end, radii, back * cos + forward * sin);
            start = end;
        }
    }

    fn thumb(&mut self, pose: &ThumbPose) {
        let base = THUMB_ROOT + pose[0].normalize() * THUMB_BONES[0];
        let joint = base + pose[1].normalize() * (THUMB_BONES[1] * self.length);
        let tip = joint + pose[2].normalize() * (THUMB_BONES[2] * self.length);
        // The thumb's nail faces sideways: away from the palm and from the direction in which the
        // thumb bends.
        let back = vec3(-0.75, 0.15, 0.35) - pose[2] * 0.3;
        self.add((Part::Proximal, 5), base, joint, (0.112, 0.100), back);
        self.add((Part::Distal, 5), joint, tip, (0.100, 0.074), back);
    }

    fn forearm(&mut self, shifted: bool, stream: &mut Stream) {
        let bend = Rotation::about_x(stream.range(-18.0, 18.0))
            .after(&Rotation::about_z(stream.range(-12.0, 12.0)));
        let arm = |x: f32, y: f32, z: f32| bend.apply(vec3(x, y, z));
        let forearm = (Part::Forearm, 0);
        let thumb_side = (vec3(-0.09, 0.20, -0.01), arm(-0.20, -3.0, -0.03));
        let other_side = (vec3(0.09, 0.20, -0.01), arm(0.18, -3.0, -0.03));
        let sleeve_from = stream.range(-0.75, -0.30);
        let sleeved = stream.bernoulli(if shifted { 0.45 } else { 0.2 });
        self.add(forearm, thumb_side.0, thumb_side.1, (0.135, 0.28), BACK);
        self.add(forearm, other_side.0, other_side.1, (0.132, 0.27), BACK);
        // Palm and forearm are one group and have to come first.
        self.capsules.sort_by_key(|c| c.group);
        if sleeved {
            let cuff = arm(0.0, sleeve_from, -0.02);
            self.add((Part::Sleeve, 6), cuff, arm(0.0, -3.2, -0.03), (0.34, 0.62), BACK);
        }
    }
}

/// Turns the finished hand, or its mirror image, in front of the camera.
fn place(mut capsules: Vec<Capsule>, shifted: bool, stream: &mut Stream) -> Hand {
    let (palm_seen, yaw, pitch, roll) =
        if shifted { (0.45, 48.0, 27.0, 45.0) } else { (0.3, 42.0, 24.0, 28.0) };
    let facing = if stream.bernoulli(palm_seen) { 180.0 } else { 0.0 };
    let rotation = Rotation::about_z(stream.range(-roll, roll))
        .after(&Rotation::about_x(stream.range(-pitch, pitch)))
        .after(&Rotation::about_y(facing + stream.range(-yaw, yaw)));
    let left = stream.bernoulli(0.5);
    let turn = |v: Vec3| rotation.apply(if left { vec3(-v.x, v.y, v.z) } else { v });

    let mut low = Vec3::splat(f32::MAX);
    let mut high = Vec3::splat(f32::MIN);
    for capsule in &mut capsules {
        capsule.start = turn(capsule.start);
        capsule.along = turn(capsule.along);
        capsule.dorsal = turn(capsule.dorsal);
        if !matches!(capsule.part, Part::Forearm | Part::Sleeve) {
            for (p, r) in
                [(capsule.start, capsule.radius), (capsule.end(), capsule.radius + capsule.taper)]
            {
                low = vec3(low.x.min(p.x - r), low.y.min(p.y - r), low.z.min(p.z - r));
                high = vec3(high.x.max(p.x + r), high.y.max(p.y + r), high.z.max(p.z + r));
            }
        }
    }
    // Small gestures may come a little nearer; none may leave the picture.
    let half = ((high.x - low.x).max(high.y - low.y)) * 0.5;
    let zoom = if shifted { stream.range(1.0, 1.5) } else { stream.range(0.95, 1.3) };
    let extent = ((0.45 + 0.75 * half) * zoom).max(half * 1.12);
    let room = (extent - half * 1.1).max(0.0);
    let aim = vec3(stream.range(-room, room), stream.range(-room, room) * 0.8, 0.0);
    let shift = aim - (low + high) * 0.5;
    for capsule in &mut capsules {
        capsule.start = capsule.start + shift;
    }
    let distance = if shifted { stream.range(4.5, 8.0) } else { stream.range(6.5, 9.0) };
    Hand { capsules, rotation, distance, extent }
}
