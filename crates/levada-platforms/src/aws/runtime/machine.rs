//! The one state machine and the group of schedules that start it.

use crate::aws::roots::{allow, bare, from_account, policy, role};
use crate::aws::settings::AwsSettings;
use crate::terraform::{Block, Expression};

pub(super) fn machine(settings: &AwsSettings) -> Vec<Block> {
    let mut blocks = vec![
        Block::new("resource", ["aws_cloudwatch_log_group", "machine"])
            .with("name", Expression::template("/aws/vendedlogs/states/{}", &["local.name"]))
            .with("retention_in_days", Expression::Integer(i64::from(settings.log_days)))
            .with("kms_key_id", Expression::reference("aws_kms_key.data.arn")),
    ];
    let trust = |service: &str| Expression::text(service);
    let condition = || Some(from_account("local.account"));
    blocks.extend(role("machine", "machine", trust("states.amazonaws.com"), condition(), machine_rights(settings)));
    blocks.push(loads());
    let values = Expression::object([
        ("bucket", Expression::reference("local.bucket")),
        ("job", Expression::reference("aws_glue_job.job.name")),
        ("loads", Expression::reference("aws_dynamodb_table.loads.name")),
        ("partition", Expression::text(&settings.partition)),
    ]);
    let definition = vec![Expression::template("{}/machine.asl.json", &["path.module"]), values];
    blocks.push(
        Block::new("resource", ["aws_sfn_state_machine", "machine"])
            .with("name", Expression::reference("local.name"))
            .with("type", Expression::text("STANDARD"))
            .with("role_arn", Expression::reference("aws_iam_role.machine.arn"))
            .with("definition", Expression::Call("templatefile", definition))
            .block(
                bare("logging_configuration")
                    .with("include_execution_data", Expression::Boolean(true))
                    .with("level", Expression::text("ALL"))
                    .with("log_destination", Expression::template("{}:*", &["aws_cloudwatch_log_group.machine.arn"])),
            )
            .block(bare("tracing_configuration").with("enabled", Expression::Boolean(true)))
            .block(
                bare("encryption_configuration")
                    .with("type", Expression::text("CUSTOMER_MANAGED_KMS_KEY"))
                    .with("kms_key_id", Expression::reference("aws_kms_key.data.arn"))
                    .with("kms_data_key_reuse_period_seconds", Expression::Integer(900)),
            ),
    );
    let rights = policy(vec![
        allow(&["states:StartExecution"], vec![Expression::reference("aws_sfn_state_machine.machine.arn")]),
        allow(&["sqs:SendMessage"], vec![Expression::reference("aws_sqs_queue.dead_letter.arn")]),
        allow(&["kms:Decrypt", "kms:GenerateDataKey"], vec![Expression::reference("aws_kms_key.data.arn")]),
    ]);
    blocks.extend(role("scheduler", "scheduler", trust("scheduler.amazonaws.com"), condition(), rights));
    blocks.push(
        Block::new("resource", ["aws_scheduler_schedule_group", "stores"])
            .with("name", Expression::reference("local.name")),
    );
    blocks.push(maintenance());
    blocks
}

/// Which execution loads a datastore, or did last: a row a datastore.
fn loads() -> Block {
    Block::new("resource", ["aws_dynamodb_table", "loads"])
        .with("name", Expression::template("{}-loads", &["local.name"]))
        .with("billing_mode", Expression::text("PAY_PER_REQUEST"))
        .with("hash_key", Expression::text("store"))
        .with("deletion_protection_enabled", Expression::Boolean(true))
        .block(bare("attribute").with("name", Expression::text("store")).with("type", Expression::text("S")))
        .block(bare("point_in_time_recovery").with("enabled", Expression::Boolean(true)))
        .block(
            bare("server_side_encryption")
                .with("enabled", Expression::Boolean(true))
                .with("kms_key_arn", Expression::reference("aws_kms_key.data.arn")),
        )
}

fn machine_rights(settings: &AwsSettings) -> Expression {
    let partition = &settings.partition;
    let control = Expression::template(&format!("arn:{partition}:s3:::{{}}/control/machine/*"), &["local.bucket"]);
    let itself = Expression::reference("local.machine_arn");
    let executions = Expression::template("{}:*", &["local.execution_arn"]);
    policy(vec![
        allow(&["s3:GetObject"], vec![control]),
        allow(&["kms:Decrypt", "kms:GenerateDataKey"], vec![Expression::reference("aws_kms_key.data.arn")]),
        // Tasks are asked and started in the account of their cell.
        allow(&["sts:AssumeRole"], operators(settings)),
        allow(
            &["glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"],
            vec![Expression::reference("aws_glue_job.job.arn")],
        ),
        allow(&["states:StartExecution"], vec![itself]),
        allow(&["states:DescribeExecution"], vec![executions]),
        allow(&["dynamodb:GetItem", "dynamodb:PutItem"], vec![Expression::reference("aws_dynamodb_table.loads.arn")]),
        // These have no resources to name: the delivery of logs and traces.
        allow(
            &[
                "logs:CreateLogDelivery",
                "logs:GetLogDelivery",
                "logs:UpdateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:DescribeResourcePolicies",
                "logs:DescribeLogGroups",
                "xray:PutTraceSegments",
                "xray:PutTelemetryRecords",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
            ],
            vec![Expression::text("*")],
        ),
    ])
}

/// The roles of all cells by which their tasks are started.
fn operators(settings: &AwsSettings) -> Vec<Expression> {
    let partition = &settings.partition;
    let mut accounts: Vec<Option<&String>> = settings.cells.values().map(|cell| cell.account.as_ref()).collect();
    accounts.sort();
    accounts.dedup();
    let operator = |account: Option<&String>| match account {
        Some(account) => {
            Expression::template(&format!("arn:{partition}:iam::{account}:role/{{}}-dms-operator"), &["local.name"])
        }
        None => Expression::template(
            &format!("arn:{partition}:iam::{{}}:role/{{}}-dms-operator"),
            &["local.account", "local.name"],
        ),
    };
    accounts.into_iter().map(operator).collect()
}

/// Every night: compaction, and what nobody is owed any more goes.
fn maintenance() -> Block {
    let input = Expression::Call("jsonencode", vec![Expression::object([("maintain", Expression::Boolean(true))])]);
    Block::new("resource", ["aws_scheduler_schedule", "maintenance"])
        .with("name", Expression::template("{}-maintenance", &["local.name"]))
        .with("group_name", Expression::reference("aws_scheduler_schedule_group.stores.name"))
        .with("schedule_expression", Expression::text("cron(0 3 * * ? *)"))
        .with("schedule_expression_timezone", Expression::text("UTC"))
        .with("kms_key_arn", Expression::reference("aws_kms_key.data.arn"))
        .block(
            bare("flexible_time_window")
                .with("mode", Expression::text("FLEXIBLE"))
                .with("maximum_window_in_minutes", Expression::Integer(60)),
        )
        .block(
            bare("target")
                .with("arn", Expression::reference("aws_sfn_state_machine.machine.arn"))
                .with("role_arn", Expression::reference("aws_iam_role.scheduler.arn"))
                .with("input", input)
                .block(bare("dead_letter_config").with("arn", Expression::reference("aws_sqs_queue.dead_letter.arn"))),
        )
}
