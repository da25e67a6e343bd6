/// Colours between which [`heat`] mixes, by share: red, green, blue and opacity.
const STOPS: [(f32, [f32; 4]); 4] = [
    (0.0, [70.0, 20.0, 130.0, 0.0]),
    (0.35, [150.0, 40.0, 140.0, 70.0]),
    (0.7, [240.0, 100.0, 60.0, 125.0]),
    (1.0, [255.0, 225.0, 80.0, 160.0]),
];

/// The colour of an [`ActivationMap`](crate::page::ActivationMap) where a share of the largest
/// activation, 0…1, was found: red, green, blue and opacity, 0…255 each, not premultiplied.
///
/// What the model ignored stays as it is, and the colours become lighter throughout, so that those
/// who cannot tell them apart see the order.
///
/// ```
/// use taper_report::page::heat;
/// assert_eq!(heat(0.0)[3], 0);
/// assert!(heat(0.5)[3] < heat(1.0)[3]);
/// ```
pub fn heat(share: f32) -> [u8; 4] {
    // Not a number is nothing.
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let after = STOPS.iter().position(|stop| share <= stop.0).unwrap_or(STOPS.len() - 1).max(1);
    let ((from, low), (to, high)) = (STOPS[after - 1], STOPS[after]);
    let way = (share - from) / (to - from);
    std::array::from_fn(|i| (low[i] + (high[i] - low[i]) * way).round() as u8)
}
