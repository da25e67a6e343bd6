//! Files in a runtime of others: `rten`. `cargo xtask exports` does the same with ONNX Runtime,
//! OpenVINO and tract, and has ONNX's own checker read them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{PICTURES, cases};
use rten_tensor::AsView;
use taper_onnx::InputForm;

#[test]
fn rten_gives_what_taper_gives() {
    for case in cases() {
        let written = case.write().unwrap();
        // rten has no texts.
        if case.options.embed_labels {
            continue;
        }
        let model =
            rten::Model::load(written.file).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let (input, output) = (model.input_ids()[0], model.output_ids()[0]);
        let width = written.expected.len() / PICTURES;
        let side = case.size;
        for n in case.options.batch.map_or(vec![1, 3, PICTURES], |n| vec![n as usize]) {
            let pixels = &written.pixels[..n * side * side * 3];
            let value: rten::Value = match case.options.input {
                InputForm::Pixels => {
                    rten::Value::from_shape(&[n, side, side, 3], pixels.to_vec()).unwrap()
                }
                InputForm::Normalised => {
                    let planes = normalised(pixels, side, &written.preprocessing);
                    rten::Value::from_shape(&[n, 3, side, side], planes).unwrap()
                }
            };
            let mut given = model.run(vec![(input, value.into())], &[output], None).unwrap();
            let given: rten_tensor::NdTensor<f32, 2> = given.remove(0).try_into().unwrap();
            let given: Vec<f32> = given.iter().copied().collect();
            let expected = &written.expected[..n * width];
            let scale = expected.iter().fold(1f32, |most, v| most.max(v.abs()));
            let worst = given.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale);
            let worst = worst.fold(0f32, f32::max);
            assert_eq!(given.len(), expected.len(), "{}", case.name);
            // FastViT's attention on seeded weights is nearly all on one position: rounding moves
            // it.
            let moved = ["fastvit", "mobileclip"].iter().any(|own| case.name.starts_with(own));
            let bound = if moved { 1e-4 } else { 1e-5 };
            assert!(worst <= bound, "{}, {n} pictures: {worst}", case.name);
        }
    }
}

/// From `[n, side, side, 3]` to `[n, 3, side, side]`, normalised.
fn normalised(pixels: &[u8], side: usize, p: &taper_core::Preprocessing) -> Vec<f32> {
    let of = |picture: &[u8], c: usize, at: usize| {
        (f32::from(picture[3 * at + c]) / 255.0 - p.mean[c]) / p.std[c]
    };
    let pictures = pixels.chunks_exact(side * side * 3);
    let all = pictures.flat_map(|picture| {
        (0..3).flat_map(move |c| (0..side * side).map(move |at| of(picture, c, at)))
    });
    all.collect()
}
