use serde::{Deserialize, Serialize};

/// What lies beyond the edges of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The picture mirrored at its edges, edge pixels repeated: d c b a | a b c d | d c b a.
    #[default]
    Reflect,
    /// The nearest edge pixel: a a a a | a b c d | d d d d.
    Nearest,
    /// One grey level, blended with the picture over the last half pixel, as torchvision's `fill`
    /// does.
    Constant(u8),
}

impl Fill {
    /// The index within 0…len − 1 that stands for `index`, if the picture has one. `len` is not 0.
    #[inline]
    pub(crate) fn fix(self, index: i32, len: i32) -> Option<usize> {
        let fixed = match self {
            Fill::Nearest => index.clamp(0, len - 1),
            // Nearly always at most one picture away, where no division is needed.
            Fill::Reflect if (0..len).contains(&index) => index,
            Fill::Reflect if (-len..0).contains(&index) => -1 - index,
            Fill::Reflect if (len..2 * len).contains(&index) => 2 * len - 1 - index,
            Fill::Reflect => {
                let turn = index.rem_euclid(2 * len);
                turn.min(2 * len - 1 - turn)
            }
            Fill::Constant(_) if !(0..len).contains(&index) => return None,
            Fill::Constant(_) => index,
        };
        Some(fixed as usize)
    }
}
