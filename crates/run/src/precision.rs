use std::time::Instant;

use taper_core::Precision;
use taper_zoo::resolve_part;

use crate::{
    CheckedRecipe, Error, PrecisionChoice, Result, Session,
    place::{BackboneSpec, Place},
};

/// By how much bf16 must be faster to be worth its 8 significant bits.
const WORTH: f64 = 1.1;

/// Rounds of a measurement, of which the fastest counts.
const ROUNDS: usize = 3;

/// The precision that the choice results in here. On the CPU, bf16 is measured against f32:
/// some processors multiply it at twice the rate of f32, others at the same rate or half of it,
/// and no list says which. Without instructions for bf16 `auto` is f32. Choosing bf16 without
/// any gain causes a warning.
///
/// # Errors
/// If the network cannot be built.
pub fn resolve_precision(
    choice: PrecisionChoice,
    place: &Place,
    spec: &BackboneSpec<'_>,
    session: &Session,
) -> Result<Precision> {
    let progress = session.progress();
    match choice {
        PrecisionChoice::Auto if !place.is_cpu() => Ok(Precision::Bf16),
        PrecisionChoice::Fixed(precision) if !place.is_cpu() || precision != Precision::Bf16 => {
            Ok(precision)
        }
        PrecisionChoice::Auto if spec.kernels.resolve().is_ok_and(|class| !class.has_bf16()) => {
            progress.say("precision auto: f32, since bf16 would be computed in f32 here");
            Ok(Precision::F32)
        }
        PrecisionChoice::Auto | PrecisionChoice::Fixed(_) => {
            let gain =
                seconds(place, spec, Precision::F32)? / seconds(place, spec, Precision::Bf16)?;
            if choice == PrecisionChoice::Auto {
                let chosen = if gain >= WORTH { Precision::Bf16 } else { Precision::F32 };
                progress.say(&format!(
                    "precision auto: bf16 is {gain:.2} times as fast as f32 here, so {chosen}"
                ));
                return Ok(chosen);
            }
            if gain < 1.0 {
                let why = match spec.kernels.resolve().is_ok_and(|class| !class.has_bf16()) {
                    true => "without instructions for it",
                    false => "on this processor",
                };
                progress.warn(&format!(
                    "bf16 is slower than f32 {why} ({gain:.2} times as fast): f32 is faster and exact"
                ));
            }
            Ok(Precision::Bf16)
        }
    }
}

/// The seconds that a recipe's frozen network takes for a picture where it would run, measured with
/// a few pictures that are already decoded.
///
/// # Errors
/// If the network cannot be built, or its weights are not there.
pub fn seconds_per_picture(checked: &CheckedRecipe) -> Result<f64> {
    let place = Place::open(checked.recipe().device)?;
    let weights = resolve_part(checked.model(), checked.weights(), checked.backbone())?;
    let spec = BackboneSpec::features(checked, weights.source.as_ref());
    Ok(seconds(&place, &spec, Precision::F32)? / rayon::current_num_threads() as f64)
}

/// The shortest time for a few pictures, in seconds.
fn seconds(place: &Place, spec: &BackboneSpec<'_>, precision: Precision) -> Result<f64> {
    let backbone = place.backbone(&BackboneSpec { precision, identified: false, ..*spec })?;
    let n = rayon::current_num_threads();
    let size = spec.preprocessing.size as usize;
    let pixels: Vec<u8> = (0..n * size * size * 3).map(|i| (i * 31 % 251) as u8).collect();
    let mut best = f64::INFINITY;
    // The first round warms up.
    for round in 0..=ROUNDS {
        let start = Instant::now();
        backbone.forward(&pixels, n).map_err(Error::from)?;
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use taper_plan::{Kernels, Output};

    use super::*;

    #[test]
    fn auto_measures_and_decides() {
        let model = taper_zoo::find("efficientnet-lite0").unwrap();
        let weights = taper_zoo::resolve(model, &taper_zoo::WeightsChoice::Pretrained).unwrap();
        let spec = BackboneSpec {
            graph: &model.graph(),
            weights: weights.source.as_ref(),
            preprocessing: taper_core::Preprocessing { size: 64, ..model.preprocessing },
            output: Output::Features,
            precision: Precision::F32,
            kernels: Kernels::Auto,
            identified: false,
        };
        let session = Session::quiet();
        let chosen =
            resolve_precision(PrecisionChoice::Auto, &Place::Cpu, &spec, &session).unwrap();
        assert!(chosen.is_for_cpu());
        let portable = BackboneSpec { kernels: Kernels::Portable, ..spec };
        let chosen =
            resolve_precision(PrecisionChoice::Auto, &Place::Cpu, &portable, &session).unwrap();
        assert_eq!(chosen, Precision::F32);
        let fixed = PrecisionChoice::Fixed(Precision::F32);
        assert_eq!(resolve_precision(fixed, &Place::Cpu, &spec, &session).unwrap(), Precision::F32);
    }
}
