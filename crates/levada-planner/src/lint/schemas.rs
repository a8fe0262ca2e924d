//! Columns: keys, watermarks, partitions, and names that can't be told apart.

use super::{Context, codes};
use crate::platform::IngestMode;
use levada_model::model::{Column, Dataset, Datastore, IngestKind, Origin, OutputMode};
use levada_model::name::ColumnName;
use levada_model::period::Period;
use levada_model::{Address, Code, DataType, Finding, Findings, Span};
use std::collections::{HashMap, HashSet};

/// The names that history views add to a dataset's columns.
const HISTORY_COLUMNS: [&str; 2] = ["valid_from", "valid_to"];

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for store in &context.model.datastores {
        for dataset in &store.datasets {
            let mut pass = Pass { context, findings, store, dataset };
            pass.columns();
            pass.partitions();
            match &store.origin {
                Origin::Container { ingest, .. } => pass.ingest(&ingest.kind),
                Origin::Transformer { mode, .. } => pass.output(*mode),
            }
        }
        tables(store, findings);
    }
}

struct Pass<'p, 'm> {
    context: &'p Context<'m>,
    findings: &'p mut Findings,
    store: &'m Datastore,
    dataset: &'m Dataset,
}

impl Pass<'_, '_> {
    fn push(&mut self, code: Code, message: String, span: Span, hint: &str) {
        let about = Address::Dataset(self.store.name.clone(), self.dataset.name.clone());
        let finding = match code.0.starts_with('W') {
            true => Finding::warning(code, message),
            false => Finding::error(code, message),
        };
        self.findings.push(finding.at(span).about(about).hint(hint));
    }

    fn push_column(&mut self, code: Code, column: &Column, message: String, hint: &str) {
        let about = Address::Column(self.store.name.clone(), self.dataset.name.clone(), column.name.clone());
        self.findings.push(Finding::error(code, message).at(self.dataset.span).about(about).hint(hint));
    }

    fn has_key(&self) -> bool {
        self.dataset.columns.iter().any(|column| column.key)
    }

    fn columns(&mut self) {
        let dataset = self.dataset;
        if dataset.columns.is_empty() {
            let message = format!("dataset {} has no columns", dataset.name);
            self.push(codes::NO_COLUMNS, message, dataset.span, "add `columns:` with at least one");
        }
        let mut folded: HashSet<String> = HashSet::with_capacity(dataset.columns.len());
        for column in &dataset.columns {
            let name = column.name.folded();
            if name.starts_with("lv_") || HISTORY_COLUMNS.contains(&name.as_str()) {
                let message = format!("column {:?} has a name that Levada keeps for itself", column.name.as_str());
                let hint = "give it another name here and its own one in `from:`";
                self.push_column(codes::COLUMN_RESERVED, column, message, hint);
            }
            if !folded.insert(name) {
                let message = format!("column {:?} differs from another one only by letter case", column.name.as_str());
                let hint = "give it another name here and its own one in `from:`";
                self.push_column(codes::COLUMN_CASE, column, message, hint);
            }
            self.key_column(column);
        }
    }

    fn key_column(&mut self, column: &Column) {
        if !column.key {
            return;
        }
        if column.nullable {
            let message = format!("key column {:?} is nullable", column.name.as_str());
            self.push_column(
                codes::KEY_NULLABLE,
                column,
                message,
                "remove `nullable: true`, or take it out of the key",
            );
        }
        if !is_comparable(&column.data_type) {
            let data_type = String::from(column.data_type.clone());
            let message = format!("key column {:?} is of type {data_type}", column.name.as_str());
            let hint = "keys are of types that can be compared as a whole: numbers, text, dates, uuid, binary, boolean";
            self.push_column(codes::KEY_TYPE, column, message, hint);
        }
    }

    fn partitions(&mut self) {
        let dataset = self.dataset;
        for column in &dataset.partition {
            self.known_column(&column.value, column.span, "partition");
        }
    }

    /// Finds a column that is named elsewhere, or reports it.
    fn known_column(&mut self, name: &ColumnName, span: Span, role: &str) -> Option<&Column> {
        let dataset = self.dataset;
        let found = dataset.columns.iter().find(|column| column.name == *name);
        if found.is_none() {
            let message = format!("dataset {} has no {role} column {:?}", dataset.name, name.as_str());
            let known = dataset.columns.iter().map(|column| column.name.as_str());
            let mut finding = Finding::error(codes::UNKNOWN_COLUMN, message).at(span);
            finding.hint = self.context.did_you_mean(name.as_str(), known);
            let about = Address::Dataset(self.store.name.clone(), dataset.name.clone());
            self.findings.push(finding.about(about));
        }
        found
    }

    fn ingest(&mut self, kind: &IngestKind) {
        let dataset = self.dataset;
        if let IngestKind::Watermark { column, overlap, .. } = kind {
            return self.watermark(column.as_ref(), *overlap);
        }
        if let Some(watermark) = &dataset.watermark {
            let message = format!(
                "dataset {} names a watermark column, but its datastore is not read by watermark",
                dataset.name
            );
            self.push(
                codes::WATERMARK_UNUSED,
                message,
                watermark.span,
                "remove it, or set `ingest: { kind: watermark }`",
            );
        }
        if IngestMode::of(kind) == IngestMode::Cdc && !self.has_key() {
            let message =
                format!("dataset {} has no key: its rows are told apart by all of their columns", dataset.name);
            let hint = "mark the key columns with `key: true`, or have the source log whole rows \
                        (PostgreSQL: `ALTER TABLE … REPLICA IDENTITY FULL`)";
            self.push(codes::CDC_KEY, message, dataset.span, hint);
        }
    }

    fn watermark(&mut self, of_store: Option<&ColumnName>, overlap: Option<Period>) {
        let dataset = self.dataset;
        let own = dataset.watermark.as_ref().map(|own| (&own.value, own.span));
        let Some((name, span)) = own.or_else(|| of_store.map(|name| (name, dataset.span))) else {
            let message = format!("dataset {} is read by watermark and names no column", dataset.name);
            let hint = "set `watermark: COLUMN` here or `column: COLUMN` at the ingest";
            return self.push(codes::WATERMARK_MISSING, message, dataset.span, hint);
        };
        if !self.has_key() {
            let message = format!("dataset {} is read by watermark and has no key", dataset.name);
            self.push(
                codes::WATERMARK_KEY,
                message,
                dataset.span,
                "mark the key columns with `key: true`, or read it by snapshot",
            );
        }
        let data_type = self.known_column(name, span, "watermark").map(|column| column.data_type.clone());
        let is_time =
            |data_type: &DataType| matches!(data_type, DataType::Date | DataType::Timestamp | DataType::Timestamptz);
        if let (Some(overlap), Some(data_type)) =
            (overlap, data_type.as_ref().filter(|it| is_orderable(it) && !is_time(it)))
        {
            let data_type = String::from(data_type.clone());
            let message = format!(
                "an overlap of {overlap} is a length of time, watermark column {:?} is of type {data_type}",
                name.as_str()
            );
            self.push(
                codes::OVERLAP_TYPE,
                message,
                span,
                "leave `overlap` out, or use a column of dates or timestamps",
            );
        }
        if let Some(data_type) = data_type.filter(|data_type| !is_orderable(data_type)) {
            let message = format!("watermark column {:?} is of type {}", name.as_str(), String::from(data_type));
            let hint = "watermarks are numbers, dates or timestamps that grow with each change";
            self.push(codes::WATERMARK_TYPE, message, span, hint);
        }
    }

    fn output(&mut self, mode: OutputMode) {
        let dataset = self.dataset;
        if mode == OutputMode::Changes && !self.has_key() {
            let message = format!("output {} of mode `changes` has no key", dataset.name);
            let hint =
                "mark the key columns with `key: true`; the code's rows carry `lv_op` besides, which is not declared";
            self.push(codes::CHANGES_KEY, message, dataset.span, hint);
        }
    }
}

/// Two datasets of a store on one table are one source read twice.
fn tables(store: &Datastore, findings: &mut Findings) {
    if matches!(store.origin, Origin::Transformer { .. }) {
        return;
    }
    let mut tables: HashMap<&str, &Dataset> = HashMap::with_capacity(store.datasets.len());
    for dataset in &store.datasets {
        let table = dataset.table.as_deref().unwrap_or(dataset.name.as_str());
        if let Some(first) = tables.insert(table, dataset) {
            let message = format!("datasets {} and {} read one table {table}", first.name, dataset.name);
            let finding = Finding::warning(codes::TABLE_TWICE, message).at(dataset.span);
            findings.push(finding.about(Address::Dataset(store.name.clone(), dataset.name.clone())));
        }
    }
}

fn is_comparable(data_type: &DataType) -> bool {
    use DataType as T;
    !matches!(
        data_type,
        T::List(_) | T::Struct(_) | T::Map(..) | T::Vector(_) | T::Json | T::Interval | T::Float32 | T::Float64
    )
}

fn is_orderable(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Decimal(..) | T::Date | T::Timestamp | T::Timestamptz
    )
}
