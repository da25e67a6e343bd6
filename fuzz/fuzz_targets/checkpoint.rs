//! Any bytes as a torch checkpoint: as a file, as the pickle in an archive, as the pickle of the
//! old format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_graph::WeightSource;
use taper_weights::WeightFile;

/// The first three pickles of the old format: magic number, version, machine.
const OLD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|data: &[u8]| {
    let numbers = [7u8; 64];
    let archive = archive(&[("a/data.pkl", data), ("a/data/0", &numbers), ("a/data/1", &numbers)]);
    for bytes in [data.to_vec(), [OLD, data].concat(), archive] {
        let Ok(file) = WeightFile::from_bytes("fuzz", bytes) else { continue };
        for name in file.names() {
            let count: usize = file.shape(name).unwrap().iter().product();
            assert_eq!(file.values(name).unwrap().len(), count);
        }
    }
});

/// A zip archive of uncompressed entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let start = bytes.len() as u32;
        // Version, flags, method, time, date, CRC-32 (not checked), sizes, length of the name, no
        // extra field.
        let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&fields);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        // No comment, disk 0, no attributes.
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = bytes.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}
