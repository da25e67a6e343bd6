//! What lies at the boundary of a network for each picture: what its trained part starts from.

use std::{collections::HashSet, sync::Arc};

use half::f16;
use taper_core::{FrozenBackbone, Identity, OutOfRange, Preprocessing, hex};
use taper_data::{Dataset, Item, Loader, LoaderOptions};
use taper_graph::weights_identity;
use taper_plan::Output;
use taper_recipe::MapPrecision;
use taper_train::Rows;

use crate::{Error, NamedViews, Result, Session, extract, place::BackboneSpec, prepare::Prepared};

/// Pictures whose maps are computed at a time before they are rounded.
const PART: usize = 512;

/// How maps are made: the pictures' views, and the part of the network below the boundary.
pub(crate) struct MapMaker {
    dataset: Arc<Dataset>,
    views: Option<NamedViews>,
    preprocessing: Preprocessing,
    /// The part below the boundary; none if everything is trained: the maps are then the normalised
    /// pixels.
    prefix: Option<Box<dyn FrozenBackbone>>,
    precision: MapPrecision,
    /// Everything that determines the maps besides the pictures.
    identity: String,
}

impl MapMaker {
    pub(crate) fn new(prepared: &Prepared, session: &Session) -> Result<Self> {
        let checked = &prepared.checked;
        let (backbone, weights) = (checked.backbone(), prepared.weights.source.as_ref());
        let cut = checked.boundary().map_or(0, |boundary| boundary.cut);
        let below = backbone.up_to(cut);
        let spec = BackboneSpec {
            graph: &below,
            weights,
            preprocessing: *checked.preprocessing(),
            output: Output::Features,
            precision: prepared.precision,
            kernels: checked.recipe().kernels,
            identified: session.cache().is_some(),
        };
        let prefix = (cut > 0).then(|| prepared.place.backbone(&spec)).transpose()?;
        let precision = checked.recipe().fine_tune.as_ref().map(|own| own.cache_precision);
        let runs_on = prefix.as_ref().map(|prefix| prefix.runs_on()).unwrap_or_default();
        let identity = Identity::new("taper/maps", 1)
            .structure("graph", &below)
            .bytes("weights", &weights_identity(&below, weights))
            .structure("preprocessing", checked.preprocessing())
            .text("computed by", &runs_on)
            .structure("precision", &precision)
            .text("views", prepared.views.as_ref().map_or("", |views| &views.identity))
            .text("pictures", &prepared.dataset.fingerprint());
        Ok(Self {
            dataset: Arc::new(prepared.dataset.clone()),
            views: prepared.views.clone(),
            preprocessing: *checked.preprocessing(),
            prefix,
            precision: precision.unwrap_or_default(),
            identity: hex(&identity.finish()),
        })
    }

    /// Numbers per picture.
    pub(crate) fn width(&self) -> usize {
        self.prefix.as_ref().map_or(self.pixels(), |prefix| prefix.width())
    }

    /// Bytes of a prepared picture.
    fn pixels(&self) -> usize {
        3 * (self.preprocessing.size as usize).pow(2)
    }

    /// What is kept for each of so many pictures in this much memory, in bytes.
    pub(crate) fn keep(&self, pictures: usize, room: f64) -> Keep {
        let fits = |bytes: usize| (bytes * pictures) as f64 <= room;
        let of_value = match self.precision {
            MapPrecision::F32 => size_of::<f32>(),
            MapPrecision::F16 => size_of::<f16>(),
        };
        if self.prefix.is_some() && fits(self.width() * of_value) {
            Keep::Maps
        } else if fits(self.pixels()) {
            Keep::Pixels
        } else {
            Keep::Nothing
        }
    }

    /// The maps of pictures. Those that are not kept are made whenever they are read.
    pub(crate) fn maps(
        self: &Arc<Self>,
        items: Vec<Item>,
        keep: Keep,
        session: &Session,
    ) -> Result<Maps> {
        let samples = self.dataset.samples();
        let labels = items.iter().map(|item| samples[item.sample].label).collect();
        let mixing = self.views.as_ref().and_then(|views| views.mixing.as_deref());
        let mixed = mixing.map_or(Vec::new(), |mixing| {
            let usable: HashSet<usize> = items.iter().map(|item| item.sample).collect();
            let size = self.preprocessing.size;
            items.iter().map(|item| mixing.second(*item, size, &usable)).collect()
        });
        let kept = match (keep, &self.prefix) {
            (Keep::Maps, Some(prefix)) => self.computed(prefix.as_ref(), &items, session)?,
            (Keep::Pixels, _) => {
                let mut pixels = Vec::with_capacity(items.len() * self.pixels());
                session.progress().begin("pictures", items.len() as u64, "pictures");
                let loaded = self.load(items.clone(), session, |batch| {
                    pixels.extend_from_slice(batch);
                    Ok(())
                });
                session.progress().end();
                loaded?;
                Kept::Pixels(pixels)
            }
            _ => Kept::Nothing,
        };
        Ok(Maps { maker: Arc::clone(self), items, labels, mixed, kept })
    }

    fn computed(
        &self,
        prefix: &dyn FrozenBackbone,
        items: &[Item],
        session: &Session,
    ) -> Result<Kept> {
        // Large maps would push everything else out of the cache on disk.
        let bytes = (items.len() * prefix.width() * size_of::<f32>()) as u64;
        let fits = session.cache().is_some_and(|cache| bytes <= cache.limit() / 4);
        let session = if fits { session.clone() } else { session.uncached() };
        let views = self.views.clone();
        let make = |items: &[Item], session: &Session| {
            let items_of = items.to_vec();
            let made = extract(prefix, &self.dataset, items_of, views.clone(), false, session)?;
            if made.items != items { Err(self.changed()) } else { Ok(made.table.values) }
        };
        if self.precision == MapPrecision::F32 {
            return Ok(Kept::Maps(make(items, &session)?));
        }
        // In parts, so that the maps are never all there in f32.
        let mut half = Vec::with_capacity(items.len() * prefix.width());
        session.progress().begin("features", items.len() as u64, "pictures");
        for part in items.chunks(PART) {
            let made = make(part, &session.part());
            half.extend(made?.into_iter().map(f16::from_f32));
        }
        session.progress().end();
        Ok(Kept::Half(half))
    }

    /// Loads pictures, a batch at a time.
    fn load(
        &self,
        items: Vec<Item>,
        session: &Session,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let wanted = items.len();
        let options = LoaderOptions { batch_size: 32, ..LoaderOptions::default() };
        let augment = self.views.as_ref().map(NamedViews::augment);
        let dataset = Arc::clone(&self.dataset);
        let loader = Loader::new(dataset, self.preprocessing, items, augment, options)?;
        let mut loaded = 0;
        for batch in loader {
            if session.interrupted() {
                return Err(Error::Interrupted);
            }
            let batch = batch?;
            loaded += batch.len();
            take(&batch.pixels)?;
            session.progress().advance(batch.len() as u64);
        }
        // They were all there when the features were computed.
        if loaded == wanted { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Error {
        let remedy = "pictures changed during training: leave them as they are";
        OutOfRange::new("data", self.dataset.place(), remedy).into()
    }

    /// From prepared pictures to their maps.
    fn map(&self, pixels: &[u8], out: &mut [f32]) -> Result<()> {
        match &self.prefix {
            Some(prefix) => {
                let (own, width) = (self.pixels(), prefix.width());
                let most = prefix.batch().max(1);
                for (pixels, out) in pixels.chunks(most * own).zip(out.chunks_mut(most * width)) {
                    out.copy_from_slice(&prefix.forward(pixels, pixels.len() / own)?);
                }
                if self.precision == MapPrecision::F16 {
                    out.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
                }
            }
            None => normalise(&self.preprocessing, pixels, out),
        }
        Ok(())
    }
}

/// From pixels to the network's input: (x / 255 − mean) / deviation, channel by channel.
fn normalise(preprocessing: &Preprocessing, pixels: &[u8], out: &mut [f32]) {
    let table: Vec<[f32; 256]> = (0..3)
        .map(|channel| {
            let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        })
        .collect();
    for (out, pixel) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
        for channel in 0..3 {
            out[channel] = table[channel][usize::from(pixel[channel])];
        }
    }
}

/// What is kept in memory for each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Its map.
    Maps,
    /// The prepared picture.
    Pixels,
    /// Nothing: it is read and decoded every time.
    Nothing,
}

enum Kept {
    Maps(Vec<f32>),
    Half(Vec<f16>),
    Pixels(Vec<u8>),
    Nothing,
}

/// The maps of pictures, kept or made when they are read: the same numbers either way.
pub(crate) struct Maps {
    maker: Arc<MapMaker>,
    items: Vec<Item>,
    labels: Vec<u32>,
    mixed: Vec<(u32, f32)>,
    kept: Kept,
}

impl Rows for Maps {
    fn width(&self) -> usize {
        self.maker.width()
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn mixed(&self) -> &[(u32, f32)] {
        &self.mixed
    }

    fn read(&self, rows: &[u32], out: &mut [f32]) -> taper_train::Result<()> {
        let width = self.width();
        let outs = out.chunks_exact_mut(width).zip(rows);
        match &self.kept {
            Kept::Maps(maps) => {
                outs.for_each(|(out, row)| {
                    out.copy_from_slice(&maps[*row as usize * width..][..width]);
                });
                return Ok(());
            }
            Kept::Half(maps) => {
                for (out, row) in outs {
                    let map = &maps[*row as usize * width..][..width];
                    out.iter_mut().zip(map).for_each(|(out, value)| *out = value.to_f32());
                }
                return Ok(());
            }
            Kept::Pixels(_) | Kept::Nothing => {}
        }
        let size = self.maker.pixels();
        let mut pixels = Vec::with_capacity(rows.len() * size);
        if let Kept::Pixels(kept) = &self.kept {
            for row in rows {
                pixels.extend_from_slice(&kept[*row as usize * size..][..size]);
            }
        } else {
            let items = rows.iter().map(|row| self.items[*row as usize]).collect();
            let loaded = self.maker.load(items, &Session::quiet(), |batch| {
                pixels.extend_from_slice(batch);
                Ok(())
            });
            loaded.map_err(taper_train::Error::other)?;
        }
        self.maker.map(&pixels, out).map_err(taper_train::Error::other)
    }

    fn identify(&self, identity: Identity) -> Identity {
        let samples = self.maker.dataset.samples();
        let items: Vec<u8> = self
            .items
            .iter()
            .flat_map(|item| [samples[item.sample].key(), u64::from(item.view)])
            .flat_map(u64::to_le_bytes)
            .collect();
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        identity.text("maps", &self.maker.identity).bytes("items", &items).bytes("labels", &labels)
    }
}
