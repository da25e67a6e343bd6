//! What a file is, by its name or else by its first bytes.

use std::{fs::File, io::Read, path::Path};

use crate::{Defect, DefectKind, foreign_format, format_of_extension, looks_like_picture};

/// What a file in a folder or in an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture that can be read, if it is not damaged.
    Picture,
    /// A picture in a format of this name, which cannot be read.
    Foreign(&'static str),
    /// Something else.
    Other,
}

impl FileKind {
    /// The kind of a file with this name. `head` gives its first bytes, at least 16 if it has them;
    /// it is asked where the name says nothing.
    pub fn of(name: &str, head: impl FnOnce() -> Vec<u8>) -> Self {
        if let Some((_, extension)) = name.rsplit_once('.') {
            let extension = extension.to_lowercase();
            if format_of_extension(&extension).is_some() {
                return Self::Picture;
            }
            if let Some(format) = foreign_format(&extension) {
                return Self::Foreign(format);
            }
        }
        if looks_like_picture(&head()) { Self::Picture } else { Self::Other }
    }

    /// The kind of a file.
    pub fn of_file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::of(&name, || {
            let mut head = Vec::new();
            // What cannot be read says nothing either.
            let _ = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
            head
        })
    }
}

/// Why a picture in a format of this name cannot be used.
pub fn unsupported(format: &str) -> Defect {
    let article = if format.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    let reason =
        format!("is {article} {format} file, which is not supported: convert it to JPEG or PNG");
    Defect::new(DefectKind::Unsupported, reason)
}
