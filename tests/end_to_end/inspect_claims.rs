//! `taper inspect` claims only what is certain, and `--fix` acts on nothing else.

use std::{fs, path::Path};

use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder, imageops};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::run;

/// A reproducible number between −1 and 1, different for every place and seed.
fn chance(seed: u32, x: u32, y: u32) -> f32 {
    let mut n =
        seed.wrapping_mul(0x9e37_79b9) ^ x.wrapping_mul(0x85eb_ca6b) ^ y.wrapping_mul(0xc2b2_ae35);
    for _ in 0..3 {
        n ^= n >> 15;
        n = n.wrapping_mul(0x2c1b_3c6d);
        n ^= n >> 12;
    }
    n as f32 / u32::MAX as f32 * 2.0 - 1.0
}

/// One part in front of a fixed camera: shifted by up to three pixels, with noise, and scratched or
/// not, which is the label.
struct Camera {
    /// In pixels, at most.
    shift: i32,
    /// Standard deviation in grey levels.
    noise: f32,
}

impl Camera {
    fn shot(&self, scratched: bool, n: u32) -> RgbImage {
        let side = 160;
        // Every shift occurs once: without noise, two equal ones would be the same picture.
        let [column, row] = [n % 7, n / 7 % 7].map(|k| k as i32 - 3);
        let shift = [column, row].map(|k| (k * self.shift / 3) as f32);
        let start = [60.0 + 20.0 * chance(5, n, 0), 70.0 + 20.0 * chance(5, n, 1)];
        RgbImage::from_fn(side, side, |px, py| {
            let (x, y) = (px as f32 - shift[0], py as f32 - shift[1]);
            let plate = (x - 80.0).abs().max((y - 80.0).abs()) < 60.0;
            let hole = |cx: f32, cy: f32, r: f32| (x - cx).hypot(y - cy) < r;
            let mut grey = match plate {
                true if hole(50.0, 50.0, 10.0) || hole(110.0, 55.0, 14.0) => 40.0,
                true => 150.0 + 0.2 * x + 4.0 * (0.3 * y).sin(),
                false => 70.0,
            };
            let along = x - start[0];
            if scratched && (0.0..25.0).contains(&along) && (y - start[1] - 0.5 * along).abs() < 0.8
            {
                grey += 70.0;
            }
            // Three uniform numbers have variance 1.
            let noise: f32 = (0..3).map(|k| chance(1000 + 3 * n + k, px, py)).sum();
            Rgb([(grey + self.noise * noise).clamp(0.0, 255.0) as u8; 3])
        })
    }

    /// `data/{good,scratched}`, 26 shots each.
    fn pictures(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, scratched) in [("good", false), ("scratched", true)] {
            let of_class = folder.path().join("data").join(class);
            fs::create_dir_all(&of_class).unwrap();
            for n in 0..26 {
                let n = n + 100 * u32::from(scratched);
                let shot = self.shot(scratched, n);
                fs::write(of_class.join(format!("{n:03}.jpg")), jpeg(&shot, 92)).unwrap();
            }
        }
        folder
    }
}

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    bytes
}

fn inspect(here: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["inspect", "--data", "data", "--no-embeddings", "--json"];
    arguments.extend(["--out", "health"]);
    arguments.extend(more);
    if here.join("health").exists() {
        fs::remove_dir_all(here.join("health")).unwrap();
    }
    run(here, &arguments).expect(0).json()
}

fn count(answer: &Value, list: &str) -> usize {
    answer[list].as_array().unwrap().len()
}

/// A part before a fixed camera is not one picture with two labels, however it was shot.
#[test]
fn shots_of_a_fixed_camera_are_not_copies_and_all_are_kept() {
    for camera in [
        Camera { shift: 3, noise: 3.0 },
        Camera { shift: 0, noise: 3.0 },
        Camera { shift: 3, noise: 0.0 },
        Camera { shift: 0, noise: 1.0 },
    ] {
        let folder = camera.pictures();
        let answer = inspect(folder.path(), &["--fix", "clean"]);
        assert_eq!(count(&answer, "label_conflicts"), 0, "{answer:#}");
        assert_eq!(answer["kept"], 52, "{answer:#}");
        // They are suspicious all the same: shown, closest first.
        let near = answer["near_copies"].as_array().unwrap();
        assert!(!near.is_empty(), "{answer:#}");
        assert!(near.iter().all(|pair| pair["likeness"] == "near"));
        let distances: Vec<f64> = near.iter().map(|p| p["distance"].as_f64().unwrap()).collect();
        assert!(distances.is_sorted(), "{distances:?}");
        assert!(folder.path().join("health/near-copies.png").is_file());
        assert!(!folder.path().join("health/label-conflicts.png").exists());
        let advice = answer["advice"].to_string();
        assert!(advice.contains("near copies") && !advice.contains("contradicting"), "{advice}");
    }
}

/// What is suspicious is left out only on request, and the request needs `--fix`.
#[test]
fn near_copies_are_left_out_on_request() {
    let folder = Camera { shift: 3, noise: 3.0 }.pictures();
    let here = folder.path();
    let answer = inspect(here, &["--fix", "clean", "--fix-near"]);
    let kept = answer["kept"].as_u64().unwrap();
    assert!(kept < 52, "{answer:#}");
    let list = fs::read_to_string(here.join("clean/left-out.csv")).unwrap();
    assert!(list.contains("nearly the same picture has another label"), "{list}");
    assert_eq!(list.lines().count() as u64, 1 + 52 - kept);
    let arguments = ["inspect", "--data", "data", "--fix-near"];
    run(here, &arguments).complains(2, &["--fix"]);
    // People read the same.
    let text = run(here, &["inspect", "--data", "data", "--no-embeddings"]).expect(0).stdout;
    assert!(text.contains("nearly the same picture with two labels, perhaps not copies"), "{text}");
    assert!(!text.contains("the same picture with two labels: "), "{text}");
    assert!(text.contains("--fix-near leaves them out"), "{text}");
}

/// Shots of one part on both sides of a split are no leak for certain; on request it is the
/// training pictures that are left out.
#[test]
fn shots_in_two_splits_are_near_copies() {
    for camera in [
        Camera { shift: 3, noise: 3.0 },
        Camera { shift: 0, noise: 2.0 },
        Camera { shift: 6, noise: 1.0 },
    ] {
        let folder = camera.pictures();
        let here = folder.path();
        for class in ["good", "scratched"] {
            for split in ["train", "test"] {
                fs::create_dir_all(here.join("data").join(split).join(class)).unwrap();
            }
            let shots = fs::read_dir(here.join("data").join(class)).unwrap();
            let mut shots: Vec<_> = shots.map(|shot| shot.unwrap().path()).collect();
            shots.sort();
            for (n, shot) in shots.iter().enumerate() {
                let split = if n % 4 == 0 { "test" } else { "train" };
                let name = shot.file_name().unwrap();
                fs::rename(shot, here.join("data").join(split).join(class).join(name)).unwrap();
            }
            fs::remove_dir(here.join("data").join(class)).unwrap();
        }
        let answer = inspect(here, &["--fix", "clean"]);
        assert_eq!(count(&answer, "duplicates"), 0, "{answer:#}");
        assert_eq!(answer["kept"], 52);
        let near = answer["near_copies"].as_array().unwrap();
        assert!(near.iter().any(|pair| pair["across_splits"] == true), "{answer:#}");
        assert!(!here.join("health/duplicates-across-splits.png").exists());
        // So many are alike that nothing may be left; the list says why.
        let strict = ["inspect", "--data", "data", "--no-embeddings", "--fix", "strict"];
        let ran = run(here, &[&strict[..], &["--fix-near", "--out", "again"]].concat());
        assert_eq!(ran.code == Some(0), here.join("strict/manifest.csv").exists(), "{ran:#?}");
        let list = fs::read_to_string(here.join("strict/left-out.csv")).unwrap();
        let of_splits = list.lines().filter(|line| line.ends_with("is in a later split"));
        assert!(of_splits.clone().count() > 0, "{list}");
        assert!(of_splits.clone().all(|line| line.starts_with("train/")), "{list}");
    }
}

/// What re-encoding, rescaling, cropping and mirroring make of a picture is the same picture.
#[test]
fn copies_with_two_labels_are_certain_and_left_out() {
    type Change = fn(&RgbImage) -> (RgbImage, u8);
    let changes: [(&str, Change); 6] = [
        ("reencoded", |p| (p.clone(), 50)),
        ("reencoded", |p| (p.clone(), 75)),
        ("reencoded", |p| (imageops::thumbnail(p, p.width() / 2, p.height() / 2), 85)),
        ("reencoded", |p| {
            let (w, h) = (p.width() * 6 / 5, p.height() * 6 / 5);
            (imageops::resize(p, w, h, imageops::FilterType::CatmullRom), 85)
        }),
        ("crop", |p| {
            let (w, h) = p.dimensions();
            (imageops::crop_imm(p, w / 40, h / 30, w - w / 20, h - h / 20).to_image(), 90)
        }),
        ("mirror", |p| (imageops::flip_horizontal(p), 80)),
    ];
    for (likeness, change) in changes {
        let folder = scenes();
        let here = folder.path();
        let original = image::open(here.join("data/a/03.png")).unwrap().into_rgb8();
        let (copy, quality) = change(&original);
        fs::write(here.join("data/b/wrong.jpg"), jpeg(&copy, quality)).unwrap();
        let answer = inspect(here, &["--fix", "clean"]);
        let conflicts = answer["label_conflicts"].as_array().unwrap();
        assert_eq!(conflicts.len(), 1, "{likeness} {quality}: {answer:#}");
        assert_eq!(
            (&conflicts[0]["a"], &conflicts[0]["b"]),
            (&"a/03.png".into(), &"b/wrong.jpg".into())
        );
        assert_eq!(conflicts[0]["likeness"], likeness, "{answer:#}");
        assert_eq!(answer["kept"], 24 - 1, "{answer:#}");
    }
}

/// The same within a class: shown, and one of the two is kept. Shots of one part are none.
#[test]
fn copies_within_a_class_are_shown() {
    type Change = fn(&RgbImage) -> (RgbImage, u8);
    let changes: [Change; 4] = [
        |p| (p.clone(), 75),
        |p| (p.clone(), 95),
        |p| (imageops::thumbnail(p, p.width() / 2, p.height() / 2), 90),
        |p| {
            let (w, h) = (p.width() * 6 / 5, p.height() * 6 / 5);
            (imageops::resize(p, w, h, imageops::FilterType::CatmullRom), 85)
        },
    ];
    for change in changes {
        let folder = scenes();
        let here = folder.path();
        let original = image::open(here.join("data/a/03.png")).unwrap().into_rgb8();
        let (copy, quality) = change(&original);
        fs::write(here.join("data/a/again.jpg"), jpeg(&copy, quality)).unwrap();
        let answer = inspect(here, &["--fix", "clean"]);
        assert_eq!(count(&answer, "duplicates"), 1, "{quality}: {answer:#}");
        assert_eq!(answer["duplicates"][0]["likeness"], "reencoded", "{answer:#}");
        assert_eq!(answer["kept"], 24, "{answer:#}");
        assert!(answer["advice"].to_string().contains("within a split"), "{answer:#}");
    }
    for camera in [Camera { shift: 0, noise: 3.0 }, Camera { shift: 3, noise: 0.0 }] {
        let folder = camera.pictures();
        let answer = inspect(folder.path(), &[]);
        assert_eq!(count(&answer, "duplicates"), 0, "{answer:#}");
    }
    // From one JPEG to another.
    let folder = scenes();
    let here = folder.path();
    let original = image::open(here.join("data/b/04.png")).unwrap().into_rgb8();
    fs::remove_file(here.join("data/b/04.png")).unwrap();
    for (name, quality) in [("04.jpg", 95), ("copy.jpg", 80)] {
        fs::write(here.join("data/b").join(name), jpeg(&original, quality)).unwrap();
    }
    let answer = inspect(here, &["--fix", "clean"]);
    assert_eq!((count(&answer, "duplicates"), &answer["kept"]), (1, &24.into()), "{answer:#}");
}

/// Twelve unlike scenes in each of two classes.
fn scenes() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (k, class) in ["a", "b"].into_iter().enumerate() {
        let of_class = folder.path().join("data").join(class);
        fs::create_dir_all(&of_class).unwrap();
        for n in 0..12u32 {
            let seed = 500 * (k as u32 + 1) + n;
            let blobs: Vec<[f32; 5]> =
                (0..9).map(|i| [0, 1, 2, 3, 4].map(|c| 0.5 + 0.5 * chance(seed, i, c))).collect();
            let picture = RgbImage::from_fn(150, 120, |x, y| {
                let mut colour = [90.0f32, 110.0, 130.0];
                for [cx, cy, radius, strength, hue] in &blobs {
                    let (dx, dy) = (x as f32 / 150.0 - cx, y as f32 / 120.0 - cy);
                    // Soft edges: saturated hard ones suffer from JPEG's coarse colours.
                    let share = (1.5 - dx.hypot(dy) / (0.1 + 0.2 * radius)).clamp(0.0, 1.0);
                    let strength = share * (200.0 * strength - 90.0);
                    for (channel, value) in colour.iter_mut().enumerate() {
                        let own = channel == (hue * 2.99) as usize;
                        *value += if own { strength } else { 0.6 * strength };
                    }
                }
                let noise = 4.0 * chance(seed + 9000, x, y);
                Rgb(colour.map(|c| (c + noise).clamp(0.0, 255.0) as u8))
            });
            picture.save(of_class.join(format!("{n:02}.png"))).unwrap();
        }
    }
    folder
}

/// The same pixels in another file are certain too, and so are chains of such files.
#[test]
fn the_same_pixels_in_other_files_are_certain() {
    let folder = scenes();
    let here = folder.path();
    let data = here.join("data");
    let picture = image::open(data.join("a/05.png")).unwrap();
    for copy in ["a/05-copy.bmp", "a/05-copy.webp"] {
        picture.save(data.join(copy)).unwrap();
    }
    fs::copy(data.join("a/05.png"), data.join("a/05-copy.png")).unwrap();
    image::open(data.join("b/02.png")).unwrap().save(data.join("a/other.bmp")).unwrap();
    let answer = inspect(here, &["--fix", "clean"]);
    assert_eq!(count(&answer, "label_conflicts"), 1, "{answer:#}");
    assert_eq!(answer["label_conflicts"][0]["likeness"], "pixels");
    let pixels = answer["duplicates"].as_array().unwrap();
    assert_eq!(pixels.iter().filter(|d| d["likeness"] == "pixels").count(), 3, "{answer:#}");
    assert_eq!(pixels.iter().filter(|d| d["likeness"] == "exact").count(), 1, "{answer:#}");
    // One of four is kept, and neither of the two that contradict each other.
    assert_eq!(answer["kept"], 24 + 4 - 3 - 2, "{answer:#}");
}

#[test]
fn a_manifest_without_pictures_is_not_written_and_a_lost_class_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let shot = |n| Camera { shift: 3, noise: 1.0 }.shot(false, n);
    for class in ["a", "b"] {
        fs::create_dir_all(here.join("data").join(class)).unwrap();
        for n in 0..3 {
            shot(n).save(here.join("data").join(class).join(format!("{n}.png"))).unwrap();
        }
    }
    let fix = |out: &str| {
        let all = ["inspect", "--data", "data", "--no-embeddings", "--fix", out, "--json", "-q"];
        run(here, &all)
    };
    let ran = fix("fixed").expect(1);
    assert!(ran.stderr.contains("every picture would be left out"), "{ran:#?}");
    assert!(ran.stdout.contains("duplicates"), "the report is shown: {ran:#?}");
    assert!(!here.join("fixed/manifest.csv").exists());
    assert_eq!(fs::read_to_string(here.join("fixed/left-out.csv")).unwrap().lines().count(), 7);
    shot(9).save(here.join("data/a/9.png")).unwrap();
    let ran = fix("again").expect(0);
    assert!(ran.stderr.contains("no picture of the class 'b'"), "{ran:#?}");
    assert_eq!(ran.json()["classes_left_out"], serde_json::json!(["b"]));
}
