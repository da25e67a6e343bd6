use image::RgbImage;
use taper_augment::Augmenter;
use taper_data::Augment;
use taper_picture::Preparer;

/// Views of pictures for the loader: augmented and resized for the network in one resampling.
#[derive(Debug)]
pub struct Views(pub Augmenter);

impl Augment for Views {
    fn augment_into(
        &self,
        picture: &RgbImage,
        view: u32,
        key: u64,
        preparer: &mut Preparer,
        out: &mut [u8],
    ) -> taper_data::Result<()> {
        let spec = *preparer.spec();
        self.0
            .render(picture, view, key, &spec, preparer.warper(), out)
            .map_err(|e| taper_data::Error::View(e.into()))
    }
}
