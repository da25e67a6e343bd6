//! Checks the structures of a Parquet file, in Apache Thrift's compact protocol, before the reader
//! sees them.
//!
//! The underlying reader skips fields that it does not know, and a list of two billion booleans
//! takes it hours, but the file only six bytes. Here every element of a list must take at least a
//! byte, or the file is refused.

use std::io::Read;

/// Parquet has no structures nested deeper than this; the underlying reader stops there too.
const DEEPEST: u32 = 64;

/// Walks over one structure.
pub(crate) struct Walker<R> {
    reader: R,
    /// Bytes that may still be read.
    left: u64,
    read: u64,
}

type Walked<T> = Result<T, String>;

fn wrong<T>() -> Walked<T> {
    Err("its structure is damaged".into())
}

impl<R: Read> Walker<R> {
    pub(crate) fn new(reader: R, left: u64) -> Self {
        Self { reader, left, read: 0 }
    }

    /// How many bytes the structure had.
    pub(crate) fn len(&self) -> u64 {
        self.read
    }

    /// The whole numbers among the fields of the structure, by their numbers.
    pub(crate) fn numbers(&mut self) -> Walked<Vec<(i64, i64)>> {
        let mut numbers = Vec::new();
        self.structure(DEEPEST, &mut numbers)?;
        Ok(numbers)
    }

    fn structure(&mut self, depth: u32, numbers: &mut Vec<(i64, i64)>) -> Walked<()> {
        let mut id = 0i64;
        loop {
            let header = self.byte()?;
            let kind = header & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            id = match header >> 4 {
                0 => self.signed()?,
                delta => id.wrapping_add(i64::from(delta)),
            };
            match kind {
                // The value is the type.
                1 | 2 => {}
                4..=6 => {
                    let value = self.signed()?;
                    if numbers.len() < 64 {
                        numbers.push((id, value));
                    }
                }
                other => self.value(other, depth)?,
            }
        }
    }

    /// An element, or a field that is not a boolean.
    fn value(&mut self, kind: u8, depth: u32) -> Walked<()> {
        let Some(depth) = depth.checked_sub(1) else { return wrong() };
        match kind {
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let header = self.byte()?;
                let size = match header >> 4 {
                    15 => self.varint()?,
                    small => u64::from(small),
                };
                self.elements(size, &[header & 0x0f], depth)
            }
            11 => match self.varint()? {
                0 => Ok(()),
                size => {
                    let kinds = self.byte()?;
                    self.elements(size, &[kinds >> 4, kinds & 0x0f], depth)
                }
            },
            12 => self.structure(depth, &mut Vec::with_capacity(0)),
            13 => self.skip(16),
            _ => wrong(),
        }
    }

    fn elements(&mut self, size: u64, kinds: &[u8], depth: u32) -> Walked<()> {
        if size == 0 {
            return Ok(());
        }
        // Parquet's metadata and page headers have no lists of booleans, whose encoding readers do
        // not agree on.
        if size > self.left || kinds.iter().any(|kind| matches!(kind, 0..=2)) {
            return wrong();
        }
        for _ in 0..size {
            for kind in kinds {
                self.value(*kind, depth)?;
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Walked<u8> {
        let mut byte = [0];
        if self.left == 0 || self.reader.read_exact(&mut byte).is_err() {
            return wrong();
        }
        self.left -= 1;
        self.read += 1;
        Ok(byte[0])
    }

    fn skip(&mut self, n: u64) -> Walked<()> {
        if n > self.left {
            return wrong();
        }
        let mut part = self.reader.by_ref().take(n);
        if std::io::copy(&mut part, &mut std::io::sink()).ok() != Some(n) {
            return wrong();
        }
        self.left -= n;
        self.read += n;
        Ok(())
    }

    fn varint(&mut self) -> Walked<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        wrong()
    }

    fn signed(&mut self) -> Walked<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Walked<Vec<(i64, i64)>> {
        Walker::new(bytes, bytes.len() as u64).numbers()
    }

    #[test]
    fn structures_are_walked_over_and_lists_cost_their_bytes() {
        // 1: i32 = 5, 3: binary "ab", 4: list of two i64, 5: true, 20: i32 = −1, stop.
        let bytes = [0x15, 10, 0x28, 2, b'a', b'b', 0x19, 0x26, 2, 4, 0x11, 0x05, 40, 1, 0, 99];
        let mut walker = Walker::new(&bytes[..], 16);
        assert_eq!(walker.numbers().unwrap(), [(1, 5), (20, -1)]);
        assert_eq!(walker.len(), 15);
        for end in 0..14 {
            assert!(walk(&bytes[..end]).is_err(), "{end}");
        }
        // Two billion booleans in six bytes, and as many structures.
        for kind in [1, 2, 12] {
            assert!(walk(&[0x19, 0xf0 | kind, 0xff, 0xff, 0xff, 0xff, 0x07, 0]).is_err());
        }
        // Deeper and deeper.
        assert!(walk(&[0x1c; 1000]).is_err());
        assert!(walk(&[[0x1c; 60], [0; 60]].concat()).is_err());
        assert!(walk(&[&[0x1c; 60][..], &[0; 61]].concat()).is_ok());
    }
}
