//! Canonical JSON: no spaces, and the keys of every object in the order of their bytes.
//!
//! Written straight from a value, without a tree in between: an object's entries are written as they
//! come, and put into order when it ends. Enums are tagged from outside, as everywhere in serde.

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{self, Error as _, Serializer};

/// What is written, and the entries of the objects that are still open.
#[derive(Default)]
pub(super) struct Canonical {
    pub(super) bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One entry of an open object, by positions in the bytes.
#[derive(Clone, Copy)]
struct Entry {
    key: usize,
    value: usize,
    end: usize,
}

/// A list or object that is still open.
pub(super) struct Open<'c> {
    canonical: &'c mut Canonical,
    /// How many entries were there before.
    entries_start: usize,
    /// Where its own text begins.
    start: usize,
    /// What ends it, after its own bracket.
    tail: &'static [u8],
}

impl Canonical {
    fn scalar(&mut self, text: &str) -> Result<(), Error> {
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.bytes, value).map_err(Error::custom)
    }

    fn open(&mut self, bracket: u8, tail: &'static [u8]) -> Open<'_> {
        self.bytes.push(bracket);
        Open { entries_start: self.entries.len(), start: self.bytes.len(), tail, canonical: self }
    }

    /// Opens the object that tags a variant's content.
    fn tag(&mut self, variant: &str) -> Result<(), Error> {
        self.bytes.push(b'{');
        self.json(variant)?;
        self.bytes.push(b':');
        Ok(())
    }
}

impl Open<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if self.canonical.bytes.len() > self.start {
            self.canonical.bytes.push(b',');
        }
        value.serialize(&mut *self.canonical)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let at = self.canonical.bytes.len();
        key.serialize(&mut *self.canonical)?;
        match self.canonical.bytes.get(at) {
            Some(b'"') => {}
            Some(b'{' | b'[') | None => return Err(Error::custom("a key is a text or a number")),
            Some(_) => {
                self.canonical.bytes.insert(at, b'"');
                self.canonical.bytes.push(b'"');
            }
        }
        let end = self.canonical.bytes.len();
        self.canonical.entries.push(Entry { key: at, value: end, end });
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.canonical)?;
        let end = self.canonical.bytes.len();
        self.canonical.entries.last_mut().expect("a key comes before its value").end = end;
        Ok(())
    }

    fn end_list(self) -> Result<(), Error> {
        self.canonical.bytes.push(b']');
        self.canonical.bytes.extend_from_slice(self.tail);
        Ok(())
    }

    fn end_object(self) -> Result<(), Error> {
        let Canonical { bytes, entries } = self.canonical;
        let own = &mut entries[self.entries_start..];
        own.sort_by(|a, b| bytes[a.key + 1..a.value - 1].cmp(&bytes[b.key + 1..b.value - 1]));
        let mut ordered = Vec::with_capacity(bytes.len() - self.start + 2 * own.len());
        for (index, entry) in own.iter().enumerate() {
            if index > 0 {
                ordered.push(b',');
            }
            ordered.extend_from_slice(&bytes[entry.key..entry.value]);
            ordered.push(b':');
            ordered.extend_from_slice(&bytes[entry.value..entry.end]);
        }
        bytes.truncate(self.start);
        bytes.extend_from_slice(&ordered);
        bytes.push(b'}');
        bytes.extend_from_slice(self.tail);
        entries.truncate(self.entries_start);
        Ok(())
    }
}

macro_rules! as_json {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Error> {
            self.json(&value)
        }
    )*};
}

impl<'c> Serializer for &'c mut Canonical {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Open<'c>;
    type SerializeTuple = Open<'c>;
    type SerializeTupleStruct = Open<'c>;
    type SerializeTupleVariant = Open<'c>;
    type SerializeMap = Open<'c>;
    type SerializeStruct = Open<'c>;
    type SerializeStructVariant = Open<'c>;

    as_json! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.scalar(if value { "true" } else { "false" })
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.scalar("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.scalar("null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.scalar("null")
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Error> {
        self.json(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.tag(variant)?;
        value.serialize(&mut *self)?;
        self.bytes.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Open<'c>, Error> {
        Ok(self.open(b'[', b""))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Open<'c>, Error> {
        Ok(self.open(b'[', b""))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Open<'c>, Error> {
        Ok(self.open(b'[', b""))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Open<'c>, Error> {
        self.tag(variant)?;
        Ok(self.open(b'[', b"}"))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Open<'c>, Error> {
        Ok(self.open(b'{', b""))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Open<'c>, Error> {
        Ok(self.open(b'{', b""))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Open<'c>, Error> {
        self.tag(variant)?;
        Ok(self.open(b'{', b"}"))
    }
}

macro_rules! lists {
    ($($trait:ident::$method:ident),*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.end_list()
            }
        }
    )*};
}

lists!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! objects {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.key(key)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Error> {
                self.end_object()
            }
        }
    )*};
}

objects!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Open<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.end_object()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(u8),
        Tuple(u8, Option<u8>),
        Struct { b: f64, a: &'static str },
    }

    #[derive(Serialize)]
    struct Outer {
        shapes: Vec<Shape>,
        numbers: BTreeMap<u32, bool>,
        hashed: HashMap<String, ()>,
        absent: Option<u8>,
    }

    #[test]
    fn canonical_json_has_no_spaces_and_sorted_keys() {
        let shapes = vec![Shape::Unit, Shape::Newtype(1), Shape::Tuple(1, None), Shape::Struct { b: 1.5, a: "\"\n" }];
        let hashed = ["b", "a b", "a", "ü"].map(|key| (key.to_owned(), ())).into();
        let outer = Outer { shapes, numbers: [(10, true), (9, false)].into(), hashed, absent: None };
        let mut canonical = Canonical::default();
        outer.serialize(&mut canonical).expect("it serializes");
        assert_eq!(
            String::from_utf8(canonical.bytes).expect("JSON is UTF-8"),
            r#"{"absent":null,"hashed":{"a":null,"a b":null,"b":null,"ü":null},"numbers":{"10":true,"9":false},"#
                .to_owned()
                + r#""shapes":["Unit",{"Newtype":1},{"Tuple":[1,null]},{"Struct":{"a":"\"\n","b":1.5}}]}"#
        );
    }

    #[test]
    fn keys_that_are_no_text_are_refused() {
        let map: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
        assert!(map.serialize(&mut Canonical::default()).is_err());
    }
}
