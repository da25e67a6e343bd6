#![doc = include_str!("../README.md")]

use std::cell::RefCell;

use image::{RgbImage, RgbaImage};
use serde::Serialize;
use serde_json::json;
use taper_core::Precision;
use taper_model::{Artefact, Classifier, Error, Input, OpenOptions};
use taper_picture::{DefectKind, over_white};

/// A call failed; the answer says why.
const FAILED: u32 = 0;
/// The answer is what was asked for.
const DONE: u32 = 1;
/// The content is no picture that this module can decode; the answer says what it is. Another
/// decoder may know it.
const FOREIGN: u32 = 2;

thread_local! {
    /// Opened models; a handle is a position, counted from 1.
    static MODELS: RefCell<Vec<Option<Classifier>>> = const { RefCell::new(Vec::new()) };
    /// The answer of the last call.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn answer(text: impl Into<Vec<u8>>) {
    // A panic may come while the answer is being written; then there is none.
    let _ = ANSWER.try_with(|answer| {
        if let Ok(mut answer) = answer.try_borrow_mut() {
            *answer = text.into();
        }
    });
}

/// Memory for `length` bytes, to be filled and passed to [`taper_open`], [`taper_classify`]
/// or [`taper_classify_pixels`].
#[unsafe(no_mangle)]
pub extern "C" fn taper_allocate(length: usize) -> *mut u8 {
    Box::into_raw(vec![0u8; length].into_boxed_slice()).cast()
}

/// Frees memory from [`taper_allocate`].
///
/// # Safety
/// `bytes` comes from `taper_allocate(length)` and has not been freed yet.
unsafe fn take(bytes: *mut u8, length: usize) -> Vec<u8> {
    // SAFETY: the block was allocated as a boxed slice of this length, and nobody else owns it.
    unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes, length)) }.into_vec()
}

/// Opens a model, the content of a `model.safetensors`, and takes over its memory. Returns a
/// handle, and the answer is `{"network": …, "size": …, "classes": […]}`; or 0 if it cannot be
/// opened, and the answer says why.
///
/// # Safety
/// `bytes` comes from `taper_allocate(length)` and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_open(bytes: *mut u8, length: usize) -> usize {
    // A panic ends the module; its message remains as the answer.
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| answer(panic.to_string())));
    // SAFETY: what the caller promises.
    let bytes = unsafe { take(bytes, length) };
    match open(bytes) {
        Err(error) => {
            answer(error.to_string());
            0
        }
        Ok((classifier, about)) => {
            answer(about);
            MODELS.with_borrow_mut(|models| {
                models.push(Some(classifier));
                models.len()
            })
        }
    }
}

fn open(bytes: Vec<u8>) -> taper_model::Result<(Classifier, String)> {
    let (artefact, weights) = Artefact::from_bytes("model.safetensors", bytes)?;
    let about = json!({
        "network": artefact.model,
        "size": artefact.preprocessing.size,
        "classes": artefact.classes,
    });
    // What a processor might gain by bf16, a browser does not.
    let options = OpenOptions { precision: Some(Precision::F32), ..OpenOptions::default() };
    Ok((Classifier::of(&artefact, &weights, &options)?, about.to_string()))
}

/// Forgets a model; a handle that is not open is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn taper_close(model: usize) {
    MODELS.with_borrow_mut(|models| {
        if let Some(slot) = model.checked_sub(1).and_then(|at| models.get_mut(at)) {
            *slot = None;
        }
    });
}

/// Classifies a picture, the content of a file in any format that Taper reads, and takes over its
/// memory. Returns 1, with a JSON object as the answer, or 0 with the reason, or 2 with the reason
/// if the format is not one of them:
/// `{"label": …, "probability": …, "probabilities": [[label, probability], …]}`. Probabilities are
/// calibrated if the model has a temperature; `unfamiliar` (true or false) and `distance` come with
/// it if the model knows its training pictures.
///
/// # Safety
/// `bytes` comes from `taper_allocate(length)` and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_classify(model: usize, bytes: *mut u8, length: usize) -> u32 {
    // SAFETY: what the caller promises.
    let bytes = unsafe { take(bytes, length) };
    classify(model, |classifier| classifier.predict(Input::Bytes(&bytes)))
}

/// As [`taper_classify`]; the answer has a `map` too: where in the picture the network saw what
/// speaks for the class ([`taper_model::ActivationMap`]).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_explain(model: usize, bytes: *mut u8, length: usize) -> u32 {
    // SAFETY: what the caller promises.
    let bytes = unsafe { take(bytes, length) };
    classify(model, |classifier| classifier.explain(Input::Bytes(&bytes), None))
}

/// The same for decoded pixels: u8 RGBA, not multiplied by alpha, rows from the top. Returns 1 or
/// 0.
///
/// # Safety
/// `bytes` comes from `taper_allocate(length)` and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_classify_pixels(
    model: usize,
    bytes: *mut u8,
    length: usize,
    width: u32,
    height: u32,
) -> u32 {
    // SAFETY: what the caller promises.
    let bytes = unsafe { take(bytes, length) };
    let Some(pixels) = pixels(bytes, width, height) else { return FAILED };
    classify(model, |classifier| classifier.predict(Input::Pixels(&pixels)))
}

/// As [`taper_classify_pixels`], with a `map` as by [`taper_explain`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn taper_explain_pixels(
    model: usize,
    bytes: *mut u8,
    length: usize,
    width: u32,
    height: u32,
) -> u32 {
    // SAFETY: what the caller promises.
    let bytes = unsafe { take(bytes, length) };
    let Some(pixels) = pixels(bytes, width, height) else { return FAILED };
    classify(model, |classifier| classifier.explain(Input::Pixels(&pixels), None))
}

/// A picture of RGBA pixels; if there are none, the answer says why.
fn pixels(bytes: Vec<u8>, width: u32, height: u32) -> Option<RgbImage> {
    let length = bytes.len();
    let fits = (u64::from(width) * u64::from(height)).checked_mul(4) == Some(length as u64);
    let pixels = RgbaImage::from_raw(width, height, bytes).filter(|_| fits && length > 0);
    if pixels.is_none() {
        answer(format!("{length} bytes are not {width} × {height} RGBA pixels"));
    }
    pixels.map(|pixels| over_white(&pixels))
}

fn classify<T: Serialize>(
    model: usize,
    predict: impl FnOnce(&Classifier) -> taper_model::Result<T>,
) -> u32 {
    MODELS.with_borrow(|models| {
        let Some(classifier) = model.checked_sub(1).and_then(|at| models.get(at)?.as_ref()) else {
            answer(format!("no open model has the handle {model}"));
            return FAILED;
        };
        let prediction = match predict(classifier) {
            Ok(prediction) => prediction,
            Err(error) => {
                answer(error.to_string());
                return if is_foreign(&error) { FOREIGN } else { FAILED };
            }
        };
        match serde_json::to_vec(&prediction) {
            Ok(text) => {
                answer(text);
                DONE
            }
            Err(error) => {
                answer(error.to_string());
                FAILED
            }
        }
    })
}

fn is_foreign(error: &Error) -> bool {
    let Error::Bytes(defect) = error else { return false };
    matches!(defect.kind, DefectKind::NotAPicture | DefectKind::Unsupported)
}

/// The start of the last call's answer: UTF-8, valid until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn taper_answer() -> *const u8 {
    ANSWER.with_borrow(|answer| answer.as_ptr())
}

/// The length of the last call's answer in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn taper_answer_length() -> usize {
    ANSWER.with_borrow(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(content: &[u8]) -> (*mut u8, usize) {
        let bytes = taper_allocate(content.len());
        // SAFETY: the block is new and has this length.
        unsafe { bytes.copy_from_nonoverlapping(content.as_ptr(), content.len()) };
        (bytes, content.len())
    }

    fn said() -> String {
        // SAFETY: no other call came between the answer and this.
        let bytes = unsafe { std::slice::from_raw_parts(taper_answer(), taper_answer_length()) };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_cannot_be_used_is_answered_with_the_reason() {
        let (bytes, length) = give(b"not a model");
        // SAFETY: the block comes from `taper_allocate` and is given away.
        assert_eq!(unsafe { taper_open(bytes, length) }, 0);
        assert!(said().contains("model.safetensors"), "{}", said());
        let (bytes, length) = give(b"");
        // SAFETY: as above.
        assert_eq!(unsafe { taper_classify(1, bytes, length) }, FAILED);
        assert_eq!(said(), "no open model has the handle 1");
        let (bytes, length) = give(&[0; 12]);
        // SAFETY: as above.
        assert_eq!(unsafe { taper_classify_pixels(1, bytes, length, 2, 2) }, FAILED);
        assert_eq!(said(), "12 bytes are not 2 × 2 RGBA pixels");
        taper_close(0);
        taper_close(7);
    }
}
