//! The typed differences between two versions of one node.
//!
//! Every spec is taken apart without `..`, so that a new field can't be forgotten here.

use super::{Difference, of_schemas};
use crate::blueprint::*;
use levada_model::Schema;
use levada_model::model::Reader;
use levada_model::name::DatasetName;
use std::collections::{BTreeMap, BTreeSet};

/// All differences; never empty for nodes that are not equal.
pub(super) fn differences(before: &Node, after: &Node) -> Vec<Difference> {
    let mut what = Vec::new();
    if before.priority != after.priority {
        what.push(Difference::Priority { from: before.priority, to: after.priority });
    }
    inputs(&before.inputs, &after.inputs, &mut what);
    match (&before.spec, &after.spec) {
        (NodeSpec::Ingest(before), NodeSpec::Ingest(after)) => ingest(before, after, &mut what),
        (NodeSpec::Link(before), NodeSpec::Link(after)) => link(before, after, &mut what),
        (NodeSpec::Export(before), NodeSpec::Export(after)) => export(before, after, &mut what),
        (NodeSpec::Trigger(before), NodeSpec::Trigger(after)) => trigger(before, after, &mut what),
        (NodeSpec::Transform(before), NodeSpec::Transform(after)) => transform(before, after, &mut what),
        _ => what.push(Difference::Kind),
    }
    what
}

fn note(what: &mut Vec<Difference>, is_different: bool, difference: Difference) {
    if is_different {
        what.push(difference);
    }
}

fn inputs(before: &[Input], after: &[Input], what: &mut Vec<Difference>) {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
    what.extend(new.difference(&old).map(|input| Difference::InputAdded { input: input.node.clone() }));
    what.extend(old.difference(&new).map(|input| Difference::InputRemoved { input: input.node.clone() }));
}

fn datasets<'a>(
    before: impl Iterator<Item = &'a DatasetName>,
    after: impl Iterator<Item = &'a DatasetName>,
    what: &mut Vec<Difference>,
) {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.collect(), after.collect());
    what.extend(new.difference(&old).map(|&dataset| Difference::DatasetAdded { dataset: dataset.clone() }));
    what.extend(old.difference(&new).map(|&dataset| Difference::DatasetRemoved { dataset: dataset.clone() }));
}

fn schema(dataset: &DatasetName, before: &Schema, after: &Schema, what: &mut Vec<Difference>) {
    let columns = of_schemas(before, after).into_iter();
    what.extend(columns.map(|column| Difference::Column { dataset: dataset.clone(), column }));
}

fn ingest(before: &IngestSpec, after: &IngestSpec, what: &mut Vec<Difference>) {
    let IngestSpec { stream, style, origin: old_origin, datasets: old } = before;
    note(what, *stream != after.stream, Difference::Stream);
    note(what, *style != after.style, Difference::Style);
    origin(old_origin, &after.origin, what);
    datasets(old.iter().map(|it| &it.dataset), after.datasets.iter().map(|it| &it.dataset), what);
    let old: BTreeMap<_, _> = old.iter().map(|it| (&it.dataset, it)).collect();
    for after in &after.datasets {
        if let Some(before) = old.get(&after.dataset) {
            ingest_dataset(before, after, what);
        }
    }
}

fn ingest_dataset(before: &IngestDataset, after: &IngestDataset, what: &mut Vec<Difference>) {
    let IngestDataset { dataset, table, schema: old_schema, watermark, owed } = before;
    schema(dataset, old_schema, &after.schema, what);
    if *table != after.table {
        let (from, to) = (table.clone(), after.table.clone());
        what.push(Difference::Table { dataset: dataset.clone(), from, to });
    }
    note(what, *watermark != after.watermark, Difference::Watermark { dataset: dataset.clone() });
    note(what, *owed != after.owed, Difference::Owed { dataset: dataset.clone() });
}

fn origin(before: &IngestOrigin, after: &IngestOrigin, what: &mut Vec<Difference>) {
    match (before, after) {
        (
            IngestOrigin::Container { connection, ingest, trigger, calendars },
            IngestOrigin::Container { connection: to, ingest: by, trigger: when, calendars: windows },
        ) => {
            note(what, connection != to, Difference::Connection);
            note(what, ingest != by, Difference::Ingest);
            note(what, trigger != when, Difference::Trigger);
            note(what, calendars != windows, Difference::Calendars);
        }
        (IngestOrigin::Transformer { transform, mode }, IngestOrigin::Transformer { transform: by, mode: how }) => {
            note(what, transform != by, Difference::Origin);
            note(what, mode != how, Difference::Mode);
        }
        _ => what.push(Difference::Origin),
    }
}

fn link(before: &LinkSpec, after: &LinkSpec, what: &mut Vec<Difference>) {
    let LinkSpec { stream, ingest, datasets: old } = before;
    note(what, *stream != after.stream, Difference::Stream);
    note(what, *ingest != after.ingest, Difference::Origin);
    datasets(old.iter(), after.datasets.iter(), what);
}

fn export(before: &ExportSpec, after: &ExportSpec, what: &mut Vec<Difference>) {
    let ExportSpec {
        connection,
        source,
        stream,
        schema: old_schema,
        live,
        history,
        history_retention,
        latency,
        views: old_views,
        calendars,
    } = before;
    note(what, *connection != after.connection, Difference::Connection);
    note(what, (source, stream) != (&after.source, &after.stream), Difference::Stream);
    schema(&source.dataset, old_schema, &after.schema, what);
    physical(DeliveredReading::Live, live, &after.live, what);
    physical(DeliveredReading::History, history, &after.history, what);
    if *history_retention != after.history_retention {
        what.push(Difference::Retention { from: *history_retention, to: after.history_retention });
    }
    if *latency != after.latency {
        what.push(Difference::Latency { from: *latency, to: after.latency });
    }
    views(old_views, &after.views, what);
    note(what, *calendars != after.calendars, Difference::Calendars);
}

fn physical(reading: DeliveredReading, from: &Option<String>, to: &Option<String>, what: &mut Vec<Difference>) {
    note(what, from != to, Difference::Physical { reading, from: from.clone(), to: to.clone() });
}

fn views(before: &[ViewSpec], after: &[ViewSpec], what: &mut Vec<Difference>) {
    let name = |view: &ViewSpec| format!("{}.{}", view.schema, view.name);
    let old: BTreeMap<String, &ViewSpec> = before.iter().map(|view| (name(view), view)).collect();
    let new: BTreeMap<String, &ViewSpec> = after.iter().map(|view| (name(view), view)).collect();
    for (name, after) in &new {
        match old.get(name) {
            None => what.push(Difference::ViewAdded { view: name.clone() }),
            Some(before) => view(name, before, after, what),
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    what.extend(gone.map(|name| Difference::ViewRemoved { view: name.clone() }));
}

fn view(name: &str, before: &ViewSpec, after: &ViewSpec, what: &mut Vec<Difference>) {
    let ViewSpec { workspace, schema: _, name: _, reading, retention, readers } = before;
    let is_other = (workspace, reading) != (&after.workspace, &after.reading);
    note(what, is_other, Difference::View { view: name.to_owned() });
    if *retention != after.retention {
        what.push(Difference::ViewRetention { view: name.to_owned(), from: *retention, to: after.retention });
    }
    if *readers != after.readers {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (readers.iter().collect(), after.readers.iter().collect());
        what.push(Difference::Readers {
            view: name.to_owned(),
            granted: new.difference(&old).map(|reader| reader_text(reader)).collect(),
            revoked: old.difference(&new).map(|reader| reader_text(reader)).collect(),
        });
    }
}

/// A reader as the model writes it.
pub(crate) fn reader_text(reader: &Reader) -> String {
    match reader {
        Reader::Role(name) => format!("role:{name}"),
        Reader::User(name) => format!("user:{name}"),
    }
}

fn trigger(before: &TriggerSpec, after: &TriggerSpec, what: &mut Vec<Difference>) {
    let TriggerSpec { workspace, trigger, inputs } = before;
    note(what, *workspace != after.workspace, Difference::Transformer);
    note(what, *trigger != after.trigger, Difference::Trigger);
    note(what, *inputs != after.inputs, Difference::Inputs);
}

fn transform(before: &TransformSpec, after: &TransformSpec, what: &mut Vec<Difference>) {
    let TransformSpec { workspace, transformer, code, inputs, output, outputs, mode } = before;
    let is_other = (workspace, transformer, output) != (&after.workspace, &after.transformer, &after.output);
    note(what, is_other, Difference::Transformer);
    note(what, *code != after.code, Difference::Code);
    transform_inputs(inputs, &after.inputs, what);
    note(what, *mode != after.mode, Difference::Mode);
    datasets(outputs.iter().map(|it| &it.dataset), after.outputs.iter().map(|it| &it.dataset), what);
    let old: BTreeMap<_, _> = outputs.iter().map(|it| (&it.dataset, it)).collect();
    for output in &after.outputs {
        let Some(before) = old.get(&output.dataset) else { continue };
        let TransformOutput { dataset, schema: old_schema, is_consumed } = before;
        schema(dataset, old_schema, &output.schema, what);
        note(what, *is_consumed != output.is_consumed, Difference::Inputs);
    }
}

fn transform_inputs(before: &[TransformInput], after: &[TransformInput], what: &mut Vec<Difference>) {
    let old: BTreeMap<_, _> = before.iter().map(|input| (&input.source, input)).collect();
    let mut is_other = before.len() != after.len();
    for input in after {
        let Some(before) = old.get(&input.source) else {
            is_other = true;
            continue;
        };
        let TransformInput { source, stream, schema: old_schema, is_self } = before;
        schema(&source.dataset, old_schema, &input.schema, what);
        is_other |= (stream, is_self) != (&input.stream, &input.is_self);
    }
    note(what, is_other, Difference::Inputs);
}
