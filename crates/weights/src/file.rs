//! Files of named tensors, in the formats that weights come in.

#[cfg(feature = "digest")]
use std::sync::OnceLock;
use std::{borrow::Cow, collections::BTreeMap, fmt, fs::File, path::Path};

#[cfg(not(target_family = "wasm"))]
use memmap2::Mmap;
use taper_graph::{Graph, WeightSource, check_weights};

use crate::{
    Error, Result,
    contents::{Contents, ElementType, Tensor, ZIP_MAGIC},
    half::{widen_bf16, widen_f16},
    safetensors, shards,
};

/// Named tensors of a file, read in place: safetensors in one file or in several with an index
/// (`model.safetensors.index.json`), or a torch checkpoint (`.pth`, `.pt`, `.bin`), whose code is
/// never executed.
///
/// A file on disk is mapped into memory: nothing is copied on opening, and a tensor's pages are
/// read when it is requested. 32-bit tensors are borrowed from the mapping; 16-bit ones are widened
/// on demand. Values are in row-major order. The whole header is checked on opening; a damaged or
/// hostile file is an error, never a crash.
///
/// ```
/// use taper_graph::WeightSource;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A file with one tensor "scale" of shape [2].
/// let header = r#"{"scale":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
/// bytes.extend(header.as_bytes());
/// bytes.extend([1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("tiny.safetensors");
/// std::fs::write(&path, bytes)?;
///
/// let weights = taper_weights::WeightFile::open(&path)?;
/// assert_eq!(weights.shape("scale"), Some(&[2][..]));
/// assert_eq!(weights.values("scale").as_deref(), Some(&[1.5, -2.0][..]));
/// # Ok(())
/// # }
/// ```
///
/// The feature `torch` reads checkpoints, `digest` computes digests; both are on by default.
pub struct WeightFile {
    name: String,
    /// One, or the shards in the order of the index.
    files: Vec<Bytes>,
    contents: Contents,
    #[cfg(feature = "digest")]
    digest: OnceLock<String>,
}

enum Bytes {
    #[cfg(not(target_family = "wasm"))]
    Mapped(Mmap),
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            #[cfg(not(target_family = "wasm"))]
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
            Bytes::Static(bytes) => bytes,
        }
    }
}

impl WeightFile {
    /// Opens a file.
    ///
    /// The file must not change while it is open. Replacing it by a rename, as Taper always does,
    /// is fine.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be opened; [`Error::Format`] if it is something else (an HDF5
    /// file, a pointer file of Git LFS, …); [`Error::Damaged`] if it is truncated or its header is
    /// inconsistent; [`Error::Checkpoint`] if a torch checkpoint is damaged or refers to anything
    /// but tensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        if !name.ends_with(".index.json") {
            return Self::parse(name, map(path)?);
        }
        let index = shards::read(&name, map(path)?.get())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut all = Self::parse_shards(&index, folder)?;
        for (tensor, file) in &index.tensors {
            let found = all.contents.tensors.get(tensor).map(|t| t.file);
            if found != Some(*file) && !all.contents.other.contains_key(tensor) {
                let file = &index.files[*file];
                let problem = format!("tensor '{tensor}' is not in '{file}', where it should be");
                return Err(Error::Damaged { file: name, problem, source: None });
            }
        }
        all.name = name;
        Ok(all)
    }

    fn parse_shards(index: &shards::Index, folder: &Path) -> Result<Self> {
        let mut all = Self {
            name: String::new(),
            files: Vec::new(),
            contents: Contents::default(),
            #[cfg(feature = "digest")]
            digest: OnceLock::new(),
        };
        for (position, shard) in index.files.iter().enumerate() {
            let path = folder.join(shard);
            let one = Self::parse(path.display().to_string(), map(&path)?)?;
            for (name, tensor) in one.contents.tensors {
                // If two files contain a tensor, the index decides which one counts.
                if index.tensors.get(&name).is_none_or(|file| *file == position) {
                    all.contents.tensors.insert(name, Tensor { file: position, ..tensor });
                }
            }
            all.contents.other.extend(one.contents.other);
            all.contents.metadata.extend(one.contents.metadata);
            all.files.extend(one.files);
        }
        Ok(all)
    }

    /// Takes the content of a file of any format; `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::parse(name.to_owned(), Bytes::Owned(bytes))
    }

    /// Takes weights that are part of the program; `name` stands for them in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(name.to_owned(), Bytes::Static(bytes))
    }

    fn parse(name: String, bytes: Bytes) -> Result<Self> {
        let data = bytes.get();
        let torch = [ZIP_MAGIC, OLD_MAGIC].iter().any(|magic| data.starts_with(magic));
        let contents = if torch {
            checkpoint(&name, data)?
        } else if let Some((found, remedy)) = another_format(&name, data) {
            return Err(Error::Format { file: name, found, remedy });
        } else {
            safetensors::read(&name, data)?
        };
        Ok(Self {
            name,
            files: vec![bytes],
            contents,
            #[cfg(feature = "digest")]
            digest: OnceLock::new(),
        })
    }

    /// The path, or the name of embedded weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metadata in the file's header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents.metadata
    }

    /// How a tensor is stored, if it is there and can be read.
    pub fn element_type(&self, name: &str) -> Option<ElementType> {
        self.contents.tensors.get(name).map(|tensor| tensor.element)
    }

    /// The file's length in bytes; for shards, their total.
    pub fn size(&self) -> usize {
        self.files.iter().map(|file| file.get().len()).sum()
    }

    /// The SHA-256 of the whole file in lower-case hexadecimal; of several, that of their digests,
    /// one a line, in the order of their names. Computed once, on the first call.
    #[cfg(feature = "digest")]
    pub fn digest(&self) -> &str {
        use sha2::{Digest, Sha256};
        use taper_core::hex;

        self.digest.get_or_init(|| {
            let digests = self.files.iter().map(|file| hex(&Sha256::digest(file.get())));
            let digests: Vec<String> = digests.collect();
            match &digests[..] {
                [one] => one.clone(),
                several => hex(&Sha256::digest(several.join("\n"))),
            }
        })
    }

    /// The type of a tensor that cannot be read, e.g. `I64`.
    pub fn other_type(&self, name: &str) -> Option<&str> {
        self.contents.other.get(name).map(String::as_str)
    }

    /// Sets a digest that is already known, so that it need not be computed.
    #[cfg(feature = "digest")]
    #[must_use]
    pub fn with_digest(self, digest: &str) -> Self {
        Self { digest: OnceLock::from(digest.to_owned()), ..self }
    }

    /// Checks that everything the network needs is there, in its shape and in a type that can be
    /// read. Other tensors are ignored.
    ///
    /// # Errors
    /// [`Error::ElementType`] names the first tensor of an unreadable type; [`Error::Mismatch`]
    /// lists everything that is missing or of the wrong shape.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        for parameter in graph.parameters() {
            if let Some(found) = self.contents.other.get(&parameter.name) {
                return Err(Error::ElementType {
                    file: self.name.clone(),
                    found: found.clone(),
                    tensor: parameter.name,
                });
            }
        }
        check_weights(graph, self).map_err(|source| Error::Mismatch {
            file: self.name.clone(),
            model: graph.name().to_owned(),
            source: source.into(),
            remedy: format!("give weights of {}", graph.name()),
        })
    }
}

impl WeightSource for WeightFile {
    fn names(&self) -> Vec<&str> {
        self.contents.tensors.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.contents.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let tensor = self.contents.tensors.get(name)?;
        let bytes = self.files.get(tensor.file)?.get().get(tensor.range.clone())?;
        let values = match tensor.element {
            ElementType::F32 => singles(bytes),
            ElementType::F16 => Cow::Owned(widen(bytes, widen_f16)),
            ElementType::Bf16 => Cow::Owned(widen(bytes, widen_bf16)),
        };
        Some(match &tensor.strides {
            None => values,
            Some(strides) => Cow::Owned(in_row_major(&values, &tensor.shape, strides)),
        })
    }
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile")
            .field("name", &self.name)
            .field("size", &self.size())
            .field("tensors", &self.contents.tensors.len())
            .finish_non_exhaustive()
    }
}

/// The start of torch's old format: a pickle of its magic number.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
#[cfg(feature = "torch")]
use crate::checkpoint::read as checkpoint;

#[cfg(not(feature = "torch"))]
fn checkpoint(name: &str, _: &[u8]) -> Result<Contents> {
    Err(Error::Format {
        file: name.to_owned(),
        found: "a torch checkpoint, which this build cannot read",
        remedy: "save it as safetensors, or build with the feature 'torch' of taper-weights",
    })
}

/// Maps a file into memory.
fn map(path: &Path) -> Result<Bytes> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if metadata.is_dir() {
        return Err(Error::Format {
            file: path.display().to_string(),
            found: "a folder",
            remedy: "give the file model.safetensors in it",
        });
    }
    if metadata.len() == 0 {
        // An empty file cannot be mapped on every system.
        return Ok(Bytes::Static(&[]));
    }
    contents(file).map_err(read)
}

#[cfg(not(target_family = "wasm"))]
fn contents(file: File) -> std::io::Result<Bytes> {
    // SAFETY: the mapping is read-only and lives as long as the `WeightFile`. The one hazard is
    // another process that shortens or rewrites the file in place; the documentation of
    // `WeightFile::open` asks for a file that does not change, as every reader of memory-mapped
    // weights does. Bytes are only ever read as plain numbers or checked text.
    Ok(Bytes::Mapped(unsafe { Mmap::map(&file) }?))
}

#[cfg(target_family = "wasm")]
fn contents(mut file: File) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Bytes::Owned(bytes))
}

/// The values of a view with strides, in row-major order. The reader has checked that it stays
/// inside `values`.
fn in_row_major(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let value = |mut index: usize| {
        let mut at = 0;
        for (side, stride) in shape.iter().zip(strides).rev() {
            at += index % side * stride;
            index /= side;
        }
        values.get(at).copied().unwrap_or(f32::NAN)
    };
    (0..count).map(value).collect()
}

fn singles(bytes: &[u8]) -> Cow<'_, [f32]> {
    if cfg!(target_endian = "little")
        && let Ok(values) = bytemuck::try_cast_slice(bytes)
    {
        return Cow::Borrowed(values);
    }
    let (words, _) = bytes.as_chunks::<4>();
    Cow::Owned(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

fn widen(bytes: &[u8], one: impl Fn(u16) -> f32) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<2>();
    words.iter().map(|word| one(u16::from_le_bytes(*word))).collect()
}

/// What a file that is not a safetensors file seems to be, and what helps.
fn another_format(name: &str, bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.is_empty() {
        return Some(("an empty file", "fetch or export it again"));
    }
    // A safetensors file starts with the header's length, so its ninth byte is the header's first.
    if bytes.get(8) == Some(&b'{') {
        return None;
    }
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let of_weights = ["safetensors", "pt", "pth", "bin", "ckpt"];
    if bytes.len() <= 8 && extension.is_some_and(|own| !of_weights.contains(&own)) {
        return Some(("a file of a few bytes", "give the weights of a network"));
    }
    let starts: [(&[u8], &str, &str); 7] = [
        (
            b"\x80",
            "a Python pickle, which can run arbitrary code",
            "save model.state_dict() with torch.save or safetensors",
        ),
        (
            b"\x89HDF\r\n",
            "an HDF5 file, as written by Keras",
            "give the weights of timm or torchvision as safetensors",
        ),
        (
            b"version https://git-lfs",
            "a pointer file of Git LFS",
            "run 'git lfs pull' in its repository to get the weights themselves",
        ),
        (b"<", "a web page or XML", "the download went wrong; fetch it again"),
        (b"GGUF", "a GGUF file", "give the weights as safetensors"),
        (b"\xff\xd8\xff", "a picture", "give the weights of a network"),
        (b"\x89PNG", "a picture", "give the weights of a network"),
    ];
    starts
        .into_iter()
        .find(|(start, ..)| bytes.starts_with(start))
        .map(|(_, found, remedy)| (found, remedy))
}

#[cfg(test)]
mod tests {
    use ::half::{bf16, f16};
    use taper_networks as networks;

    use super::*;

    /// A safetensors file with this header and this many bytes 0, 1, 2, ….
    fn file(header: &str, bytes: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend((0..bytes).map(|b| b as u8));
        file
    }

    fn open(bytes: &[u8]) -> Result<WeightFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        std::fs::write(&path, bytes).unwrap();
        WeightFile::open(&path)
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = open(bytes).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    #[test]
    fn values_are_the_same_wherever_they_lie() {
        let numbers = [1.0f32, -0.5, 65504.0, 2.0f32.powi(-24)];
        for padding in 0..8 {
            let header = format!(
                r#"{{"a":{{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}},"b":{{"dtype":"F16","shape":[4],"data_offsets":[16,24]}},"c":{{"dtype":"BF16","shape":[1,4],"data_offsets":[24,32]}}}}{}"#,
                " ".repeat(padding)
            );
            let mut bytes = file(&header, 0);
            bytes.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
            bytes.extend(numbers.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
            bytes.extend(numbers.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
            let weights = open(&bytes).unwrap();
            assert_eq!(weights.names(), ["a", "b", "c"]);
            assert_eq!(weights.shape("a"), Some(&[2, 2][..]));
            assert_eq!(weights.values("a").as_deref(), Some(&numbers[..]));
            assert_eq!(weights.values("b").as_deref(), Some(&numbers[..]));
            assert_eq!(weights.values("c").as_deref(), Some(&[1.0, -0.5, 65536.0, numbers[3]][..]));
            assert_eq!(weights.values("d"), None);
            let aligned = header.len() % 4 == 0;
            assert_eq!(matches!(weights.values("a"), Some(Cow::Borrowed(_))), aligned);
        }
    }

    #[test]
    fn damaged_and_hostile_files_are_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let whole = file(header, 8);
        open(&whole).unwrap();
        for length in 0..whole.len() {
            let text = refusal(&whole[..length]);
            assert!(text.contains("w.safetensors"), "{text}");
        }
        assert!(
            refusal(&whole[..whole.len() - 1]).contains("promises 8 bytes of tensors, 7 are there")
        );
        assert!(refusal(&file(header, 9)).contains("has data after its end"));

        let entry = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let huge = u64::MAX.to_string();
        for hostile in [
            entry("F32", "[9223372036854775808]", "[0,8]"),
            entry("F32", "[4294967296,4294967296]", "[0,8]"),
            entry("F32", "[2]", "[0,7]"),
            entry("F32", "[2]", "[8,0]"),
            entry("F32", "[2]", "[4,12]"),
            entry("F32", "[2]", "[-1,8]"),
            entry("U8", &format!("[{huge}]"), &format!("[0,{huge}]")),
            entry("F99", "[2]", "[0,8]"),
            entry("F32", "[2]", "[0]"),
            // Two tensors in one place.
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.into(),
            // The same name twice.
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(),
            "{".repeat(100_000),
            "{}}".into(),
            "{\"a\":7}".into(),
            "{\u{0}".into(),
        ] {
            let text = refusal(&file(&hostile, 8));
            assert!(text.contains("are damaged"), "{hostile}: {text}");
        }
        let mut claims_all = u64::MAX.to_le_bytes().to_vec();
        claims_all.push(b'{');
        assert!(refusal(&claims_all).contains("claims 18446744073709551615 bytes"));
    }

    #[test]
    fn other_formats_are_told_by_name() {
        for (bytes, expected) in [
            #[cfg(feature = "torch")]
            (&b"PK\x03\x04archive/data.pkl"[..], "archive is damaged"),
            #[cfg(not(feature = "torch"))]
            (&b"PK\x03\x04archive/data.pkl"[..], "feature 'torch'"),
            (b"\x80\x02}q\x00", "Python pickle"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"<!DOCTYPE html>", "a web page"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"", "an empty file"),
        ] {
            let text = refusal(bytes);
            assert!(text.contains(expected) && text.contains("w.safetensors"), "{text}");
        }
        let error = WeightFile::open("/no/such/file").unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let error = WeightFile::open(env!("CARGO_MANIFEST_DIR")).unwrap_err().to_string();
        assert!(error.contains("is a folder"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_listed_and_foreign_numbers_are_named() {
        let header = r#"{"conv1.weight":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let weights = open(&file(header, 8)).unwrap();
        let text = weights.check(&networks::resnet50(10)).unwrap_err().to_string();
        assert!(text.contains("'conv1.weight'") && text.contains("I64 numbers"), "{text}");

        let header = r#"{"features.0.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let weights = open(&file(header, 8)).unwrap();
        let text = weights.check(&networks::vgg16(10)).unwrap_err().to_string();
        assert!(text.contains("vgg16") && text.contains("missing"), "{text}");
        assert!(text.contains("'features.0.weight' is [2], needed [64, 3, 3, 3]"), "{text}");
    }

    #[cfg(feature = "digest")]
    #[test]
    fn the_digest_is_that_of_the_whole_file() {
        let weights = WeightFile::from_static("abc", b"\x02\0\0\0\0\0\0\0{}").unwrap();
        // printf '\x02\0\0\0\0\0\0\0{}' | sha256sum
        assert_eq!(weights.digest(), DIGEST);
        assert!(weights.names().is_empty());
    }

    #[cfg(feature = "digest")]
    const DIGEST: &str = "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd";
}
