use serde::{Deserialize, Serialize};

/// What is done to which pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// Pictures of 300 × 300: to 256², bilinear, mirrored at random.
    Jpeg300,
    /// Photographs of about 500 × 400: the same.
    Photo500,
    /// Pictures of 300 × 300: random-resized crop to 256², mirrored at random, rotated by up to
    /// 15°, colours jittered.
    Augment300,
}

impl Case {
    pub(crate) const ALL: [Case; 3] = [Case::Jpeg300, Case::Photo500, Case::Augment300];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Case::Jpeg300 => "jpeg-300",
            Case::Photo500 => "photo-500",
            Case::Augment300 => "augment-300",
        }
    }

    /// tf.data has no rotation of its own.
    pub(crate) fn peers(self) -> &'static [&'static str] {
        match self {
            Case::Jpeg300 | Case::Photo500 => &["tf.data", "torchvision"],
            Case::Augment300 => &["torchvision"],
        }
    }

    /// The pictures that can be made for it.
    pub(crate) fn made(self) -> &'static str {
        match self {
            Case::Jpeg300 | Case::Augment300 => "pictures-300",
            Case::Photo500 => "photos-500",
        }
    }
}
