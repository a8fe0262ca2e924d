//! Rows of the binary log: images of all columns before and after, in the table's order.

use mysql_async::Value;
use mysql_async::binlog::events::{RowsEventData, TableMapEvent};
use mysql_async::binlog::value::BinlogValue;
use mysql_async::consts::ColumnType;
use mysql_common::io::ParseBuf;
use std::io;
use std::sync::Arc;

/// A table as the log describes it before its rows.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) database: String,
    pub(super) table: String,
    columns: Vec<(ColumnType, Vec<u8>)>,
}

/// What happened to rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Insert,
    Update,
    Delete,
}

/// The values of a row, a column each.
pub(super) type Image = Vec<Value>;

/// Rows that one event has of one table.
pub(super) struct Rows {
    pub(super) layout: Arc<Layout>,
    /// Whether every column is in every image.
    pub(super) is_full: bool,
    /// Before and after.
    pub(super) changes: Vec<(Option<Image>, Option<Image>)>,
    /// About how much memory they take.
    pub(super) bytes: usize,
}

impl Layout {
    /// Takes the description apart.
    pub(super) fn of(map: &TableMapEvent<'_>) -> io::Result<Self> {
        let column = |index| {
            let kind = map.get_column_type(index).map_err(io::Error::other)?;
            let kind = kind.ok_or_else(|| io::Error::other("a column has no type"))?;
            Ok((kind, map.get_column_metadata(index).unwrap_or_default().to_vec()))
        };
        let count = usize::try_from(map.columns_count()).map_err(io::Error::other)?;
        Ok(Self {
            database: map.database_name().into_owned(),
            table: map.table_name().into_owned(),
            columns: (0..count).map(column).collect::<io::Result<_>>()?,
        })
    }

    /// A table without columns.
    #[cfg(test)]
    pub(super) fn named(database: &str, table: &str) -> Self {
        Self { database: database.to_owned(), table: table.to_owned(), columns: Vec::new() }
    }

    /// How many columns it has.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    fn image<'a>(&'a self, buffer: &mut ParseBuf<'a>) -> io::Result<Image> {
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let nulls = buffer.checked_eat(self.columns.len().div_ceil(8)).ok_or_else(short)?;
        let mut image = Image::with_capacity(self.columns.len());
        for (index, (kind, metadata)) in self.columns.iter().enumerate() {
            if nulls[index / 8] >> (index % 8) & 1 == 1 {
                image.push(Value::NULL);
                continue;
            }
            let kind = match kind {
                // The same three bytes; the driver knows them by this name only.
                ColumnType::MYSQL_TYPE_DATE => ColumnType::MYSQL_TYPE_NEWDATE,
                kind => *kind,
            };
            let value: BinlogValue<'_> = buffer.parse((kind, metadata.as_slice(), false, false))?;
            image.push(Value::try_from(value).map_err(io::Error::other)?);
        }
        Ok(image)
    }
}

impl Rows {
    /// Their table's database and name.
    pub(super) fn key(&self) -> (String, String) {
        (self.layout.database.clone(), self.layout.table.clone())
    }

    /// Reads an event's rows; none where images leave columns out.
    pub(super) fn read(kind: Kind, layout: &Arc<Layout>, event: &RowsEventData<'_>) -> io::Result<Self> {
        let before = event.columns_before_image().is_none_or(|columns| columns.all());
        let after = event.columns_after_image().is_none_or(|columns| columns.all());
        let is_full = before && after && event.num_columns() == layout.len() as u64;
        let mut rows = Self { layout: Arc::clone(layout), is_full, changes: Vec::new(), bytes: 0 };
        let mut buffer = ParseBuf(event.rows_data());
        while is_full && !buffer.is_empty() {
            let before = (kind != Kind::Insert).then(|| layout.image(&mut buffer)).transpose()?;
            let after = (kind != Kind::Delete).then(|| layout.image(&mut buffer)).transpose()?;
            rows.changes.push((before, after));
        }
        let values = rows.changes.len() * 2 * layout.len() * size_of::<Value>();
        rows.bytes = event.rows_data().len() + values;
        Ok(rows)
    }
}
