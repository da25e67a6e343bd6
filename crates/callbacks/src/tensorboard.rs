use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{Action, Callback, Error, Event, Logs, Result};

const PREFIX: &str = "events.out.tfevents.";

/// Writes the figures of every epoch as scalars for TensorBoard: one tag per figure, the epoch as
/// the step.
///
/// The file is `events.out.tfevents.SECONDS.taper` in the folder: records of length, masked
/// CRC-32C, content, masked CRC-32C (`tensorflow/core/lib/io/record_writer.h`), each holding an
/// `Event` (`tensorflow/core/util/event.proto`). When training begins at epoch `n`, records of
/// epochs from `n` on are removed, and so is an incomplete one.
///
/// The crates that write this format are no longer maintained, and the format is just two messages
/// of three fields.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    file: Option<(PathBuf, File)>,
}

impl TensorBoard {
    /// Will write into `folder`; nothing is opened before training begins.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), file: None }
    }

    fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
        |source| Error::Io { path: path.into(), source }
    }

    fn begin(&mut self, first_epoch: u64) -> Result<()> {
        self.file = None;
        let mut there: Vec<PathBuf> = fs::read_dir(&self.folder)
            .map_err(Self::failed(&self.folder))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            })
            .collect();
        there.sort();
        let seconds = now() as u64;
        let path = match there.pop() {
            Some(path) => path,
            None => self.folder.join(format!("{PREFIX}{seconds:010}.taper")),
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Self::failed(&path))?;
        let old = fs::read(&path).map_err(Self::failed(&path))?;
        let keep = kept(&old, first_epoch);
        file.set_len(keep as u64).map_err(Self::failed(&path))?;
        file.seek(SeekFrom::End(0)).map_err(Self::failed(&path))?;
        if keep == 0 {
            file.write_all(&record(&first_event(now()))).map_err(Self::failed(&path))?;
        }
        self.file = Some((path, file));
        Ok(())
    }

    fn epoch(&mut self, epoch: u64, logs: &Logs) -> Result<()> {
        match &mut self.file {
            Some((path, file)) => {
                // In one call, so that an interruption can break at most this record.
                file.write_all(&record(&scalars(now(), epoch, logs))).map_err(Self::failed(path))
            }
            None => {
                let early = io::Error::other("an epoch ended before training began");
                Err(Self::failed(&self.folder)(early))
            }
        }
    }
}

impl Callback for TensorBoard {
    fn name(&self) -> &str {
        "TensorBoard"
    }

    fn follows_batches(&self) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event<'_>, _: &mut Vec<Action>) -> Result<()> {
        match *event {
            Event::TrainBegin { first_epoch, .. } => self.begin(first_epoch),
            Event::EpochEnd { epoch, logs, .. } => self.epoch(epoch, logs),
            Event::TrainEnd => {
                self.file = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What every file begins with.
fn first_event(wall_time: f64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1]; // wall_time: double
    event.extend_from_slice(&wall_time.to_le_bytes());
    bytes_field(&mut event, 3, b"brain.Event:2"); // file_version
    event
}

fn scalars(wall_time: f64, step: u64, logs: &Logs) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in logs.iter() {
        let mut one = Vec::new();
        bytes_field(&mut one, 1, tag.as_bytes()); // tag
        one.push(2 << 3 | 5); // simple_value: float
        one.extend_from_slice(&(value as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &one); // value
    }
    let mut event = vec![1 << 3 | 1];
    event.extend_from_slice(&wall_time.to_le_bytes());
    if step > 0 {
        event.push(2 << 3); // step: varint; 0 is the default and is left out
        varint(&mut event, step);
    }
    bytes_field(&mut event, 5, &summary); // summary
    event
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes: tag, length, content.
fn bytes_field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend_from_slice(&masked_checksum(&length).to_le_bytes());
    record.extend_from_slice(content);
    record.extend_from_slice(&masked_checksum(content).to_le_bytes());
    record
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// How many bytes hold complete records of epochs before `first_epoch`. None if there is only the
/// first record.
fn kept(bytes: &[u8], first_epoch: u64) -> usize {
    let (mut at, mut keep) = (0, 0);
    while let Some((head, rest)) = bytes[at..].split_at_checked(12) {
        let length = head[..8].try_into().map_or(u64::MAX, u64::from_le_bytes);
        let Some(content) = usize::try_from(length).ok().and_then(|n| rest.get(..n)) else { break };
        let end = at + 12 + content.len() + 4;
        if end > bytes.len() || record(content) != bytes[at..end] {
            break;
        }
        // wall_time, then the step unless it is 0.
        let step = match content.get(9..) {
            Some([0x10, rest @ ..]) => rest
                .iter()
                .scan(true, |more, byte| std::mem::replace(more, byte & 0x80 != 0).then_some(*byte))
                .enumerate()
                .fold(0, |step, (i, byte)| step | u64::from(byte & 0x7f) << (7 * i).min(63)),
            _ => 0,
        };
        let is_first = at == 0;
        if !is_first && step >= first_epoch {
            break;
        }
        at = end;
        if !is_first {
            keep = end;
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(epoch: u64) -> Logs {
        [("loss", 1.5 / (epoch + 1) as f64), ("val_loss", f64::NAN)].into_iter().collect()
    }

    /// `tests/reference/tensorboard_events.py` wrote the same with Python's tensorboard.
    #[test]
    fn records_are_those_of_pythons_tensorboard() {
        let mut bytes = record(&first_event(1.25));
        for epoch in [0, 1, 300] {
            bytes.extend(record(&scalars(2.5 + epoch as f64, epoch, &logs(epoch))));
        }
        assert_eq!(bytes, include_bytes!("../tests/reference/tensorboard_events.bin"));
    }

    #[test]
    fn a_resumed_training_goes_on_where_it_begins_and_torn_records_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = || fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let steps = |from: u64, epochs: std::ops::Range<u64>| {
            let mut board = TensorBoard::new(folder.path());
            board.begin(from).unwrap();
            epochs.for_each(|epoch| board.epoch(epoch, &logs(epoch)).unwrap());
        };
        steps(0, 0..200);
        let whole = fs::read(file()).unwrap();
        // All these records have the same length, except for the step's second byte.
        steps(130, 130..200);
        assert_eq!(fs::read(file()).unwrap().len(), whole.len());
        fs::write(file(), &whole[..whole.len() - 7]).unwrap();
        steps(199, 199..200);
        assert_eq!(fs::read(file()).unwrap().len(), whole.len());
        steps(0, 0..1);
        assert!(fs::read(file()).unwrap().len() < 200);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
