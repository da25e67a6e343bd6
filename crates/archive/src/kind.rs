//! What the name of an archive says.

use std::path::Path;

use crate::unpack::Packing;

/// The extensions of archives, for messages.
pub const ARCHIVES: &str = if cfg!(feature = "zstd") {
    ".zip, .tar, .tar.gz, .tar.xz, .tar.bz2, .tar.zst"
} else {
    ".zip, .tar, .tar.gz, .tar.xz, .tar.bz2"
};

/// Whether a file's name is that of an archive: `.zip`, `.tar`, or `.tar` packed with gzip, xz,
/// bzip2 or zstd (`.tar.gz`, `.tgz`, `.tar.xz`, `.txz`, `.tar.bz2`, `.tbz2`, `.tbz`, `.tar.zst`,
/// `.tzst`).
pub fn is_archive(path: &Path) -> bool {
    kind(path).is_some()
}

/// What a file is, by its first bytes, and the endings that say so; none if these are unknown.
pub(crate) fn content_of(head: &[u8]) -> Option<(&'static str, &'static [&'static str])> {
    const KNOWN: [(usize, &[u8], &str, &[&str]); 6] = [
        (0, b"PK\x03\x04", "a zip archive", &[".zip"]),
        (257, b"ustar", "a tar archive", &[".tar"]),
        (0, b"\x1f\x8b", "packed with gzip", &[".tar.gz", ".tgz"]),
        (0, b"\xfd7zXZ\0", "packed with xz", &[".tar.xz", ".txz"]),
        (0, b"BZh", "packed with bzip2", &[".tar.bz2", ".tbz2", ".tbz"]),
        (0, b"\x28\xb5\x2f\xfd", "packed with zstd", &[".tar.zst", ".tzst"]),
    ];
    let is = |(at, magic): (usize, &[u8])| head.get(at..).is_some_and(|own| own.starts_with(magic));
    let found = KNOWN.iter().find(|(at, magic, ..)| is((*at, magic)));
    found.map(|(_, _, what, endings)| (*what, *endings))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Zip,
    Tar,
    Packed(Packing),
}

const ENDINGS: [(&str, Kind); 11] = [
    (".zip", Kind::Zip),
    (".tar", Kind::Tar),
    (".tar.gz", Kind::Packed(Packing::Gzip)),
    (".tgz", Kind::Packed(Packing::Gzip)),
    (".tar.xz", Kind::Packed(Packing::Xz)),
    (".txz", Kind::Packed(Packing::Xz)),
    (".tar.bz2", Kind::Packed(Packing::Bzip2)),
    (".tbz2", Kind::Packed(Packing::Bzip2)),
    (".tbz", Kind::Packed(Packing::Bzip2)),
    (".tar.zst", Kind::Packed(Packing::Zstd)),
    (".tzst", Kind::Packed(Packing::Zstd)),
];

pub(crate) fn kind(path: &Path) -> Option<Kind> {
    ending(path).map(|(_, kind)| kind)
}

fn ending(path: &Path) -> Option<(&'static str, Kind)> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    ENDINGS.into_iter().find(|(ending, _)| name.ends_with(ending))
}

/// An archive's name without its ending: `train` for `photos/train.tar.gz`.
pub fn stem(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let length = ending(path).map_or(0, |(ending, _)| ending.len());
    name[..name.len().saturating_sub(length)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_what_an_archive_is() {
        assert_eq!(stem(Path::new("a/train.tar.gz")), "train");
        assert_eq!(stem(Path::new("x.ZIP")), "x");
        assert!(is_archive(Path::new("a.tzst")) && !is_archive(Path::new("a.gz")));
    }
}
