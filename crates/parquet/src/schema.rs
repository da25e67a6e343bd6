use parquet::{
    basic::{ConvertedType, Type},
    schema::types::ColumnDescriptor,
};

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text or bytes, which the format does not tell apart.
    Text,
    /// Whole numbers of 32 or 64 bits.
    Integer,
    /// Booleans.
    Boolean,
    /// Numbers of 32 or 64 bits with a fraction.
    Float,
    /// Anything else.
    Other,
}

/// A column of a file.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, preceded by those of the groups that it is in: `image`, `bytes`.
    pub path: Vec<String>,
    /// What its values are.
    pub kind: Kind,
    /// Whether its values are said to be text, not any bytes.
    pub is_text: bool,
    /// Whether a row may have several values.
    pub is_list: bool,
    /// The name of the type, for messages.
    pub type_name: String,
}

impl Column {
    pub(crate) fn of(column: &ColumnDescriptor) -> Self {
        let kind = match column.physical_type() {
            Type::BYTE_ARRAY => Kind::Text,
            Type::INT32 | Type::INT64 => Kind::Integer,
            Type::BOOLEAN => Kind::Boolean,
            Type::FLOAT | Type::DOUBLE => Kind::Float,
            _ => Kind::Other,
        };
        Self {
            path: column.path().parts().to_vec(),
            kind,
            is_text: column.converted_type() == ConvertedType::UTF8,
            is_list: column.max_rep_level() > 0,
            type_name: column.physical_type().to_string(),
        }
    }

    /// The name of the outermost group, or of the column itself if it is in none.
    pub fn top(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// The name of a column that is in no group.
    pub fn plain(&self) -> Option<&str> {
        match self.path.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}
