//! Stores are data: what the state machine and the program read of each, as JSON documents, version 1.
//!
//! The machine's document is small, for a state machine carries it along; the program's has all.

use super::layout::{Store, Transform};
use super::names;
use super::settings::AwsSettings;
use levada_model::Schema;
use levada_model::connection::Connection;
use levada_model::model::{Code, IngestKind, OutputMode, Reader};
use levada_planner::blueprint::{ExportSpec, IngestOrigin, TransformSpec};
use serde_json::{Value, json};

/// The documents' version.
const VERSION: u32 = 1;

/// Keys of the documents in the bucket.
pub mod keys {
    /// What the machine reads of a datastore.
    pub fn machine_store(datastore: &str) -> String {
        format!("control/machine/stores/{datastore}.json")
    }

    /// What the machine reads of a transformer.
    pub fn machine_transformer(workspace: &str) -> String {
        format!("control/machine/transformers/{workspace}.json")
    }

    /// What the program reads of a datastore.
    pub fn store(datastore: &str) -> String {
        format!("control/stores/{datastore}.json")
    }

    /// What the program reads of a transformer.
    pub fn transformer(workspace: &str) -> String {
        format!("control/transformers/{workspace}.json")
    }
}

/// How a datastore's data arrives, in one word of the documents.
pub fn ingest_word(store: &Store<'_>) -> &'static str {
    match store.source().map(|source| source.ingest) {
        Some(IngestKind::Cdc { .. }) => "cdc",
        Some(_) => "snapshot",
        None => "transformer",
    }
}

/// What the machine needs to know of a datastore.
pub fn machine_store(platform: &str, datastore: &str, store: &Store<'_>) -> Value {
    let mut document = json!({
        "version": VERSION,
        "ingest": ingest_word(store),
        "task": names::store(platform, datastore),
        "exports": store.containers(),
        "fires": store.fires,
    });
    if matches!(ingest_word(store), "snapshot" | "cdc") {
        // A table that is not there is no table without rows: all of them must have been loaded.
        document["tables"] = json!(store.datasets().len());
    }
    document
}

/// What the machine needs to know of a transformer.
pub fn machine_transformer(transform: Transform<'_>) -> Value {
    json!({ "version": VERSION, "output": transform.spec.output })
}

/// What the program needs to know of a datastore.
pub fn store(platform: &str, datastore: &str, store: &Store<'_>, settings: &AwsSettings) -> Value {
    let mode = store.ingests.iter().find_map(|ingest| match &ingest.origin {
        IngestOrigin::Transformer { mode, .. } => Some(*mode),
        IngestOrigin::Container { .. } => None,
    });
    let streams = store.ingests.iter().map(|ingest| {
        let datasets: Vec<&str> = ingest.datasets.iter().map(|dataset| dataset.dataset.as_str()).collect();
        json!({ "stream": ingest.stream.to_string(), "datasets": datasets })
    });
    let datasets = store.datasets().into_iter().map(|(name, dataset)| {
        let owed = dataset
            .owed
            .iter()
            .map(|owed| json!({ "to": owed.to.to_string(), "because": owed.because, "retention": owed.retention }));
        let value = json!({
            "table": names::table(datastore, name),
            "columns": columns(&dataset.schema),
            "owed": owed.collect::<Vec<_>>(),
        });
        (name.to_owned(), value)
    });
    json!({
        "version": VERSION,
        "datastore": datastore,
        "applied": names::applied(platform),
        "batches": names::table(datastore, "$batches"),
        "locks": names::table(datastore, "$locks"),
        "staging_days": settings.staging_days,
        "ingest": ingest_word(store),
        "adds": mode == Some(OutputMode::Append),
        "streams": streams.collect::<Vec<_>>(),
        "datasets": datasets.collect::<serde_json::Map<_, _>>(),
        "exports": store.exports.iter().map(|spec| export(spec, &settings.secret_prefix)).collect::<Vec<_>>(),
    })
}

fn export(spec: &ExportSpec, secret_prefix: &str) -> Value {
    let views = spec.views.iter().map(|view| {
        json!({
            "schema": view.schema, "name": view.name, "reading": view.reading,
            "retention": view.retention, "readers": view.readers.iter().map(reader).collect::<Vec<_>>(),
        })
    });
    json!({
        "connection": connection(&spec.connection, secret_prefix),
        "dataset": spec.source.dataset,
        "stream": spec.stream.to_string(),
        "live": spec.live,
        "history": spec.history,
        "history_retention": spec.history_retention,
        "views": views.collect::<Vec<_>>(),
    })
}

fn reader(reader: &Reader) -> Value {
    match reader {
        Reader::Role(name) => json!({ "is": "role", "name": name }),
        Reader::User(name) => json!({ "is": "user", "name": name }),
    }
}

/// Where a container is, and its secret's name.
fn connection(connection: &Connection, secret_prefix: &str) -> Value {
    let secret = connection.credential.as_ref().map(|name| format!("{secret_prefix}{name}"));
    json!({
        "container": connection.container, "kind": connection.kind, "place": connection.place, "secret": secret,
    })
}

/// What the program needs to know of a transformer.
pub fn transformer(spec: &TransformSpec) -> Value {
    let inputs = spec.inputs.iter().map(|input| {
        let (store, dataset) = (&input.source.datastore, &input.source.dataset);
        json!({ "datastore": store, "dataset": dataset, "stream": input.stream.to_string(), "self": input.is_self })
    });
    let queries: Vec<Value> = match &spec.code {
        Code::Sql(files) => files.iter().map(|file| json!({ "dataset": file.dataset, "sql": file.text })).collect(),
        Code::Program(_) => Vec::new(),
    };
    let outputs = spec.outputs.iter().map(|output| {
        json!({ "dataset": output.dataset, "columns": columns(&output.schema), "consumed": output.is_consumed })
    });
    json!({
        "version": VERSION,
        "workspace": spec.workspace,
        "output": spec.output,
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
        "queries": queries,
    })
}

/// Names and types; whatever is usual is left out.
fn columns(schema: &Schema) -> Vec<Value> {
    let column = |column: &levada_model::SchemaColumn| {
        let mut told = json!({ "name": column.name, "type": column.data_type.to_string() });
        if column.key {
            told["key"] = Value::Bool(true);
        }
        if let Some(from) = &column.from {
            told["from"] = json!(from);
        }
        told
    };
    schema.columns.iter().map(column).collect()
}
