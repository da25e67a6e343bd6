//! Splits in a column that is not called so.

use std::collections::BTreeMap;

use parquet::{
    basic::Type, data_type::ByteArray, file::metadata::RowGroupMetaData, file::reader::FileReader,
};
use taper_data::Window;

use super::{Table, check_pages};
use crate::{
    sets::listed,
    split_words::{is_plain, split_named},
};

/// More different values than this are not splits.
const MOST: usize = 8;

impl Table {
    /// Looks for a column in which every value is a word for a split: that is the split, with a
    /// remark; one with other values too is only remarked. Columns are read only if the smallest
    /// and the largest value, which the file states, look like it.
    pub(super) fn find_split(&mut self, window: &Window) -> Result<(), String> {
        let (mut plain, mut like) = (Vec::new(), Vec::new());
        for column in self.candidates() {
            let mut values: BTreeMap<String, usize> = BTreeMap::new();
            for group in 0..self.reader.num_row_groups() {
                let metadata = self.reader.metadata().row_group(group);
                let (start, length) = metadata.column(column).byte_range();
                check_pages(window, start, length)?;
                let rows = u32::try_from(metadata.num_rows()).map_err(|e| e.to_string())?;
                let words = self.column(group, column, rows, |value: &ByteArray| {
                    Some(String::from_utf8_lossy(value.data()).trim().to_owned())
                })?;
                for word in words.into_iter().flatten().filter(|word| !word.is_empty()) {
                    if values.len() <= MOST || values.contains_key(&word) {
                        *values.entry(word).or_default() += 1;
                    }
                }
            }
            let all: usize = values.values().sum();
            let of = |is: fn(&str) -> bool| -> usize {
                values.iter().filter(|(word, _)| is(word)).map(|(_, count)| count).sum()
            };
            if values.is_empty() || values.len() > MOST {
            } else if of(is_plain) == all {
                plain.push(column);
            } else if 2 * of(|word| split_named(word).is_some()) >= all {
                like.push(column);
            }
        }
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let name = |column: &usize| schema.column(*column).name().to_owned();
        if let [column] = plain.as_slice() {
            self.remarks.push(format!("the splits are taken from the column '{}'", name(column)));
            self.split = Some(*column);
            return Ok(());
        }
        let names: Vec<String> = plain.iter().chain(&like).map(name).collect();
        if !names.is_empty() {
            self.remarks.push(format!(
                "the column {} looks like splits, but is not used: if it says them, name it with `split_column`",
                listed(&names)
            ));
        }
        Ok(())
    }

    /// The columns of text whose smallest and largest values contain words for splits.
    fn candidates(&self) -> Vec<usize> {
        let metadata = self.reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let is_text = |column: &usize| {
            let kind = schema.column(*column);
            kind.physical_type() == Type::BYTE_ARRAY
                && kind.max_rep_level() == 0
                && kind.path().parts().len() == 1
                && ![Some(self.label), self.bytes, self.path].contains(&Some(*column))
        };
        let looks = |group: &RowGroupMetaData, column: usize| {
            group.column(column).statistics().is_some_and(|statistics| {
                let word = |bytes: Option<&[u8]>| {
                    let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
                    text.is_some_and(|text| text.len() < 40 && split_named(text).is_some())
                };
                word(statistics.min_bytes_opt()) || word(statistics.max_bytes_opt())
            })
        };
        let groups = metadata.row_groups();
        (0..schema.num_columns())
            .filter(is_text)
            .filter(|column| !groups.is_empty() && groups.iter().all(|g| looks(g, *column)))
            .collect()
    }
}
