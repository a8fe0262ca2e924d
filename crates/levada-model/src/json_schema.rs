//! The JSON Schema of one document of the model, generated from the grammar's tables.
//!
//! What editors need: keys, words, sentences, examples. Rules that JSON Schema can't say (cron,
//! types, references) are left to the check.

use crate::grammar::{DOCUMENTS, Form, Key, Names, Object, Rule, Shape};
use crate::read::plain_value;
use serde_json::{Map, Value, json};

/// The JSON Schema (2020-12) of one document, whatever its kind.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let kinds: Vec<Value> = DOCUMENTS.iter().map(|object| reference(object, &mut definitions)).collect();
    let names = DOCUMENTS.map(|object| object.keys[0].name);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document of a Levada model",
        "description": format!("One object; its first key is its kind: {}.", names.join(", ")),
        "type": "object",
        "oneOf": kinds,
        "$defs": definitions,
    })
}

/// Refers to an object's definition, and adds it where it is not there yet.
fn reference(object: &Object, definitions: &mut Map<String, Value>) -> Value {
    let name = definition_name(object);
    if !definitions.contains_key(&name) {
        definitions.insert(name.clone(), Value::Null);
        let definition = definition(object, definitions);
        definitions.insert(name.clone(), definition);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// `a set of places` → `set-of-places`.
fn definition_name(object: &Object) -> String {
    let words = object.name.trim_matches('`').split(' ').filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join("-")
}

fn definition(object: &Object, definitions: &mut Map<String, Value>) -> Value {
    let Some(variants) = object.variants else {
        return closed(object, &[], None, definitions);
    };
    let cases =
        variants.cases.iter().map(|(words, keys)| closed(object, keys, Some((variants.by, words)), definitions));
    json!({ "description": object.doc, "oneOf": cases.collect::<Vec<_>>() })
}

/// An object with exactly these keys; with variants, `deciding` is the key and its words.
fn closed(
    object: &Object,
    further: &[Key],
    deciding: Option<(&str, &[&str])>,
    definitions: &mut Map<String, Value>,
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in object.keys.iter().chain(further) {
        let schema = match deciding {
            Some((by, words)) if by == key.name => json!({ "enum": words, "description": key.doc }),
            _ => property(key, definitions),
        };
        properties.insert(key.name.to_owned(), schema);
        if key.is_required {
            required.push(key.name);
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": object.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let rules: Vec<Value> = object.rules.iter().map(rule).collect();
    if !rules.is_empty() {
        schema["allOf"] = Value::Array(rules);
    }
    schema
}

fn property(key: &Key, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = shape(&key.shape, definitions);
    schema["description"] = json!(key.doc);
    if !key.example.is_empty() {
        schema["examples"] = json!([plain_value(key.example)]);
    }
    schema
}

fn rule(rule: &Rule) -> Value {
    let each = |keys: &[&str]| keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>();
    match rule {
        Rule::ExactlyOne(keys) => json!({ "oneOf": each(keys) }),
        Rule::AtLeastOne(keys) => json!({ "anyOf": each(keys) }),
        Rule::OnlyWith(key, others) => json!({ "dependentSchemas": { *key: { "anyOf": each(others) } } }),
        Rule::Needs(key, other) => json!({ "dependentRequired": { *key: [other] } }),
    }
}

fn shape(shape_of: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape_of {
        Shape::Text => json!({ "type": "string" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Cost => json!({ "type": "number", "minimum": 0 }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Name(names) => json!({ "type": "string", "pattern": name_pattern(*names), "maxLength": 128 }),
        Shape::Form(form) => match form_pattern(*form) {
            Some(pattern) => json!({ "type": "string", "pattern": pattern }),
            None => json!({ "type": "string" }),
        },
        Shape::List(item) => json!({ "type": "array", "items": shape(item, definitions) }),
        Shape::Filled(item) => json!({ "type": "array", "items": shape(item, definitions), "minItems": 1 }),
        Shape::Map(names, value) => {
            let least = usize::from(*names != Names::Free);
            json!({
                "type": "object",
                "propertyNames": { "pattern": name_pattern(*names) },
                "additionalProperties": shape(value, definitions),
                "minProperties": least,
            })
        }
        Shape::Object(object) => reference(object, definitions),
        Shape::Either(short, long) => json!({ "anyOf": [shape(short, definitions), shape(long, definitions)] }),
        Shape::Tree => {
            definitions.insert(
                "locations".to_owned(),
                json!({ "type": ["object", "null"], "additionalProperties": { "$ref": "#/$defs/locations" } }),
            );
            json!({ "$ref": "#/$defs/locations" })
        }
        Shape::Any => json!({}),
    }
}

fn name_pattern(names: Names) -> &'static str {
    match names {
        Names::Identifier => "^[A-Za-z][A-Za-z0-9_-]{0,127}$",
        Names::Credential => "^[A-Za-z][A-Za-z0-9_]{0,127}$",
        Names::Label => "^[^/]{1,128}$",
        Names::Column => "^.{1,128}$",
        Names::Free => "",
    }
}

fn form_pattern(form: Form) -> Option<&'static str> {
    Some(match form {
        Form::Period => "^[0-9]+(s|m|h|d|w|mo|y)$",
        Form::Bytes => "^[0-9]+ *(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
        Form::Date => "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        Form::Location => "^[^/:]+(:[^:]+)?$",
        Form::DatasetRef => "^[A-Za-z][A-Za-z0-9_-]*\\.[A-Za-z][A-Za-z0-9_-]*$",
        Form::Consumer => "^[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z][A-Za-z0-9_-]*)?$",
        Form::GroupRef => "^[A-Za-z][A-Za-z0-9_-]*/[A-Za-z][A-Za-z0-9_-]*$",
        Form::Reader => "^(role|user):.+$",
        Form::HostPort => "^.+:[0-9]+$",
        Form::Cron | Form::TimeZone | Form::DataType => return None,
    })
}
