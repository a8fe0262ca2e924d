//! What the model says of a platform, for an image that is not Levada's own.

use crate::output::{settings, without_output};
use levada_model::model::{Infrastructure, PlatformEntry};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the model says of a platform, for an image that is not Levada's own.
pub fn parameters(entry: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> String {
    let own = json!({
        "version": 1, "platform": entry.name, "kind": entry.kind.value, "style": entry.style, "status": entry.status,
        "credentials": entry.credentials.iter().map(|it| it.value.as_str()).collect::<Vec<_>>(),
        "locations": entry.locations.iter().map(|it| it.value.to_string()).collect::<Vec<_>>(),
        "settings": without_output(settings(entry, infrastructure)),
    });
    let mut text = serde_json::to_string_pretty(&sorted(own)).expect("plain data with text keys always serialises");
    text.push('\n');
    text
}

/// The same keys in the alphabet's order, however the build's JSON keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<String, Value> = object.into_iter().collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key, self::sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
