//! Measures how well copies are told apart from pictures that are nearly the same, over thresholds:
//! the tables of docs/data.md. `cargo run --release -p taper-health --example copies [FOLDER]`,
//! where FOLDER has the pictures of a clip each in `train/CLASS` (rock-paper-scissors).
#![allow(clippy::print_stdout, reason = "its output is the answer")]

use std::{error::Error, io::Cursor, path::PathBuf};

use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder, imageops};
use rayon::prelude::*;
use taper_core::random::{Key, Purpose, Stream};
use taper_health::{Comparison, Evidence, compare};

/// Pairs of one kind, and what comparing them gave.
struct Kind {
    name: String,
    copies: bool,
    compared: Vec<Option<Comparison>>,
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(Cursor::new(&mut bytes), quality);
    let decoded = picture
        .write_with_encoder(encoder)
        .and_then(|()| image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg));
    decoded.map_or_else(|_| picture.clone(), |picture| picture.into_rgb8())
}

fn normal(stream: &mut Stream) -> f32 {
    // The sum of twelve uniform values has variance 1.
    (0..12).map(|_| stream.range(0.0, 1.0)).sum::<f32>() - 6.0
}

fn noisy(picture: &RgbImage, deviation: f32, stream: &mut Stream) -> RgbImage {
    let mut picture = picture.clone();
    for pixel in picture.pixels_mut() {
        let grey = normal(stream);
        for channel in &mut pixel.0 {
            let own = 0.5 * normal(stream);
            *channel =
                (f32::from(*channel) + deviation * (grey + own)).round().clamp(0.0, 255.0) as u8;
        }
    }
    picture
}

/// A metal part with holes in front of a fixed camera, and what differs from shot to shot.
struct Shot {
    shift: [f32; 2],
    scratch: bool,
    noise: f32,
}

/// Renders a shot of part `part`: all parts have the same design, and a surface of their own.
fn render(part: u64, shot: &Shot, side: u32, stream: &mut Stream) -> RgbImage {
    let surface = Key::new(part, Purpose::new("example/surface"));
    let mut own = surface.stream(0, 0);
    let waves: Vec<[f32; 4]> = (0..24)
        .map(|_| {
            let frequency = own.range(6.0, 60.0);
            let angle = own.range(0.0, 6.3);
            [
                frequency * angle.cos(),
                frequency * angle.sin(),
                own.range(0.0, 6.3),
                own.range(0.2, 0.8),
            ]
        })
        .collect();
    let from = [stream.range(0.35, 0.6), stream.range(0.35, 0.6)];
    let angle = stream.range(0.0, 3.1);
    let length = stream.range(0.08, 0.2);
    let picture = RgbImage::from_fn(side, side, |px, py| {
        let x = (px as f32 - shot.shift[0]) / side as f32;
        let y = (py as f32 - shot.shift[1]) / side as f32;
        let edge = |distance: f32| (distance * side as f32).clamp(-0.5, 0.5) + 0.5;
        let plate = edge(0.36 - (x - 0.5).abs().max((y - 0.5).abs()));
        let hole = |cx: f32, cy: f32, r: f32| edge(r - (x - cx).hypot(y - cy));
        let holes = hole(0.3, 0.3, 0.06) + hole(0.7, 0.3, 0.06) + hole(0.5, 0.7, 0.09);
        let texture: f32 =
            waves.iter().map(|[fx, fy, phase, a]| a * (fx * x + fy * y + phase).sin()).sum();
        let metal = 150.0 + 30.0 * (x - y) + texture;
        let mut grey = 60.0 + plate * (metal - 60.0) - plate * holes.min(1.0) * (metal - 40.0);
        if shot.scratch {
            let (dx, dy) = (x - from[0], y - from[1]);
            let along = dx * angle.cos() + dy * angle.sin();
            let across = (dy * angle.cos() - dx * angle.sin()).abs();
            if (0.0..length).contains(&along) {
                grey += 70.0 * edge(0.75 / side as f32 - across);
            }
        }
        let value = grey.clamp(0.0, 255.0) as u8;
        Rgb([value, value, (0.97 * grey).clamp(0.0, 255.0) as u8])
    });
    noisy(&picture, shot.noise, stream)
}

/// A small disc of a random colour somewhere on a busy background.
fn on_background(background: u64, stream: &mut Stream) -> RgbImage {
    let shot = Shot { shift: [0.0; 2], scratch: false, noise: 1.0 };
    let mut picture = render(background, &shot, 300, stream);
    let [x, y] = [0, 1].map(|_| stream.range(60.0, 240.0));
    let radius = stream.range(10.0, 20.0);
    let colour = [0, 1, 2].map(|_| stream.range(0.0, 255.0) as u8);
    for (px, py, pixel) in picture.enumerate_pixels_mut() {
        if (px as f32 - x).hypot(py as f32 - y) < radius {
            *pixel = Rgb(colour);
        }
    }
    picture
}

fn pixels(stream: &mut Stream, most: i32) -> [f32; 2] {
    [0, 1].map(|_| (stream.below((2 * most + 1) as u32) as i32 - most) as f32)
}

/// Pairs that are copies: of every original, one of each kind.
fn copies(set: &str, originals: &[RgbImage]) -> Vec<Kind> {
    type Make = fn(&RgbImage, &mut Stream) -> RgbImage;
    let makes: [(&str, Make); 9] = [
        ("re-encoded, quality 95", |p, _| jpeg(p, 95)),
        ("re-encoded, quality 75", |p, _| jpeg(p, 75)),
        ("re-encoded, quality 50", |p, _| jpeg(p, 50)),
        ("re-encoded, quality 30", |p, _| jpeg(p, 30)),
        ("scaled to 90 or 110 %, quality 90", |p, s| {
            let factor = if s.below(2) == 0 { 0.9 } else { 1.1 };
            let side = |n: u32| (n as f32 * factor).round().max(1.0) as u32;
            let (w, h) = (side(p.width()), side(p.height()));
            jpeg(&imageops::resize(p, w, h, imageops::FilterType::CatmullRom), 90)
        }),
        ("scaled to 50 %, quality 80", |p, _| {
            let (w, h) = (p.width() / 2, p.height() / 2);
            jpeg(&imageops::resize(p, w, h, imageops::FilterType::Triangle), 80)
        }),
        ("cropped by up to 8 % a side, quality 90", |p, s| {
            let (w, h) = p.dimensions();
            let mut cut = |n: u32| (s.range(0.01, 0.08) * n as f32) as u32;
            let (l, r, t, b) = (cut(w), cut(w), cut(h), cut(h));
            jpeg(&imageops::crop_imm(p, l, t, w - l - r, h - t - b).to_image(), 90)
        }),
        ("cropped, and scaled to the old size, quality 75", |p, s| {
            let (w, h) = p.dimensions();
            let mut cut = |n: u32| (s.range(0.01, 0.08) * n as f32) as u32;
            let (l, r, t, b) = (cut(w), cut(w), cut(h), cut(h));
            let part = imageops::crop_imm(p, l, t, w - l - r, h - t - b).to_image();
            jpeg(&imageops::resize(&part, w, h, imageops::FilterType::CatmullRom), 75)
        }),
        ("mirrored, quality 75", |p, _| jpeg(&imageops::flip_horizontal(p), 75)),
    ];
    let key = Key::new(15, Purpose::new("example/copies"));
    let kind = |(n, (name, make)): (usize, &(&str, Make))| Kind {
        name: format!("{set}: {name}"),
        copies: true,
        compared: originals
            .par_iter()
            .enumerate()
            .map(|(i, p)| compare(p, &make(p, &mut key.stream(n as u32, i as u64))))
            .collect(),
    };
    makes.iter().enumerate().map(kind).collect()
}

fn near(name: &str, pairs: usize, make: impl Fn(u64, &mut Stream) -> [RgbImage; 2] + Sync) -> Kind {
    let key = Key::new(15, Purpose::new("example/near"));
    let compared = (0..pairs as u64).into_par_iter().map(|i| {
        let [a, b] = make(i, &mut key.stream(0, i));
        compare(&a, &b)
    });
    Kind { name: name.into(), copies: false, compared: compared.collect() }
}

/// Shots of a fixed camera and of a product line.
fn shots(n: usize) -> Vec<Kind> {
    let pair =
        |parts: [u64; 2], most: i32, scratch: bool, noise: f32, side: u32, s: &mut Stream| {
            let shots =
                [false, scratch].map(|scratch| Shot { shift: pixels(s, most), scratch, noise });
            [0, 1].map(|i| jpeg(&render(parts[i], &shots[i], side, s), 92))
        };
    vec![
        near("one part, 1200 pixels, unmoved, noise 3", 12, |i, s| {
            pair([i, i], 0, false, 3.0, 1200, s)
        }),
        near("one part, ±3 pixels, noise 3, a scratch", n, |i, s| {
            pair([i, i], 3, true, 3.0, 300, s)
        }),
        near("one part, ±3 pixels, noise 3", n, |i, s| pair([i, i], 3, false, 3.0, 300, s)),
        near("one part, 1 to 6 pixels apart, no noise", n, |i, s| {
            let mut shifts = [pixels(s, 3), pixels(s, 3)];
            if shifts[0] == shifts[1] {
                shifts[1][0] += 1.0;
            }
            let mut shot = |shift| render(i, &Shot { shift, scratch: false, noise: 0.0 }, 300, s);
            shifts.map(|shift| jpeg(&shot(shift), 92))
        }),
        near("one background, unmoved, noise 1, another object", n, |i, s| {
            [0, 1].map(|_| jpeg(&on_background(i, s), 92))
        }),
        near("one part, unmoved, noise 3, a scratch", n, |i, s| pair([i, i], 0, true, 3.0, 300, s)),
        near("one part, unmoved, noise 3", n, |i, s| pair([i, i], 0, false, 3.0, 300, s)),
        near("one part, unmoved, noise 1, a scratch", n, |i, s| pair([i, i], 0, true, 1.0, 300, s)),
        near("one part, unmoved, noise 1", n, |i, s| pair([i, i], 0, false, 1.0, 300, s)),
        near("one part, unmoved, no noise, a scratch", n, |i, s| {
            pair([i, i], 0, true, 0.0, 300, s)
        }),
        near("two parts of one design, unmoved, noise 3", n, |i, s| {
            pair([i, i + 1000], 0, false, 3.0, 300, s)
        }),
        near("two parts of one design, unmoved, no noise", n, |i, s| {
            pair([i, i + 1000], 0, false, 0.0, 300, s)
        }),
    ]
}

/// Frames of the clips in a folder: neighbours, and the same pose of other hands.
fn frames(folder: &std::path::Path) -> Result<(Vec<RgbImage>, Vec<Kind>), Box<dyn Error>> {
    let mut clips: Vec<Vec<PathBuf>> = Vec::new();
    for class in std::fs::read_dir(folder.join("train"))? {
        let mut files: Vec<PathBuf> = std::fs::read_dir(class?.path())?
            .map(|e| Ok(e?.path()))
            .collect::<std::io::Result<_>>()?;
        files.sort();
        let clip = |file: &PathBuf| {
            let name =
                file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            name.rsplit_once('-').map(|(clip, _)| clip.to_owned()).unwrap_or(name)
        };
        clips.extend(files.chunk_by(|a, b| clip(a) == clip(b)).map(<[PathBuf]>::to_vec));
    }
    clips.sort();
    let open = |file: &PathBuf| image::open(file).map(|picture| picture.into_rgb8());
    let pairs = |step: usize, every: usize| -> Vec<[&PathBuf; 2]> {
        let of_clip = |clip: &'_ Vec<PathBuf>| -> Vec<[usize; 2]> {
            (0..clip.len().saturating_sub(step)).step_by(every).map(|i| [i, i + step]).collect()
        };
        clips.iter().flat_map(|c| of_clip(c).into_iter().map(|[i, j]| [&c[i], &c[j]])).collect()
    };
    let kind = |name: &str, pairs: Vec<[&PathBuf; 2]>| Kind {
        name: name.into(),
        copies: false,
        compared: pairs
            .par_iter()
            .filter_map(|[a, b]| Some(compare(&open(a).ok()?, &open(b).ok()?)))
            .collect(),
    };
    let strangers: Vec<[&PathBuf; 2]> = clips
        .iter()
        .enumerate()
        .flat_map(|(k, a)| clips[k + 1..].iter().map(move |b| (a, b)))
        .flat_map(|(a, b)| (0..a.len().min(b.len())).step_by(80).map(move |i| [&a[i], &b[i]]))
        .collect();
    let kinds = vec![
        kind("rock-paper-scissors: frames in a row", pairs(1, 8)),
        kind("rock-paper-scissors: five frames apart", pairs(5, 20)),
        kind("rock-paper-scissors: frames of two clips", strangers),
    ];
    let originals = clips.iter().flat_map(|c| c.iter().step_by(20)).map(open);
    Ok((originals.collect::<Result<_, _>>()?, kinds))
}

fn quantile(values: &mut [f32], share: f64) -> String {
    if values.is_empty() {
        return "–".into();
    }
    values.sort_by(f32::total_cmp);
    format!("{:.3}", values[((values.len() - 1) as f64 * share).round() as usize])
}

fn table(kinds: &[Kind]) {
    println!("| pairs | number | near | certain | distance | overhang | local | grain |");
    println!("|---|---|---|---|---|---|---|---|");
    for kind in kinds {
        let n = kind.compared.len().max(1) as f64;
        let share = |holds: fn(&Comparison) -> bool| {
            100.0 * kind.compared.iter().flatten().filter(|c| holds(c)).count() as f64 / n
        };
        let near: Vec<&Comparison> = kind.compared.iter().flatten().filter(|c| c.near()).collect();
        let three = |of: fn(&Evidence) -> Option<f32>| {
            let mut values: Vec<f32> =
                near.iter().filter_map(|c| c.evidence.as_ref().and_then(of)).collect();
            [0.02, 0.5, 0.98].map(|q| quantile(&mut values, q)).join(" ")
        };
        let mut distances: Vec<f32> = kind.compared.iter().flatten().map(|c| c.distance).collect();
        println!(
            "| {}{} | {} | {:.1} % | {:.1} % | {} | {} | {} | {} |",
            if kind.copies { "" } else { "not copies: " },
            kind.name,
            kind.compared.len(),
            share(Comparison::near),
            share(Comparison::certain),
            [0.0, 0.5, 0.98].map(|q| quantile(&mut distances, q)).join(" "),
            three(|e| Some(e.overhang)),
            three(|e| Some(e.local)),
            three(|e| e.grain),
        );
    }
}

/// Precision and recall of "the same picture" over a threshold; every kind counts equally.
fn curve(kinds: &[Kind], name: &str, thresholds: &[f32], same: impl Fn(&Comparison, f32) -> bool) {
    println!("\n| {name} | recall | false alarms | precision |");
    println!("|---|---|---|---|");
    for threshold in thresholds {
        let rate = |copies: bool| {
            let kinds: Vec<&Kind> = kinds.iter().filter(|k| k.copies == copies).collect();
            let of_kind = |k: &&Kind| {
                let found = k.compared.iter().flatten().filter(|c| same(c, *threshold)).count();
                found as f64 / k.compared.len().max(1) as f64
            };
            kinds.iter().map(of_kind).sum::<f64>() / kinds.len().max(1) as f64
        };
        let (recall, alarms) = (rate(true), rate(false));
        println!(
            "| {threshold} | {recall:.4} | {alarms:.4} | {:.4} |",
            recall / (recall + alarms).max(1e-12)
        );
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let n = 24;
    let key = Key::new(15, Purpose::new("example/originals"));
    let parts: Vec<RgbImage> = (0..n)
        .map(|i| {
            let shot = Shot {
                shift: [0.0; 2],
                scratch: i % 2 == 0,
                noise: [0.0, 1.0, 3.0][i as usize % 3],
            };
            jpeg(&render(i, &shot, 300, &mut key.stream(0, i)), 92)
        })
        .collect();
    let mut kinds = copies("rendered part", &parts);
    kinds.extend(shots(n as usize));
    if let Some(folder) = std::env::args().nth(1) {
        let (originals, clips) = frames(std::path::Path::new(&folder))?;
        kinds.extend(copies("hands", &originals));
        kinds.extend(clips);
    }
    table(&kinds);
    let distances = [0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2, 0.3];
    curve(&kinds, "distance alone, at most", &distances, |c, t| c.distance <= t);
    let locals = [1.5, 2.0, 3.0, 4.0, 6.0, 10.0];
    curve(&kinds, "local difference, at most", &locals, |c, t| {
        let all = Comparison { evidence: c.evidence.map(|e| Evidence { local: 0.0, ..e }), ..*c };
        all.certain() && c.evidence.is_some_and(|e| e.local <= t)
    });
    let grains = [-1.0, 0.0, 0.03, 0.06, 0.1, 0.2, 0.3];
    curve(&kinds, "agreement of the grain, at least", &grains, |c, t| {
        let all = Comparison { evidence: c.evidence.map(|e| Evidence { grain: None, ..e }), ..*c };
        all.certain() && c.evidence.is_some_and(|e| e.grain.is_none_or(|g| g >= t))
    });
    let overhangs = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 1.0];
    curve(&kinds, "overhang, at most", &overhangs, |c, t| {
        let all =
            Comparison { evidence: c.evidence.map(|e| Evidence { overhang: 0.0, ..e }), ..*c };
        all.certain() && c.evidence.is_some_and(|e| e.overhang <= t)
    });
    Ok(())
}
