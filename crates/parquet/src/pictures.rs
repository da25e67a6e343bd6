use std::{
    collections::VecDeque,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use parquet::data_type::ByteArrayType;
use taper_picture::{Defect, DefectKind, read_file};

use crate::{
    Result, Table,
    table::{Within, damaged, guarded, read},
};

/// How many neighbouring pictures are read together, since a page of the file holds several.
const BLOCK_ROWS: u32 = 32;
/// The size in bytes beyond which the remaining pictures of a block are read separately.
const BLOCK_BYTES: usize = 8 << 20;
/// How many blocks are kept, each of at most [`BLOCK_BYTES`] and one picture.
const BLOCKS: usize = 8;

/// The pictures of Parquet files, by their numbers: those of the first file are followed by those
/// of the second, and so on, one for each row.
#[derive(Debug, Default)]
pub struct Pictures {
    tables: Vec<Source>,
    /// By table and row group: the number of the first row, and where it is.
    groups: Vec<(usize, u32, u32)>,
    rows: usize,
    /// The last used at the end.
    blocks: Mutex<VecDeque<Arc<Block>>>,
}

/// A file and its columns with pictures.
#[derive(Debug)]
struct Source {
    table: Table,
    folder: PathBuf,
    bytes: Option<usize>,
    path: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    table: u32,
    group: u32,
    row: u32,
}

/// Pictures that were read together.
#[derive(Debug)]
struct Block {
    table: u32,
    group: u32,
    first: u32,
    rows: OnceLock<Within<Vec<Option<Vec<u8>>>>>,
}

impl Pictures {
    /// Adds a file, with the number of its column of pictures, or of that with the paths of
    /// pictures below its folder, or both: the path counts where there are no bytes. Both are
    /// columns of [`Kind::Text`](crate::Kind::Text) and no lists. Returns the number of its first
    /// picture.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) if the pages of the columns are.
    pub fn add(
        &mut self,
        table: Table,
        bytes: Option<usize>,
        path: Option<usize>,
    ) -> Result<usize> {
        for column in [bytes, path].into_iter().flatten() {
            table.check(column)?;
        }
        let first = self.rows;
        let number = self.tables.len() as u32;
        for (group, rows) in (0..).zip(table.groups()) {
            self.groups.push((self.rows, number, group));
            self.rows += rows as usize;
        }
        let folder = table.path().parent().unwrap_or(Path::new("")).to_path_buf();
        self.tables.push(Source { table, folder, bytes, path });
        Ok(first)
    }

    /// The bytes of a picture, encoded as it was stored, of which there may be at most `limit`.
    ///
    /// # Errors
    /// Says why the picture cannot be read.
    pub fn read(&self, picture: usize, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let Some(place) = self.place(picture) else {
            return Err(Defect::new(DefectKind::Io, "is not a picture of this table"));
        };
        let corrupt =
            |problem: &str| Defect::new(DefectKind::Corrupt, format!("in the table: {problem}"));
        let source = &self.tables[place.table as usize];
        let block = self.block(place);
        let read = |first, rows| guarded(|| source.block(place.group, first, rows));
        let rows = block.rows.get_or_init(|| read(block.first, BLOCK_ROWS));
        let rows = rows.as_ref().map_err(|problem| corrupt(problem))?;
        let own = match rows.get((place.row - block.first) as usize) {
            Some(own) => own.clone(),
            // The pictures before it filled the block.
            None => read(place.row, 1).map_err(|problem| corrupt(&problem))?.pop().flatten(),
        };
        match own {
            Some(bytes) if bytes.len() as u64 > limit => Err(Defect::new(
                DefectKind::TooLarge,
                format!("has more than the limit of {} MiB: save it smaller", limit >> 20),
            )),
            Some(bytes) => Ok(bytes),
            None => source.named(place, limit),
        }
    }

    fn place(&self, picture: usize) -> Option<Place> {
        if picture >= self.rows {
            return None;
        }
        let after = self.groups.partition_point(|(first, _, _)| *first <= picture);
        let (first, table, group) = *self.groups.get(after.checked_sub(1)?)?;
        Some(Place { table, group, row: u32::try_from(picture - first).ok()? })
    }

    fn block(&self, place: Place) -> Arc<Block> {
        let first = place.row - place.row % BLOCK_ROWS;
        let is_it = |block: &Arc<Block>| {
            (block.table, block.group, block.first) == (place.table, place.group, first)
        };
        // A panic while holding this lock leaves nothing inconsistent.
        let mut blocks = self.blocks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = blocks.iter().position(is_it).and_then(|at| blocks.remove(at));
        let block = found.unwrap_or_else(|| {
            let (table, group) = (place.table, place.group);
            Arc::new(Block { table, group, first, rows: OnceLock::new() })
        });
        blocks.push_back(Arc::clone(&block));
        while blocks.len() > BLOCKS {
            blocks.pop_front();
        }
        block
    }
}

impl Source {
    /// The pictures of a block, as many as fit, from `first` on.
    fn block(&self, group: u32, first: u32, rows: u32) -> Within<Vec<Option<Vec<u8>>>> {
        let Some(column) = self.bytes else { return Ok(vec![None; rows as usize]) };
        let mut reader = self.table.typed::<ByteArrayType>(group as usize, column)?;
        let skipped = reader.skip_records(first as usize).map_err(damaged)?;
        if skipped != first as usize {
            return Err(format!("it ends before row {first} of group {group}"));
        }
        let (mut block, mut size) = (Vec::new(), 0);
        while block.len() < rows as usize && size < BLOCK_BYTES {
            let values = read::<ByteArrayType>(&mut reader, 1)?;
            let Some(value) = values.into_iter().next() else { break };
            // A copy: the value would keep its whole page.
            let bytes = value.map(|value| value.data().to_vec());
            size += bytes.as_ref().map_or(0, Vec::len);
            block.push(bytes);
        }
        Ok(block)
    }

    /// The picture file that a row refers to instead of containing it.
    fn named(&self, place: Place, limit: u64) -> std::result::Result<Vec<u8>, Defect> {
        let io = |reason: &str| Defect::new(DefectKind::Io, reason.to_string());
        let name = self.path.and_then(|column| {
            let mut reader =
                self.table.typed::<ByteArrayType>(place.group as usize, column).ok()?;
            reader.skip_records(place.row as usize).ok()?;
            let value = read::<ByteArrayType>(&mut reader, 1).ok()?.into_iter().next()??;
            String::from_utf8(value.data().to_vec()).ok()
        });
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(io("has neither bytes nor a path"));
        };
        let below = Path::new(&name).components().all(|c| matches!(c, Component::Normal(_)));
        if !below || name.contains(['\\', ':', '\0']) {
            return Err(io("has no bytes, and its path leads out of the folder: not read"));
        }
        read_file(&self.folder.join(name), limit)
    }
}
