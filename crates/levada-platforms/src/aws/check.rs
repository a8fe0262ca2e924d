//! What this kind has against a part: types, triggers and windows that AWS has no words for, and
//! more of something than an account or a stack takes.

use super::layout::{Layout, Store};
use super::quota::{Quota, STACK_RESOURCES_LIMIT, STACK_RESOURCES_MAX};
use super::schedule;
use super::settings::AwsSettings;
use super::store::resources;
use levada_model::model::{CronTrigger, IngestKind, OutputMode, TransformTrigger};
use levada_model::name::{ColumnName, DatastoreName};
use levada_model::{Address, Code, DataType, Finding, Findings, Schema, Span};
use levada_planner::blueprint::{CalendarSpec, IngestOrigin};
use levada_planner::platform::Part;

/// A column's type is none that DMS and Spark carry both.
pub const TYPE_UNSUPPORTED: Code = Code("E-AWS-002");
/// A trigger that EventBridge Scheduler can't say.
pub const TRIGGER_UNSUPPORTED: Code = Code("E-AWS-003");
/// Windows: nothing on AWS keeps them.
pub const CALENDAR_UNSUPPORTED: Code = Code("E-AWS-004");
/// A cell's account takes no more of something.
pub const CELL_FULL: Code = Code("E-AWS-005");
/// A stack has more resources than one state should hold.
pub const STACK_FULL: Code = Code("E-AWS-006");
/// A transformer's output in a form that the merge program does not take.
pub const MODE_UNSUPPORTED: Code = Code("E-AWS-007");
/// DMS reads the tables of a snapshot one after the other.
pub const SNAPSHOT_TORN: Code = Code("E-AWS-009");
/// A table's name that DMS would read as a pattern.
pub const TABLE_UNSUPPORTED: Code = Code("E-AWS-008");

/// Checks a part. Linear in its columns.
pub(super) fn check(part: &Part<'_>, settings: &AwsSettings) -> Findings {
    let layout = Layout::of(part);
    let mut findings = Findings::default();
    for (name, store) in &layout.stores {
        let checked = Checked { part, name, findings: &mut findings };
        checked.store(store);
    }
    findings.extend(sizes(part, settings, &layout));
    findings
}

/// One datastore, and what is found of it.
struct Checked<'c, 'a> {
    part: &'c Part<'a>,
    name: &'a DatastoreName,
    findings: &'c mut Findings,
}

impl Checked<'_, '_> {
    fn store(mut self, store: &Store<'_>) {
        for (name, dataset) in store.datasets() {
            let dataset_name = &dataset.dataset;
            self.types(&dataset.schema, |column| Address::Column(self.name.clone(), dataset_name.clone(), column));
            if store.source().is_some() && dataset.table.contains('%') {
                let message = format!("dataset {name} is the table {:?}, and DMS reads % as a pattern", dataset.table);
                self.push(TABLE_UNSUPPORTED, message, "give it a view with another name at the source");
            }
        }
        if let Some(source) = store.source() {
            if matches!(source.ingest, IngestKind::Snapshot) && store.datasets().len() > 1 && store.ingests.len() == 1 {
                let message = format!(
                    "DMS loads the tables of {} one after the other: a batch is no single moment of the source",
                    self.name
                );
                let finding = Finding::warning(SNAPSHOT_TORN, message).about(Address::Datastore(self.name.clone()));
                let hint = "`kind: cdc` gives single moments; `consistency: single` says that none is needed";
                self.findings.push(finding.at(self.span()).hint(hint));
            }
            self.trigger(source.trigger, "the ingestion's trigger");
            self.calendars(source.calendars, "its source");
        }
        for export in &store.exports {
            self.calendars(&export.calendars, &format!("container {}", export.connection.container));
        }
        let fired = store.transform.and_then(|transform| transform.trigger).map(|trigger| &trigger.trigger);
        if let Some(TransformTrigger::Cron(cron)) = fired {
            self.trigger(Some(cron), "the transformer's trigger");
        }
        let mode = store.ingests.iter().find_map(|ingest| match &ingest.origin {
            IngestOrigin::Transformer { mode, .. } => Some(*mode),
            IngestOrigin::Container { .. } => None,
        });
        if mode == Some(OutputMode::Changes) {
            let message = format!(
                "the transformer of {} writes changes, and the merge takes whole outputs or rows to add",
                self.name
            );
            self.push(MODE_UNSUPPORTED, message, "`mode: snapshot` lets the merge find the changes itself");
        }
    }

    fn types(&mut self, schema: &Schema, address: impl Fn(ColumnName) -> Address) {
        for column in schema.columns.iter().filter(|column| !is_carried(&column.data_type)) {
            let message = format!("a column of type {} can't go through DMS and Spark", column.data_type);
            let finding = Finding::error(TYPE_UNSUPPORTED, message).about(address(column.name.clone()));
            let finding = finding.at(self.span()).hint("cast it at the source, or `text` where it is only passed on");
            self.findings.push(finding);
        }
    }

    /// A trigger that EventBridge Scheduler can say.
    fn trigger(&mut self, trigger: Option<&CronTrigger>, what: &str) {
        if let Some(Err(why)) = trigger.map(|trigger| schedule::expression(&trigger.cron.expression)) {
            let message = format!("{what} of {} can't be kept by AWS: {why}", self.name);
            self.push(TRIGGER_UNSUPPORTED, message, "say it in another way, or in two datastores");
        }
    }

    fn calendars(&mut self, calendars: &[CalendarSpec], whose: &str) {
        if let Some(calendar) = calendars.first() {
            let message = format!("calendar {} of {whose} can't be kept by AWS ({})", calendar.name, self.name);
            self.push(CALENDAR_UNSUPPORTED, message, "a trigger that ticks only within the windows says the same");
        }
    }

    fn push(&mut self, code: Code, message: String, hint: &str) {
        let finding = Finding::error(code, message).about(Address::Datastore(self.name.clone()));
        self.findings.push(finding.at(self.span()).hint(hint));
    }

    fn span(&self) -> Span {
        let of_platform = || self.part.entry().map(|entry| entry.span);
        self.part.model.datastore(self.name).map(|store| store.span).or_else(of_platform).unwrap_or_default()
    }
}

/// Whether DMS writes and Spark reads a type without loss.
fn is_carried(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::Time
            | DataType::Interval
            | DataType::List(_)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::Vector(_)
    )
}

/// What is more than its place takes.
fn sizes(part: &Part<'_>, settings: &AwsSettings, layout: &Layout<'_>) -> Findings {
    let Some(entry) = part.entry() else { return Findings::default() };
    let about = |finding: Finding| finding.at(entry.span).about(Address::Platform(entry.name.clone()));
    let mut findings = Findings::default();
    for (cell, quota) in Quota::of_cells(part.platform.as_str(), settings, layout) {
        for line in quota.exceeded() {
            let message = format!("cell {cell} needs {} {}, and an account has {}", line.used, line.what, line.limit);
            let finding = about(Finding::error(CELL_FULL, message));
            findings.push(finding.hint("share its stacks out among more cells: `settings.cells`"));
        }
    }
    for (stack, stores) in layout.stacks(part.platform.as_str(), settings) {
        let count: usize = stores.iter().map(|(_, store)| resources(store)).sum();
        let message = format!("stack {stack:03} has {count} resources");
        let hint = "more stacks hold less each: `settings.stacks`, with the migration in docs/aws-batch.md";
        match count {
            0..=STACK_RESOURCES_MAX => {}
            count if count <= STACK_RESOURCES_LIMIT => {
                findings.push(about(Finding::warning(STACK_FULL, message)).hint(hint))
            }
            _ => findings.push(about(Finding::error(STACK_FULL, message)).hint(hint)),
        }
    }
    findings
}
