//! 16-bit floats: widened, and written where nothing is lost.

/// IEEE half precision to 32 bits, exactly; a NaN becomes a quiet one.
pub(crate) fn widen_f16(bits: u16) -> f32 {
    /// 2⁻¹⁴, the smallest normal number of 16 bits.
    const SMALLEST: u32 = 113 << 23;
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = bits & 0x7c00;
    let rest = u32::from(bits & 0x7fff) << 13;
    // All three are computed and one is selected, so that the compiler can vectorise it.
    let normal = rest + (112 << 23);
    let subnormal = (f32::from_bits(SMALLEST | rest) - f32::from_bits(SMALLEST)).to_bits();
    let quiet = u32::from(rest & 0x7f_ffff != 0) << 22;
    let special = 0x7f80_0000 | rest | quiet;
    f32::from_bits(
        sign | match exponent {
            0 => subnormal,
            0x7c00 => special,
            _ => normal,
        },
    )
}

/// bfloat16 to 32 bits, exactly.
pub(crate) fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The number in half precision, if it can be represented exactly.
pub(crate) fn exact_f16(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f_ffff;
    let short = |mantissa: u32| (mantissa & 0x1fff == 0).then_some((mantissa >> 13) as u16);
    match exponent {
        128 if mantissa == 0 || mantissa & 0x40_0000 != 0 => Some(sign | 0x7c00 | short(mantissa)?),
        -14..=15 => Some(sign | ((exponent + 15) as u16) << 10 | short(mantissa)?),
        -24..=-15 => {
            // In units of 2⁻²⁴.
            let (whole, shift) = (mantissa | 0x80_0000, (-1 - exponent) as u32);
            (whole.trailing_zeros() >= shift).then_some(sign | (whole >> shift) as u16)
        }
        -127 if mantissa == 0 => Some(sign),
        _ => None,
    }
}

/// The nearest number that half precision represents, ties to even; infinite if the number is too
/// large.
pub fn rounded_to_f16(value: f32) -> f32 {
    /// 2²⁴: the inverse of the smallest number above zero.
    const FINEST: f32 = 16_777_216.0;
    let bits = value.to_bits();
    match (bits >> 23 & 0xff) as i32 - 127 {
        128 => value,
        // Below 2⁻¹⁴ all steps are equal.
        ..=-15 => (value * FINEST).round_ties_even() / FINEST,
        _ => {
            let near = f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff);
            if near.abs() <= 65_504.0 { near } else { f32::INFINITY.copysign(value) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::half::{bf16, f16};

    #[test]
    fn every_number_of_16_bits_is_widened_as_the_crate_half_does_it_and_comes_back() {
        for bits in 0..=u16::MAX {
            let wide = widen_f16(bits);
            assert_eq!(wide.to_bits(), f16::from_bits(bits).to_f32().to_bits(), "{bits:04x}");
            let quiet = if wide.is_nan() { bits | 0x200 } else { bits };
            assert_eq!(exact_f16(wide), Some(quiet));
            let brain = bf16::from_bits(bits).to_f32();
            assert!(widen_bf16(bits) == brain || brain.is_nan() && widen_bf16(bits).is_nan());
        }
    }

    #[test]
    fn only_numbers_that_16_bits_hold_are_shortened() {
        let mut state = 1u32;
        for step in 0..200_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Also numbers with few bits, near every limit.
            let value = f32::from_bits(if step % 2 == 0 { state } else { state & 0xffff_e000 });
            let near = f16::from_f32(value);
            let same = near.to_f32().to_bits() == value.to_bits();
            assert_eq!(exact_f16(value), same.then_some(near.to_bits()), "{value:e}");
            let ours = rounded_to_f16(value);
            assert!(ours.to_bits() == near.to_f32().to_bits() || value.is_nan(), "{value:e}");
        }
    }
}
