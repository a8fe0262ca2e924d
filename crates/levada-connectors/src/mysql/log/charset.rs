//! Character sets of texts: queries give UTF-8, the binary log has a column's own bytes.

use std::borrow::Cow;

/// A character set that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Charset {
    /// UTF-8 and what is a part of it.
    Utf8,
    /// What MySQL calls latin1, and everybody else windows-1252.
    Latin1,
    /// Two bytes a unit, the most significant first.
    Utf16,
}

impl Charset {
    /// By MySQL's name; `None`: it is not read.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "latin1" => Self::Latin1,
            "utf16" | "ucs2" => Self::Utf16,
            _ => return None,
        })
    }

    /// Bytes of a column as UTF-8; what is none stays as it is, and is refused where it is read.
    pub(super) fn decode(self, bytes: Vec<u8>) -> Vec<u8> {
        let encoding = match self {
            Self::Utf8 => return bytes,
            Self::Latin1 => encoding_rs::WINDOWS_1252,
            Self::Utf16 => encoding_rs::UTF_16BE,
        };
        let decoded = encoding.decode_without_bom_handling_and_without_replacement(&bytes).map(Cow::into_owned);
        decoded.map_or(bytes, String::into_bytes)
    }
}
