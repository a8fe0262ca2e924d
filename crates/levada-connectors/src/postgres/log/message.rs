//! The messages of the output plugin `pgoutput`, protocol version 1, as the manual's "Logical
//! Replication Message Formats" has them. Pure: bytes in, one message out.

use super::lsn::Lsn;
use bytes::{Buf, Bytes};

/// A message that is not what the manual says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message of the change log is cut off")]
    Cut,
    #[error("a message of the change log has the unknown kind {0:?}")]
    Kind(char),
    #[error("a row of the change log has the unknown part {0:?}")]
    Part(char),
    #[error("a name in the change log is no UTF-8 text")]
    Name,
}

/// One message.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Message {
    /// A transaction begins.
    Begin {
        /// Where its commit record begins.
        commit: Lsn,
        /// The transaction, without its epoch.
        xid: u32,
    },
    /// It ends: all of it has come.
    Commit {
        /// Behind its commit record.
        end: Lsn,
    },
    /// What the rows of a table look like from now on.
    Relation(Relation),
    /// A new row.
    Insert {
        /// The table.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row changed.
    Update {
        /// The table.
        relation: u32,
        /// What was before, where it is told.
        old: Option<Old>,
        /// The row.
        new: Tuple,
    },
    /// A row is gone.
    Delete {
        /// The table.
        relation: u32,
        /// What it was.
        old: Old,
    },
    /// Tables are empty.
    Truncate {
        /// The tables.
        relations: Vec<u32>,
    },
    /// Says nothing of rows: a type, an origin, a message of somebody.
    Other,
}

/// A table as its next rows have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Relation {
    /// Its object id.
    pub(super) id: u32,
    /// Its schema and its name.
    pub(super) name: (String, String),
    /// Whether old rows come whole.
    pub(super) is_full: bool,
    /// Its columns, in the order of its rows.
    pub(super) columns: Vec<RelationColumn>,
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub(super) is_identity: bool,
    /// Its name.
    pub(super) name: String,
    /// The object id of its type.
    pub(super) type_id: u32,
    /// The type's modifier, -1: none.
    pub(super) modifier: i32,
}

/// A row before its change.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Old {
    /// Only the columns of the replica identity have values.
    Key(Tuple),
    /// All columns have.
    Row(Tuple),
}

impl Old {
    /// The values that are told.
    pub(super) fn tuple(&self) -> &Tuple {
        match self {
            Self::Key(tuple) | Self::Row(tuple) => tuple,
        }
    }
}

/// The fields of a row.
pub(super) type Tuple = Vec<Field>;

/// One field of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Field {
    /// NULL.
    Null,
    /// Not sent, because it lies outside of the row and did not change.
    Unchanged,
    /// In its type's text form: the type has no binary one.
    Text(Bytes),
    /// In its type's binary form.
    Binary(Bytes),
}

/// Takes one message apart.
pub(super) fn parse(mut bytes: Bytes) -> Result<Message, Malformed> {
    let bytes = &mut bytes;
    Ok(match kind(bytes)? {
        'B' => {
            let commit = Lsn(u64_of(bytes)?);
            u64_of(bytes)?;
            Message::Begin { commit, xid: u32_of(bytes)? }
        }
        'C' => {
            byte(bytes)?;
            u64_of(bytes)?;
            Message::Commit { end: Lsn(u64_of(bytes)?) }
        }
        'R' => Message::Relation(relation(bytes)?),
        'I' => {
            let relation = u32_of(bytes)?;
            match kind(bytes)? {
                'N' => Message::Insert { relation, new: tuple(bytes)? },
                other => return Err(Malformed::Part(other)),
            }
        }
        'U' => update(bytes)?,
        'D' => {
            let relation = u32_of(bytes)?;
            let part = kind(bytes)?;
            Message::Delete { relation, old: old(part, bytes)? }
        }
        'T' => {
            let count = u32_of(bytes)?;
            byte(bytes)?;
            Message::Truncate { relations: (0..count).map(|_| u32_of(bytes)).collect::<Result<_, _>>()? }
        }
        'Y' | 'O' | 'M' => Message::Other,
        other => return Err(Malformed::Kind(other)),
    })
}

fn update(bytes: &mut Bytes) -> Result<Message, Malformed> {
    let relation = u32_of(bytes)?;
    let part = kind(bytes)?;
    if part == 'N' {
        return Ok(Message::Update { relation, old: None, new: tuple(bytes)? });
    }
    let old = Some(old(part, bytes)?);
    match kind(bytes)? {
        'N' => Ok(Message::Update { relation, old, new: tuple(bytes)? }),
        other => Err(Malformed::Part(other)),
    }
}

fn old(part: char, bytes: &mut Bytes) -> Result<Old, Malformed> {
    match part {
        'K' => Ok(Old::Key(tuple(bytes)?)),
        'O' => Ok(Old::Row(tuple(bytes)?)),
        other => Err(Malformed::Part(other)),
    }
}

fn relation(bytes: &mut Bytes) -> Result<Relation, Malformed> {
    let id = u32_of(bytes)?;
    let table = (name(bytes)?, name(bytes)?);
    let is_full = kind(bytes)? == 'f';
    let count = u16_of(bytes)?;
    let column = |_| {
        Ok(RelationColumn {
            is_identity: byte(bytes)? & 1 == 1,
            name: name(bytes)?,
            type_id: u32_of(bytes)?,
            modifier: u32_of(bytes)?.cast_signed(),
        })
    };
    Ok(Relation { id, name: table, is_full, columns: (0..count).map(column).collect::<Result<_, Malformed>>()? })
}

fn tuple(bytes: &mut Bytes) -> Result<Tuple, Malformed> {
    let count = u16_of(bytes)?;
    (0..count).map(|_| field(bytes)).collect()
}

fn field(bytes: &mut Bytes) -> Result<Field, Malformed> {
    Ok(match kind(bytes)? {
        'n' => Field::Null,
        'u' => Field::Unchanged,
        't' => Field::Text(value(bytes)?),
        'b' => Field::Binary(value(bytes)?),
        other => return Err(Malformed::Part(other)),
    })
}

fn value(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = u32_of(bytes)? as usize;
    match bytes.len() >= length {
        true => Ok(bytes.split_to(length)),
        false => Err(Malformed::Cut),
    }
}

fn name(bytes: &mut Bytes) -> Result<String, Malformed> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed::Cut)?;
    let name = bytes.split_to(end);
    bytes.advance(1);
    String::from_utf8(name.to_vec()).map_err(|_| Malformed::Name)
}

fn kind(bytes: &mut Bytes) -> Result<char, Malformed> {
    byte(bytes).map(char::from)
}

fn byte(bytes: &mut Bytes) -> Result<u8, Malformed> {
    bytes.try_get_u8().map_err(|_| Malformed::Cut)
}

fn u16_of(bytes: &mut Bytes) -> Result<u16, Malformed> {
    bytes.try_get_u16().map_err(|_| Malformed::Cut)
}

fn u32_of(bytes: &mut Bytes) -> Result<u32, Malformed> {
    bytes.try_get_u32().map_err(|_| Malformed::Cut)
}

fn u64_of(bytes: &mut Bytes) -> Result<u64, Malformed> {
    bytes.try_get_u64().map_err(|_| Malformed::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert() -> Vec<u8> {
        let mut bytes = b"I\0\0\0\x07N\0\x03".to_vec();
        bytes.extend_from_slice(b"nub\0\0\0\x02hi");
        bytes
    }

    #[test]
    fn a_row_has_nulls_unchanged_and_binary_fields() {
        let fields = vec![Field::Null, Field::Unchanged, Field::Binary(Bytes::from_static(b"hi"))];
        assert_eq!(parse(insert().into()), Ok(Message::Insert { relation: 7, new: fields }));
    }

    #[test]
    fn whatever_is_cut_off_is_said_to_be_and_nothing_panics() {
        let mut update = b"U\0\0\0\x07K\0\x01b\0\0\0\x01a".to_vec();
        update.extend_from_slice(b"N\0\x01t\0\0\0\x01b");
        let relation = b"R\0\0\0\x07public\0t\0d\0\x01\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF".to_vec();
        let messages = [insert(), update, relation, b"T\0\0\0\x01\0\0\0\0\x07".to_vec(), b"D\0\0\0\x07O\0\0".to_vec()];
        for message in messages {
            assert!(parse(message.clone().into()).is_ok());
            for length in 0..message.len() {
                assert_eq!(parse(message[..length].to_vec().into()), Err(Malformed::Cut), "{message:?} at {length}");
            }
        }
        assert_eq!(parse(Bytes::from_static(b"?")), Err(Malformed::Kind('?')));
    }

    #[test]
    fn a_relation_says_what_identifies_its_rows() {
        let bytes = Bytes::from_static(b"R\0\0\0\x07public\0t\0f\0\x01\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF");
        let column = RelationColumn { is_identity: true, name: "id".to_owned(), type_id: 23, modifier: -1 };
        let name = ("public".to_owned(), "t".to_owned());
        let relation = Relation { id: 7, name, is_full: true, columns: vec![column] };
        assert_eq!(parse(bytes), Ok(Message::Relation(relation)));
    }
}
