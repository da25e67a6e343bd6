//! Decoded pictures, kept for the next time: in memory, then on disk, both bounded.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    sync::Mutex,
};

use image::RgbImage;

use crate::{Error, Result, window::Window};
use taper_picture::Picture;

/// How much of its decoded pictures a data set keeps: see
/// [`Dataset::cache`](crate::Dataset::cache).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of pixels in memory. Default 512 MiB.
    pub memory: u64,
    /// Bytes of pixels in a temporary file, for those that memory has no room for. Default 0: none.
    pub disk: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory: 512 << 20, disk: 0 }
    }
}

/// The first pictures stay: epochs read pictures in turn, so evicting the oldest would evict
/// exactly the one needed next.
#[derive(Debug)]
pub(crate) struct PictureCache {
    options: CacheOptions,
    /// For reading; it no longer has a name.
    window: Option<Window>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    memory: u64,
    disk: u64,
    writer: Option<File>,
    kept: HashMap<usize, Kept>,
}

#[derive(Debug)]
enum Kept {
    Memory(Picture),
    /// The picture without its pixels, and their position and size.
    Disk(Picture, u64, (u32, u32)),
}

impl PictureCache {
    pub(crate) fn new(options: CacheOptions) -> Result<Self> {
        let (mut window, mut writer) = (None, None);
        if options.disk > 0 {
            let fail = |source| Error::Io { path: std::env::temp_dir(), source };
            let file = tempfile::tempfile().map_err(fail)?;
            writer = Some(file.try_clone().map_err(fail)?);
            window = Some(Window::new(file).map_err(fail)?);
        }
        let inner = Mutex::new(Inner { writer, ..Inner::default() });
        Ok(Self { options, window, inner })
    }

    pub(crate) fn get(&self, index: usize) -> Option<Picture> {
        let (picture, at, (width, height)) = {
            let inner = self.inner.lock().ok()?;
            match inner.kept.get(&index)? {
                Kept::Memory(picture) => return Some(picture.clone()),
                Kept::Disk(picture, at, size) => (picture.clone(), *at, *size),
            }
        };
        let mut window = self.window.clone()?;
        let mut pixels = vec![0; width as usize * height as usize * 3];
        window.seek(SeekFrom::Start(at)).ok()?;
        // A failing disk only costs time: the picture is decoded again.
        window.read_exact(&mut pixels).ok()?;
        Some(picture.with_pixels(RgbImage::from_raw(width, height, pixels)?))
    }

    pub(crate) fn put(&self, index: usize, picture: &Picture) {
        let bytes = picture.pixels.as_raw().len() as u64;
        let Ok(mut inner) = self.inner.lock() else { return };
        if inner.kept.contains_key(&index) {
            return;
        }
        if inner.memory + bytes <= self.options.memory {
            inner.memory += bytes;
            inner.kept.insert(index, Kept::Memory(picture.clone()));
        } else if inner.disk + bytes <= self.options.disk
            && let Some(writer) = &mut inner.writer
        {
            if writer.write_all(picture.pixels.as_raw()).is_err() {
                // A full disk: what is there can still be read.
                inner.writer = None;
                return;
            }
            let at = inner.disk;
            inner.disk += bytes;
            let size = picture.pixels.dimensions();
            let rest = picture.with_pixels(RgbImage::default());
            inner.kept.insert(index, Kept::Disk(rest, at, size));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(n: u8) -> Picture {
        Picture::rendered(RgbImage::from_pixel(10 + u32::from(n), 10, image::Rgb([n; 3])))
    }

    #[test]
    fn pictures_are_kept_within_both_bounds() {
        // 300, 330, 360, … bytes: two in memory, two on disk, the others nowhere.
        let cache = PictureCache::new(CacheOptions { memory: 700, disk: 800 }).unwrap();
        for n in 0..6u8 {
            cache.put(usize::from(n), &picture(n));
            cache.put(usize::from(n), &picture(n));
        }
        for n in 0..4u8 {
            assert_eq!(cache.get(usize::from(n)).unwrap().pixels, picture(n).pixels, "{n}");
        }
        assert!(cache.get(4).is_none() && cache.get(5).is_none());
        let inner = cache.inner.lock().unwrap();
        assert_eq!((inner.memory, inner.disk), (630, 750));
    }
}
