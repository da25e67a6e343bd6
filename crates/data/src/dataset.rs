use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use taper_core::{ClassNames, OutOfRange, Split, file::FIGURE_MARK, hex};

use crate::{CacheOptions, Error, Result, class_key, picture_cache::PictureCache};
use taper_picture::{DecodeOptions, Defect, DefectKind, Finding, Picture, decode, misnamed};

/// One labelled picture of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Stable name within the data set: the path relative to its root with forward slashes, e.g.
    /// `train/rock/a.jpg`.
    pub id: String,
    /// The split that the source assigns, if it does.
    pub split: Option<Split>,
    /// Index into the data set's class names.
    pub label: u32,
    /// The number by which the source knows this picture. Not its index in the data set.
    pub slot: usize,
    /// The group that it belongs to, such as the clip that it is a frame of: pictures of one group
    /// are never drawn into different splits.
    pub group: Option<Arc<str>>,
}

impl Sample {
    /// A sample, as listed by a source.
    pub fn new(id: impl Into<String>, split: Option<Split>, label: u32, slot: usize) -> Self {
        Self { id: id.into(), split, label, slot, group: None }
    }

    /// The number that keys this sample's random streams: FNV-1a of its id, 64 bits. It depends on
    /// nothing but the id, so that a picture's augmentation and split stay the same when other
    /// pictures are added or removed.
    pub fn key(&self) -> u64 {
        hash_of(&self.id)
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn hash_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What a source returns for a sample.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Content {
    /// An encoded picture in one of [`taper_picture::FORMATS`].
    Encoded(Vec<u8>),
    /// Pixels, u8 RGB, rows from the top.
    Pixels(RgbImage),
}

/// Where the pictures of a [`Dataset`] come from: a folder, a renderer, an archive, a table.
///
/// A source lists its samples once, when it is opened; afterwards it only returns their content, to
/// several threads at a time and in any order.
pub trait PictureSource: Send + Sync + fmt::Debug {
    /// The content of a sample. Sources do not decode: the data set does, the same way for all of
    /// them.
    ///
    /// `limit` is the largest useful number of encoded bytes; a source should not read more than
    /// that.
    ///
    /// # Errors
    /// A [`Defect`] if the content is not available.
    fn fetch(&self, sample: &Sample, limit: u64) -> std::result::Result<Content, Defect>;

    /// The source's location, for messages: a path or a name.
    fn place(&self) -> String;

    /// What determines the content besides the samples' ids, such as the seed and size of a
    /// renderer; part of [`Dataset::fingerprint`]. Not the location, so that a folder may be moved.
    /// Empty by default.
    fn identity(&self) -> String {
        String::new()
    }

    /// 32 bytes that stand for a sample's content, if the source has them without reading it: from
    /// a renderer's parameters or an archive's digests. None by default; the content itself is then
    /// hashed.
    fn digest(&self, sample: &Sample) -> Option<[u8; 32]> {
        let _ = sample;
        None
    }

    /// The file that holds a sample, if it is a file of its own: absolute, or relative to the
    /// working directory. None by default, as in archives, tables and renderers.
    fn file(&self, sample: &Sample) -> Option<PathBuf> {
        let _ = sample;
        None
    }

    /// The size of a sample's content in bytes if it is known without reading it.
    fn bytes(&self, sample: &Sample) -> Option<u64> {
        let _ = sample;
        None
    }
}

/// Files in a data set's folders that are not pictures. They do no harm, and are counted so that
/// nothing disappears silently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored {
    /// How many files and hidden folders were ignored.
    pub count: usize,
    /// The first few of them, relative to the root.
    pub examples: Vec<String>,
}

/// A set of labelled pictures, whatever their source.
///
/// Samples are in canonical order: by the bytes of their ids. A sample's index never changes while
/// a data set lives; pictures that turn out to be unreadable are [excluded](Dataset::exclude), not
/// removed.
#[derive(Debug, Clone)]
pub struct Dataset {
    classes: ClassNames,
    samples: Vec<Sample>,
    source: Arc<dyn PictureSource>,
    decode: DecodeOptions,
    findings: Vec<Finding>,
    excluded: BTreeSet<usize>,
    remarks: Vec<String>,
    ignored: Ignored,
    cache: Option<Arc<PictureCache>>,
    group_column: Option<String>,
    /// The digest of each sample's content, as far as it is known: no picture is read twice for it.
    digests: Arc<[OnceLock<[u8; 32]>]>,
}

/// Whether these are the bytes of a figure of Taper's, which says so at its beginning.
fn is_figure(content: &Content) -> bool {
    let Content::Encoded(bytes) = content else { return false };
    let head = &bytes[..bytes.len().min(256)];
    head.windows(FIGURE_MARK.len()).any(|bytes| bytes == FIGURE_MARK)
}

impl Dataset {
    /// Builds a data set from a source's list.
    ///
    /// Samples are brought into canonical order.
    ///
    /// # Errors
    /// [`Error::NoPictures`] without samples, [`Error::Setting`] if a label is out of range or an
    /// id occurs twice.
    pub fn new(
        classes: ClassNames,
        mut samples: Vec<Sample>,
        source: Arc<dyn PictureSource>,
    ) -> Result<Self> {
        if samples.is_empty() {
            return Err(Error::NoPictures { path: source.place().into() });
        }
        samples.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(a.slot.cmp(&b.slot)));
        if let Some(sample) = samples.iter().find(|s| s.label as usize >= classes.len()) {
            return Err(OutOfRange::new(
                "label",
                format!("{} for '{}'", sample.label, sample.id),
                "labels are indices into the class names",
            )
            .into());
        }
        if let Some(pair) = samples.windows(2).find(|p| p[0].id == p[1].id) {
            return Err(OutOfRange::new(
                "id",
                format!("'{}', twice", pair[0].id),
                "every picture needs its own id",
            )
            .into());
        }
        let digests = samples.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            digests,
            group_column: None,
            classes,
            samples,
            source,
            decode: DecodeOptions::default(),
            findings: Vec::new(),
            excluded: BTreeSet::new(),
            remarks: Vec::new(),
            ignored: Ignored::default(),
            cache: None,
        })
    }

    /// The same data set with other limits for decoding.
    #[must_use]
    pub fn with_decode_options(mut self, options: DecodeOptions) -> Self {
        self.decode = options;
        // Pictures decoded under other limits do not count.
        self.cache = None;
        self
    }

    /// The same data set, but decoded pictures are kept for the next time they are
    /// [read](Dataset::read), as TensorFlow's `cache()` does: the first ones in memory, further
    /// ones in an unnamed temporary file, as many as the options allow. Clones share the kept
    /// pictures. Pictures that change on disk in the meantime keep their old content.
    ///
    /// Caching features is better still: where a frozen network sees the same views in every epoch,
    /// cache its features instead.
    ///
    /// # Errors
    /// [`Error::Io`] if the temporary file cannot be created.
    pub fn cache(mut self, options: CacheOptions) -> Result<Self> {
        self.cache = Some(Arc::new(PictureCache::new(options)?));
        Ok(self)
    }

    /// The same data set with what its source found besides the pictures: files that cannot be
    /// used, remarks about the whole, and files that are no pictures.
    #[must_use]
    pub fn with_index_report(
        mut self,
        findings: Vec<Finding>,
        remarks: Vec<String>,
        ignored: Ignored,
    ) -> Self {
        self.findings = findings;
        self.remarks = remarks;
        self.ignored = ignored;
        self
    }

    /// The same with one more remark about the whole.
    #[must_use]
    pub fn with_remark(mut self, remark: String) -> Self {
        self.remarks.push(remark);
        self
    }

    /// The same with the name of the column that its samples' groups come from.
    #[must_use]
    pub fn with_group_column(mut self, column: String) -> Self {
        self.group_column = Some(column);
        self
    }

    /// The column that the samples' groups come from, if a table says them.
    pub fn group_column(&self) -> Option<&str> {
        self.group_column.as_deref()
    }

    /// The classes in label order.
    pub fn classes(&self) -> &ClassNames {
        &self.classes
    }

    /// All samples in canonical order, excluded ones too.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How many samples there are, excluded ones too.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// What and where the data set is, for messages.
    pub fn place(&self) -> String {
        self.source.place()
    }

    /// Pictures that cannot be used, or about which there is a remark: those found while indexing
    /// (formats that are not supported), and those passed to [`exclude`](Dataset::exclude).
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Pictures that cannot be used: [`findings`](Dataset::findings) without those that are used
    /// anyway.
    pub fn unreadable(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| !f.usable())
    }

    /// Remarks about the data set as a whole, one sentence each: a class that a split lacks, a
    /// folder that was left out.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// What was ignored while indexing because it is not a picture.
    pub fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    /// Records pictures that failed to decode (from [`Batch::failed`](crate::Batch::failed) or
    /// [`verify`](Dataset::verify)) and of remarks about others. Samples that cannot be used are
    /// left out of all later [`splits`](Dataset::splits) and [`indices`](Dataset::indices).
    /// Reporting one twice does no harm.
    pub fn exclude(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if let Some(sample) = finding.sample.filter(|_| !finding.usable()) {
                self.excluded.insert(sample);
            }
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self.findings.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Whether a sample has been excluded.
    pub fn is_excluded(&self, index: usize) -> bool {
        self.excluded.contains(&index)
    }

    /// The indices of all samples that are not excluded, in canonical order; with a split, of those
    /// that the source assigns to it.
    pub fn indices(&self, split: Option<Split>) -> Vec<usize> {
        (0..self.len())
            .filter(|i| !self.is_excluded(*i))
            .filter(|i| split.is_none() || self.samples[*i].split == split)
            .collect()
    }

    /// How many samples of each class there are among `indices`, in label order.
    pub fn counts(&self, indices: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for index in indices {
            if let Some(sample) = self.samples.get(*index) {
                counts[sample.label as usize] += 1;
            }
        }
        counts
    }

    /// The same samples, grouped by their ids: the group is what the expression's first pair of
    /// parentheses matches, or the whole match if it has none. Each id that it does not match is a
    /// group of its own.
    ///
    /// # Errors
    /// [`Error::GroupBy`] if the expression is invalid or matches no id at all.
    pub fn group_by(mut self, expression: &str) -> Result<Self> {
        let fail = |problem: String| Error::GroupBy { expression: expression.into(), problem };
        let regex = regex::Regex::new(expression).map_err(|e| fail(e.to_string()))?;
        self.group_column = None;
        let mut names: std::collections::HashMap<String, Arc<str>> = Default::default();
        for sample in &mut self.samples {
            let found = regex.captures(&sample.id).and_then(|c| c.get(1).or_else(|| c.get(0)));
            sample.group = found.map(|found| {
                let name = found.as_str().to_owned();
                Arc::clone(names.entry(name).or_insert_with_key(|name| name.as_str().into()))
            });
        }
        if names.is_empty() {
            let example = self.samples.first().map_or("", |s| s.id.as_str());
            return Err(fail(format!("it matches no picture; ids are like '{example}'")));
        }
        let alone = self.samples.iter().filter(|sample| sample.group.is_none()).count();
        if names.len() + alone == self.samples.len() && self.samples.len() > 1 {
            let example = &self.samples[0].id;
            return Err(fail(format!(
                "it makes every picture a group of its own, so that it keeps none together; ids are like '{example}'"
            )));
        }
        if alone > 0 {
            self.remarks.push(format!(
                "{alone} of {} pictures do not match `group_by` '{expression}': each of them is a group of its own",
                self.samples.len()
            ));
        }
        Ok(self)
    }

    /// The same samples under another list of classes, matched by name, or else by
    /// [key](crate::class_key()): the way to evaluate a model on a data set that lacks some of its
    /// classes or was indexed on its own.
    ///
    /// # Errors
    /// [`Error::UnknownClass`] if `classes` lacks one of this data set's.
    pub fn with_classes(mut self, classes: &ClassNames) -> Result<Self> {
        let labels = self
            .classes
            .iter()
            .map(|name| {
                classes.label(name).or_else(|| by_key(classes, name)).ok_or_else(|| {
                    Error::UnknownClass {
                        place: self.place(),
                        class: name.into(),
                        known: classes.iter().collect::<Vec<_>>().join(", "),
                    }
                })
            })
            .collect::<Result<Vec<u32>>>()?;
        let other = self.classes.iter().zip(&labels).find_map(|(name, label)| {
            let theirs = classes.name(*label)?;
            (theirs != name).then(|| (name.escape_debug().to_string(), theirs.escape_debug()))
        });
        if let Some((own, theirs)) = other {
            self.remarks.push(format!(
                "classes in another spelling count as those of the model, such as '{own}' as '{theirs}'"
            ));
        }
        for sample in &mut self.samples {
            sample.label = labels[sample.label as usize];
        }
        self.classes = classes.clone();
        Ok(self)
    }

    /// The undecoded content of a sample.
    ///
    /// # Errors
    /// A [`Finding`] if it is not available, or a figure that Taper drew.
    pub fn fetch(&self, index: usize) -> std::result::Result<Content, Finding> {
        let sample = self.sample(index)?;
        let content = self.source.fetch(sample, self.decode.max_bytes);
        let content = content.and_then(|content| match is_figure(&content) {
            // Looked for here, where the content is at hand, and not when files are listed.
            true => Err(Defect::new(
                DefectKind::NotAPicture,
                "is a figure that Taper drew, not a picture to learn from: take it out of the folder",
            )),
            false => Ok(content),
        });
        content.map_err(|defect| defect.at(Some(index), sample.id.clone()))
    }

    /// Reads and decodes a sample: u8 RGB, upright, at its own size.
    ///
    /// A panic of a decoder is caught and reported as a corrupt picture.
    ///
    /// # Errors
    /// A [`Finding`] that names the picture and the reason.
    pub fn read(&self, index: usize) -> std::result::Result<Picture, Finding> {
        if let Some(picture) = self.cache.as_ref().and_then(|cache| cache.get(index)) {
            return Ok(picture);
        }
        let content = self.fetch(index)?;
        let picture = self.decode(index, content)?;
        if let Some(cache) = &self.cache {
            cache.put(index, &picture);
        }
        Ok(picture)
    }

    /// Decodes what [`fetch`](Dataset::fetch) gave for a sample: for callers that need the encoded
    /// bytes as well.
    ///
    /// # Errors
    /// As [`read`](Dataset::read).
    pub fn decode(&self, index: usize, content: Content) -> std::result::Result<Picture, Finding> {
        let sample = self.sample(index)?;
        match content {
            Content::Pixels(pixels) => Ok(Picture::rendered(pixels)),
            Content::Encoded(bytes) => {
                catch_unwind(AssertUnwindSafe(|| decode(&bytes, &self.decode)))
                    .unwrap_or_else(|_| Err(Defect::new(DefectKind::Corrupt, "the decoder failed")))
                    .map_err(|defect| defect.at(Some(index), sample.id.clone()))
            }
        }
    }

    /// The size of a sample's content in bytes if it is known without reading it.
    pub fn bytes(&self, index: usize) -> Option<u64> {
        self.source.bytes(self.samples.get(index)?)
    }

    /// The file that holds a sample, if it is a file of its own.
    pub fn file(&self, index: usize) -> Option<PathBuf> {
        self.source.file(self.samples.get(index)?)
    }

    /// The remark about a decoded picture whose name does not match the format of its content.
    pub fn misnamed(&self, index: usize, picture: &Picture) -> Option<Finding> {
        let id = &self.samples.get(index)?.id;
        misnamed(Path::new(id), picture.format?).map(|defect| defect.at(Some(index), id.clone()))
    }

    fn sample(&self, index: usize) -> std::result::Result<&Sample, Finding> {
        self.samples.get(index).ok_or_else(|| {
            Defect::new(DefectKind::Io, format!("there is no picture number {index}"))
                .at(None, self.place())
        })
    }

    /// Decodes every picture once, in parallel, and reports those that cannot be used or need a
    /// remark, in canonical order.
    ///
    /// Not needed before a pass that decodes everything anyway: the [`Loader`](crate::Loader)
    /// reports the same.
    pub fn verify(&self) -> Vec<Finding> {
        (0..self.len())
            .into_par_iter()
            .filter_map(|index| match self.read(index) {
                Ok(picture) => self.misnamed(index, &picture),
                Err(finding) => Some(finding),
            })
            .collect()
    }

    /// Refuses a data set about which there are findings: strict mode.
    ///
    /// # Errors
    /// [`Error::Refused`] with all findings so far.
    pub fn refuse_findings(&self) -> Result<()> {
        match self.findings.as_slice() {
            [] => Ok(()),
            findings => Err(Error::Refused { place: self.place(), findings: findings.to_vec() }),
        }
    }

    /// The digest of a picture's content, e.g. for the keys of cached features: its source's own
    /// digest, or the SHA-256 of the content, which is read for this the first time.
    ///
    /// # Errors
    /// As [`Dataset::fetch`].
    pub fn picture_digest(&self, index: usize) -> std::result::Result<[u8; 32], Finding> {
        match self.known_digest(index) {
            Some(digest) => Ok(digest),
            None => Ok(self.remember(index, content_sha256(&self.fetch(index)?))),
        }
    }

    /// The same, if it is known without reading the picture.
    pub fn known_digest(&self, index: usize) -> Option<[u8; 32]> {
        let own = self.digests.get(index)?;
        let of_source = || self.source.digest(self.samples.get(index)?);
        own.get().copied().or_else(of_source)
    }

    fn remember(&self, index: usize, digest: [u8; 32]) -> [u8; 32] {
        self.digests.get(index).map_or(digest, |own| *own.get_or_init(|| digest))
    }

    /// Reads and decodes a sample unless `known`, given the digest of its content, says that it is
    /// not needed: the content is read once for both.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn read_unless(
        &self,
        index: usize,
        known: impl FnOnce(&[u8; 32]) -> bool,
    ) -> std::result::Result<Option<Picture>, Finding> {
        if let Some(digest) = self.known_digest(index) {
            return if known(&digest) { Ok(None) } else { self.read(index).map(Some) };
        }
        let content = self.fetch(index)?;
        let digest = self.remember(index, content_sha256(&content));
        // Features that are known may be those of a picture beyond stricter limits.
        let strict = self.decode.max_pixels < DecodeOptions::default().max_pixels;
        let picture = if strict { Some(self.decode(index, content.clone())?) } else { None };
        if known(&digest) {
            return Ok(None);
        }
        let picture = picture.map_or_else(|| self.decode(index, content), Ok)?;
        if let Some(cache) = &self.cache {
            cache.put(index, &picture);
        }
        Ok(Some(picture))
    }

    /// A cheap fingerprint: SHA-256, in hexadecimal, of the source's identity, the class names and
    /// every sample's id, split, label and size in bytes, in canonical order. It notices pictures
    /// that are added, removed, moved or changed in size, but not bytes changed in place: see
    /// [`content_digest`](Dataset::content_digest).
    pub fn fingerprint(&self) -> String {
        self.digest(|sample| self.source.bytes(sample).map(|n| n.to_le_bytes().to_vec()))
    }

    /// Like [`fingerprint`](Dataset::fingerprint), but over the SHA-256 of every picture's content
    /// instead of its size: it reads all of them. Content that cannot be read counts as absent.
    pub fn content_digest(&self) -> String {
        let contents: Vec<Option<Vec<u8>>> = (0..self.len())
            .into_par_iter()
            .map(|index| self.fetch(index).ok().map(|content| content_sha256(&content).to_vec()))
            .collect();
        let mut contents = contents.into_iter();
        self.digest(|_| contents.next().flatten())
    }

    fn digest(&self, mut of: impl FnMut(&Sample) -> Option<Vec<u8>>) -> String {
        // Every field is preceded by its length, so that no two lists concatenate to the same
        // bytes.
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(b"taper-data 1");
        field(self.source.identity().as_bytes());
        field(&(self.classes.len() as u64).to_le_bytes());
        for name in self.classes.iter() {
            field(name.as_bytes());
        }
        for sample in &self.samples {
            field(sample.id.as_bytes());
            field(sample.split.map_or("", Split::name).as_bytes());
            field(&sample.label.to_le_bytes());
            field(&of(sample).unwrap_or_default());
        }
        hex(&hash.finalize())
    }
}

/// The label of the only class with the same key.
fn by_key(classes: &ClassNames, name: &str) -> Option<u32> {
    let key = class_key(name);
    let mut found = (0..).zip(classes.iter()).filter(|(_, own)| class_key(own) == key);
    let label = found.next()?.0;
    found.next().is_none().then_some(label)
}

/// SHA-256 of a picture's content: of its encoded bytes, or of width, height (u32, little endian)
/// and pixels.
pub fn content_sha256(content: &Content) -> [u8; 32] {
    let mut hash = Sha256::new();
    match content {
        Content::Encoded(bytes) => hash.update(bytes),
        Content::Pixels(pixels) => {
            hash.update(pixels.width().to_le_bytes());
            hash.update(pixels.height().to_le_bytes());
            hash.update(pixels.as_raw());
        }
    }
    hash.finalize().into()
}
