//! A datastore's own file in its stack: how its source is read, when, and what it is.

use super::data::{self, keys};
use super::layout::{Source, Store};
use super::names;
use super::roots::{home, own_tags};
use super::schedule;
use super::settings::{AwsSettings, Cell};
use crate::plain;
use crate::terraform::{Block, Expression};
use levada_model::Model;
use levada_model::connection::{ContainerKind, Place, Tls};
use levada_model::model::{CronTrigger, IngestKind, TransformTrigger};
use levada_model::name::{DatastoreName, WorkspaceName};
use levada_model::period::Period;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Latency of a change log above which somebody should look, in seconds.
const LATENCY_ALARM_SECONDS: i64 = 900;

/// What the file is rendered from.
pub(super) struct StoreFile<'a> {
    pub model: &'a Model,
    pub platform: &'a str,
    pub settings: &'a AwsSettings,
    pub cell: &'a Cell,
    pub name: &'a DatastoreName,
    pub store: &'a Store<'a>,
}

/// How many resources the file has.
pub(super) fn resources(store: &Store<'_>) -> usize {
    let documents = if store.transform.is_some() { 4 } else { 2 };
    let source = store.source().map_or(0, |source| if is_cdc(source) { 4 } else { 3 });
    documents + source + usize::from(transformer_cron(store).is_some())
}

fn is_cdc(source: Source<'_>) -> bool {
    matches!(source.ingest, IngestKind::Cdc { .. })
}

fn transformer_cron<'a>(store: &Store<'a>) -> Option<(&'a WorkspaceName, &'a CronTrigger)> {
    let trigger = store.transform?.trigger?;
    match &trigger.trigger {
        TransformTrigger::Cron(cron) => Some((&trigger.workspace, cron)),
        TransformTrigger::OnChange => None,
    }
}

impl StoreFile<'_> {
    /// Its blocks, in the order in which data flows.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        if let Some(source) = self.store.source() {
            blocks.extend(self.secret(source));
            blocks.extend(self.certificate(source));
            blocks.push(self.endpoint(source));
            blocks.push(self.task(source));
            if is_cdc(source) {
                blocks.push(self.latency_alarm());
            }
            let when = (source.trigger, json!({ "store": self.name }));
            blocks.push(self.schedule(
                &format!("store-{}", self.name),
                names::store(self.platform, self.name.as_str()),
                when,
            ));
        }
        let name = self.name.as_str();
        let mut machine = Expression::json(&data::machine_store(self.platform, name, self.store));
        if self.store.source().is_some() {
            // Whose tasks they are only Terraform may know.
            machine = machine.and("role", Expression::reference("local.dms_operator_role_arn"));
        }
        blocks.push(self.document("machine-", name, &keys::machine_store(name), machine));
        let program = Expression::json(&data::store(self.platform, name, self.store, self.settings));
        blocks.push(self.document("store-", name, &keys::store(name), program));
        if let Some(transform) = self.store.transform {
            let workspace = transform.spec.workspace.as_str();
            let machine = Expression::json(&data::machine_transformer(transform));
            blocks.push(self.document(
                "machine_transformer-",
                workspace,
                &keys::machine_transformer(workspace),
                machine,
            ));
            let program = Expression::json(&data::transformer(transform.spec));
            blocks.push(self.document("transformer-", workspace, &keys::transformer(workspace), program));
        }
        if let Some((workspace, cron)) = transformer_cron(self.store) {
            let when = (Some(cron), json!({ "transform": workspace }));
            let name = names::transformer(self.platform, workspace.as_str());
            blocks.push(self.schedule(&format!("transformer-{workspace}"), name, when));
        }
        blocks
    }

    /// What lets go of the store's resources, in the stack that it leaves.
    pub fn leaving(&self) -> Vec<Block> {
        let removed = |(address, _): (String, Expression)| {
            Block::new("removed", [""; 0])
                .with("from", Expression::reference(address))
                .block(Block::new("lifecycle", [""; 0]).with("destroy", Expression::Boolean(false)))
        };
        self.addresses().into_iter().map(removed).collect()
    }

    /// What takes them over, in the stack that it joins.
    pub fn joining(&self) -> Vec<Block> {
        let import = |(address, id): (String, Expression)| {
            Block::new("import", [""; 0]).with("to", Expression::reference(address)).with("id", id)
        };
        self.addresses().into_iter().map(import).collect()
    }

    /// Each resource of the store, with what it is imported by.
    fn addresses(&self) -> Vec<(String, Expression)> {
        let (platform, name) = (self.platform, self.name.as_str());
        let id = names::store(platform, name);
        let object = |key: String| Expression::template(&format!("{{}}/{key}"), &["local.bucket"]);
        let schedule = |name: &str| Expression::template(&format!("{{}}/{name}"), &["local.name"]);
        let mut all = Vec::new();
        if let Some(source) = self.store.source() {
            all.push((format!("aws_dms_endpoint.{name}"), Expression::text(&id)));
            all.push((format!("aws_dms_replication_task.{name}"), Expression::text(&id)));
            if is_cdc(source) {
                all.push((format!("aws_cloudwatch_metric_alarm.{name}"), Expression::text(format!("{id}-latency"))));
            }
            all.push((format!("aws_scheduler_schedule.store-{name}"), schedule(&id)));
        }
        all.push((format!("aws_s3_object.machine-{name}"), object(keys::machine_store(name))));
        all.push((format!("aws_s3_object.store-{name}"), object(keys::store(name))));
        if let Some(transform) = self.store.transform {
            let workspace = transform.spec.workspace.as_str();
            all.push((
                format!("aws_s3_object.machine_transformer-{workspace}"),
                object(keys::machine_transformer(workspace)),
            ));
            all.push((format!("aws_s3_object.transformer-{workspace}"), object(keys::transformer(workspace))));
        }
        if let Some((workspace, _)) = transformer_cron(self.store) {
            let id = names::transformer(platform, workspace.as_str());
            all.push((format!("aws_scheduler_schedule.transformer-{workspace}"), schedule(&id)));
        }
        all
    }

    fn tags(&self) -> Expression {
        let owner = self.model.datastore(self.name).map(|store| &store.owner);
        own_tags(&[
            ("levada:datastore", self.name.as_str()),
            ("levada:zone", owner.map_or("", |owner| owner.zone.as_str())),
            ("levada:team", owner.map_or("", |owner| owner.team.as_str())),
        ])
    }

    /// The source's secret: a plan fails early where it is missing.
    fn secret(&self, source: Source<'_>) -> Option<Block> {
        let credential = source.connection.credential.as_ref()?;
        let name = format!("{}{credential}", self.settings.secret_prefix);
        Some(Block::new("data", ["aws_secretsmanager_secret", self.name.as_str()]).with("name", Expression::text(name)))
    }

    /// The authority that signs the source's certificate, under the container's name.
    fn certificate(&self, source: Source<'_>) -> Option<Block> {
        ssl_mode(source).starts_with("verify").then(|| {
            let id = names::certificate(source.connection.container.as_str());
            let block = Block::new("data", ["aws_dms_certificate", self.name.as_str()]);
            block.with("certificate_id", Expression::text(id))
        })
    }

    fn endpoint(&self, source: Source<'_>) -> Block {
        let (kind, mode, name) = (source.connection.kind, ssl_mode(source), &self.name);
        let certificate =
            mode.starts_with("verify").then(|| format!("data.aws_dms_certificate.{name}.certificate_arn"));
        let block = Block::new("resource", ["aws_dms_endpoint", self.name.as_str()])
            .with("endpoint_id", Expression::text(names::store(self.platform, self.name.as_str())))
            .with("endpoint_type", Expression::text("source"))
            .with("engine_name", Expression::text(kind.word()))
            .with_some("database_name", database(source).map(Expression::text))
            .with("secrets_manager_arn", Expression::reference(format!("data.aws_secretsmanager_secret.{name}.arn")))
            .with("secrets_manager_access_role_arn", Expression::reference("local.dms_secrets_role_arn"))
            .with("kms_key_arn", Expression::reference("data.aws_kms_key.cell.arn"))
            .with("ssl_mode", Expression::text(mode))
            .with_some("certificate_arn", certificate.map(Expression::reference))
            .with("tags", self.tags());
        let block = match mode {
            "none" => {
                block.comment("checkov:skip=CKV2_AWS_49:the model says tls: prefer, and DMS can't prefer it with MySQL")
            }
            _ => block,
        };
        if kind != ContainerKind::Postgres {
            return block;
        }
        // A value that is too long stops its task; DMS would cut it.
        let own =
            Block::new("postgres_settings", [""; 0]).with("fail_tasks_on_lob_truncation", Expression::Boolean(true));
        block.block(match is_cdc(source) {
            // An idle source would hold back its log: the heartbeat lets the slot advance.
            true => own
                .with("heartbeat_enable", Expression::Boolean(true))
                .with("heartbeat_frequency", Expression::Integer(5)),
            false => own,
        })
    }

    fn task(&self, source: Source<'_>) -> Block {
        let (platform, name) = (self.platform, self.name.as_str());
        let instance = plain::number(&[platform, name, "instance"], self.settings.instances);
        let kind = if is_cdc(source) { "full-load-and-cdc" } else { "full-load" };
        Block::new("resource", ["aws_dms_replication_task", name])
            .with("replication_task_id", Expression::text(names::store(platform, name)))
            .with("migration_type", Expression::text(kind))
            .with(
                "replication_instance_arn",
                Expression::reference(format!(
                    "data.aws_dms_replication_instance.reader[{instance}].replication_instance_arn"
                )),
            )
            .with("source_endpoint_arn", Expression::reference(format!("aws_dms_endpoint.{name}.endpoint_arn")))
            .with("target_endpoint_arn", Expression::reference("data.aws_dms_endpoint.staging.endpoint_arn"))
            .with("table_mappings", Expression::Call("jsonencode", vec![Expression::json(&self.mappings(source))]))
            .with(
                "replication_task_settings",
                Expression::Call("jsonencode", vec![Expression::json(&task_settings(self.settings))]),
            )
            // The state machine starts it.
            .with("start_replication_task", Expression::Boolean(false))
            .with("tags", self.tags())
    }

    /// What is read, and the folder it is staged in: `staging/DATASTORE/DATASET`.
    fn mappings(&self, source: Source<'_>) -> Value {
        let mut ids = RuleIds::default();
        let mut rules = Vec::new();
        let mut schemas = BTreeSet::new();
        for (dataset, spec) in self.store.datasets() {
            let (schema, table) = split_table(source, &spec.table);
            let place = json!({ "schema-name": schema, "table-name": table });
            let mut rule = |kind: &str, name: &str, rest: Value| {
                let mut rule = json!({
                    "rule-type": kind, "rule-id": ids.next(&[dataset, name]), "rule-name": format!("{name}-{dataset}"),
                    "object-locator": place,
                });
                merge_into(&mut rule, rest);
                rules.push(rule);
            };
            rule("selection", "take", json!({ "rule-action": "explicit" }));
            rule(
                "transformation",
                "rename",
                json!({ "rule-target": "table", "rule-action": "rename", "value": dataset }),
            );
            if is_cdc(source) {
                let order = json!({
                    "rule-target": "column", "rule-action": "add-column", "value": "lv_seq",
                    "expression": "$AR_H_CHANGE_SEQ", "data-type": { "type": "string", "length": 50 },
                });
                rule("transformation", "order", order);
                // A change of a key is also the end of the old one.
                let before = json!({
                    "rule-target": "column", "rule-action": "add-before-image-columns",
                    "before-image-def": { "column-prefix": "lv_before_", "column-suffix": "", "column-filter": "pk-only" },
                });
                rule("transformation", "before", before);
            }
            schemas.insert(schema);
        }
        for schema in schemas {
            rules.push(json!({
                "rule-type": "transformation", "rule-id": ids.next(&["schema", &schema]), "rule-name": format!("schema-{}", plain::number(&[&schema], u32::MAX)),
                "rule-target": "schema", "object-locator": { "schema-name": schema },
                "rule-action": "rename", "value": self.name,
            }));
        }
        json!({ "rules": rules })
    }

    fn latency_alarm(&self) -> Block {
        let name = self.name.as_str();
        let id = names::store(self.platform, name);
        let task = Expression::Call(
            "element",
            vec![
                Expression::Call(
                    "split",
                    vec![
                        Expression::text(":"),
                        Expression::reference(format!("aws_dms_replication_task.{name}.replication_task_arn")),
                    ],
                ),
                Expression::Integer(6),
            ],
        );
        let instance = plain::number(&[self.platform, name, "instance"], self.settings.instances);
        let instance = format!("data.aws_dms_replication_instance.reader[{instance}].replication_instance_id");
        Block::new("resource", ["aws_cloudwatch_metric_alarm", name])
            .with("alarm_name", Expression::text(format!("{id}-latency")))
            .with("alarm_description", Expression::text(format!("The changes of {name} arrive late.")))
            .with("namespace", Expression::text("AWS/DMS"))
            .with("metric_name", Expression::text("CDCLatencySource"))
            .with("statistic", Expression::text("Maximum"))
            .with("period", Expression::Integer(300))
            .with("evaluation_periods", Expression::Integer(3))
            .with("comparison_operator", Expression::text("GreaterThanThreshold"))
            .with("threshold", Expression::Integer(LATENCY_ALARM_SECONDS))
            .with("treat_missing_data", Expression::text("missing"))
            .with(
                "dimensions",
                Expression::object([
                    ("ReplicationInstanceIdentifier", Expression::reference(instance)),
                    ("ReplicationTaskIdentifier", task),
                ]),
            )
            .with("alarm_actions", Expression::List(vec![Expression::reference("local.alarm_topic_arn")]))
            .with("tags", self.tags())
    }

    fn schedule(&self, label: &str, name: String, (trigger, input): (Option<&CronTrigger>, Value)) -> Block {
        let expression = match trigger {
            None => schedule::EVERY_TEN_MINUTES.to_owned(),
            // What the scheduler can't say is a finding, and nothing is rendered then.
            Some(trigger) => schedule::expression(&trigger.cron.expression).unwrap_or_default(),
        };
        let timezone = trigger.and_then(|trigger| trigger.cron.timezone.clone()).unwrap_or_else(|| "UTC".to_owned());
        let block = Block::new("resource", ["aws_scheduler_schedule", label])
            .with("name", Expression::text(name))
            .with("group_name", Expression::reference("local.name"))
            .with("schedule_expression", Expression::text(expression))
            .with("schedule_expression_timezone", Expression::text(timezone))
            .with("kms_key_arn", Expression::reference("data.aws_kms_key.home.arn"))
            .block(jitter(trigger.and_then(|trigger| trigger.jitter)))
            .block(
                Block::new("target", [""; 0])
                    .with("arn", Expression::reference("local.machine_arn"))
                    .with("role_arn", Expression::reference("local.scheduler_role_arn"))
                    .with("input", Expression::Call("jsonencode", vec![Expression::json(&input)]))
                    .block(
                        Block::new("retry_policy", [""; 0])
                            .with("maximum_event_age_in_seconds", Expression::Integer(3_600))
                            .with("maximum_retry_attempts", Expression::Integer(10)),
                    )
                    .block(
                        Block::new("dead_letter_config", [""; 0])
                            .with("arn", Expression::reference("local.dead_letter_arn")),
                    ),
            );
        home(block, self.settings, self.cell)
    }

    fn document(&self, what: &str, name: &str, key: &str, document: Expression) -> Block {
        let block = Block::new("resource", ["aws_s3_object".to_owned(), format!("{what}{name}")])
            .with("bucket", Expression::reference("local.bucket"))
            .with("key", Expression::text(key))
            .with("content_type", Expression::text("application/json"))
            .with("kms_key_id", Expression::reference("data.aws_kms_key.home.arn"))
            .with("content", Expression::Call("jsonencode", vec![document]))
            .with("tags", self.tags());
        home(block, self.settings, self.cell)
    }
}

/// Spreads ticks over so much time, in whole minutes up.
fn jitter(jitter: Option<Period>) -> Block {
    let block = Block::new("flexible_time_window", [""; 0]);
    match jitter.and_then(|jitter| jitter.approximate_seconds().checked_add(59)).map(|seconds| seconds / 60) {
        None | Some(0) => block.with("mode", Expression::text("OFF")),
        Some(minutes) => block
            .with("mode", Expression::text("FLEXIBLE"))
            .with("maximum_window_in_minutes", Expression::Integer(i64::try_from(minutes.min(1_440)).unwrap_or(1_440))),
    }
}

fn place<'a>(source: Source<'a>) -> Option<(&'a str, Option<&'a str>, Tls)> {
    match &source.connection.place {
        Place::Server { database, schema, tls, .. } => Some((database, schema.as_deref(), *tls)),
        _ => None,
    }
}

/// The database of the endpoint; MySQL's endpoints have none, their schemas are its databases.
fn database(source: Source<'_>) -> Option<String> {
    let (database, ..) = place(source)?;
    (source.connection.kind == ContainerKind::Postgres).then(|| database.to_owned())
}

/// A dataset's table as DMS locates it.
fn split_table(source: Source<'_>, table: &str) -> (String, String) {
    if let Some((schema, table)) = table.split_once('.') {
        return (schema.to_owned(), table.to_owned());
    }
    let (database, schema, _) = place(source).unwrap_or(("", None, Tls::Prefer));
    let usual = if source.connection.kind == ContainerKind::Postgres { "public" } else { database };
    (schema.unwrap_or(usual).to_owned(), table.to_owned())
}

fn ssl_mode(source: Source<'_>) -> &'static str {
    let tls = place(source).map_or(Tls::Prefer, |(_, _, tls)| tls);
    match (source.connection.kind, tls) {
        (_, Tls::VerifyFull) => "verify-full",
        (ContainerKind::Postgres, Tls::Prefer | Tls::Require) => "require",
        // DMS encrypts a connection to MySQL only where it checks the authority.
        (_, Tls::Require) => "verify-ca",
        (_, Tls::Prefer) => "none",
    }
}

fn task_settings(settings: &AwsSettings) -> Value {
    json!({
        "TargetMetadata": { "SupportLobs": true, "LimitedSizeLobMode": true, "LobMaxSize": settings.lob_kib },
        "FullLoadSettings": { "TargetTablePrepMode": "DROP_AND_CREATE", "MaxFullLoadSubTasks": 8 },
        // A table that is emptied or dropped at its source takes no staged file along: that may not be merged yet.
        "ChangeProcessingDdlHandlingPolicy": {
            "HandleSourceTableDropped": false, "HandleSourceTableTruncated": false, "HandleSourceTableAltered": true,
        },
        "ErrorBehavior": {
            "DataErrorPolicy": "SUSPEND_TABLE", "DataTruncationErrorPolicy": "SUSPEND_TABLE",
            "TableErrorPolicy": "SUSPEND_TABLE", "FullLoadIgnoreConflicts": false,
        },
        "Logging": { "EnableLogging": true },
    })
}

fn merge_into(rule: &mut Value, rest: Value) {
    if let (Some(rule), Value::Object(rest)) = (rule.as_object_mut(), rest) {
        rule.extend(rest);
    }
}

/// Numbers of rules that stay when their neighbours come and go.
#[derive(Default)]
struct RuleIds {
    taken: BTreeSet<u32>,
}

impl RuleIds {
    fn next(&mut self, of: &[&str]) -> String {
        let mut id = plain::number(of, 1_000_000_000);
        while !self.taken.insert(id) {
            id += 1;
        }
        id.to_string()
    }
}
