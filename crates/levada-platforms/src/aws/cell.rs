//! A cell: the account that reads sources, with the instances that do it and the way to staging.

use super::roots::{Root, allow, from_account, home, policy, role, trusted_role};
use super::runtime;
use super::settings::{AwsSettings, Cell};
use crate::terraform::{Block, Expression, print};
use levada_model::model::PlatformEntry;

/// The longest that changes wait before they are staged, in seconds.
const STAGING_SECONDS: i64 = 60;

/// The files of one cell.
pub(super) fn files(entry: &PlatformEntry, settings: &AwsSettings, name: &str, cell: &Cell) -> Vec<(String, String)> {
    let folder = format!("cells/{name}");
    let root = Root { entry, settings, folder: folder.clone(), cell: Some(cell) };
    let mut blocks = root.header();
    blocks.push(list_variable("subnet_ids", "The subnets, in two zones at least, from which the sources are reached."));
    blocks.push(list_variable("security_group_ids", "What lets the replication instances out to the sources."));
    let home_key =
        Block::new("data", ["aws_kms_key", "home"]).with("key_id", Expression::template("alias/{}", &["local.name"]));
    blocks.push(home(home_key, settings, cell));
    blocks.extend(key(settings));
    if settings.is_elsewhere(cell) {
        // Alarms tell a topic of their own account.
        blocks.push(runtime::topic("aws_kms_key.cell.arn"));
    }
    blocks.extend(roles(settings));
    blocks.extend(instances(settings));
    blocks.push(staging());
    vec![(format!("{folder}/main.tf"), print(&blocks))]
}

fn list_variable(name: &'static str, description: &str) -> Block {
    Block::new("variable", [name])
        .with("type", Expression::Call("list", vec![Expression::reference("string")]))
        .with("description", Expression::text(description))
}

/// A key of the account's own, for its instances' disks, endpoints and alarms.
fn key(settings: &AwsSettings) -> [Block; 2] {
    let services =
        vec![runtime::key_user(Expression::object([("Service", Expression::text("cloudwatch.amazonaws.com"))]))];
    let about = "What reads sources for Levada.";
    runtime::key("cell", about, Expression::template("alias/{}-cell", &["local.name"]), settings, services)
}

fn roles(settings: &AwsSettings) -> Vec<Block> {
    let partition = &settings.partition;
    let service = || Expression::template("dms.{}.amazonaws.com", &["local.region"]);
    let secret = format!("arn:{partition}:secretsmanager:{{}}:{{}}:secret:{}*", settings.secret_prefix);
    let secrets = policy(vec![
        allow(
            &["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
            vec![Expression::template(&secret, &["local.region", "local.own_account"])],
        ),
        allow(&["kms:Decrypt"], vec![Expression::reference("aws_kms_key.cell.arn")]),
    ]);
    let bucket = format!("arn:{partition}:s3:::{{}}");
    let objects = format!("{bucket}/staging/*");
    let staging = policy(vec![
        allow(
            &["s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging"],
            vec![Expression::template(&objects, &["local.bucket"])],
        ),
        allow(&["s3:ListBucket", "s3:GetBucketLocation"], vec![Expression::template(&bucket, &["local.bucket"])]),
        allow(&["kms:GenerateDataKey", "kms:Decrypt"], vec![Expression::reference("data.aws_kms_key.home.arn")]),
    ]);
    let account = || Some(from_account("local.own_account"));
    let mut blocks = Vec::new();
    blocks.extend(role("dms_secrets", "dms-secrets", service(), account(), secrets));
    blocks.extend(operator(settings));
    blocks.extend(role("dms_staging", "dms-staging", Expression::text("dms.amazonaws.com"), account(), staging));
    blocks
}

/// What the state machine, which may live in another account, does with tasks.
fn operator(settings: &AwsSettings) -> [Block; 2] {
    let partition = &settings.partition;
    let tasks = format!("arn:{partition}:dms:{{}}:{{}}:task:*");
    let rights = policy(vec![
        allow(
            &["dms:StartReplicationTask"],
            vec![Expression::template(&tasks, &["local.region", "local.own_account"])],
        ),
        // There are no tasks to name in a question for some.
        allow(&["dms:DescribeReplicationTasks"], vec![Expression::text("*")]),
    ]);
    let principal = Expression::object([("AWS", Expression::reference("local.machine_role_arn"))]);
    trusted_role("dms_operator", "dms-operator", principal, None, rights)
}

fn instances(settings: &AwsSettings) -> [Block; 2] {
    let subnets = Block::new("resource", ["aws_dms_replication_subnet_group", "reader"])
        .with("replication_subnet_group_id", Expression::reference("local.name"))
        .with("replication_subnet_group_description", Expression::text("From where Levada reads sources."))
        .with("subnet_ids", Expression::reference("var.subnet_ids"));
    let instance = Block::new("resource", ["aws_dms_replication_instance", "reader"])
        .with("count", Expression::Integer(i64::from(settings.instances)))
        .with("replication_instance_id", Expression::template("{}-{}", &["local.name", "count.index"]))
        .with("replication_instance_class", Expression::text(&settings.instance_class))
        .with("allocated_storage", Expression::Integer(i64::from(settings.instance_gib)))
        .with("replication_subnet_group_id", Expression::reference("aws_dms_replication_subnet_group.reader.id"))
        .with("vpc_security_group_ids", Expression::reference("var.security_group_ids"))
        .with("kms_key_arn", Expression::reference("aws_kms_key.cell.arn"))
        .with("publicly_accessible", Expression::Boolean(false))
        .with("multi_az", Expression::Boolean(true))
        .with("auto_minor_version_upgrade", Expression::Boolean(true))
        .with("allow_major_version_upgrade", Expression::Boolean(false));
    [subnets, instance]
}

/// `staging/DATASTORE/DATASET/…` of the platform's bucket, for all tasks of the cell.
fn staging() -> Block {
    Block::new("resource", ["aws_dms_s3_endpoint", "staging"])
        .with("endpoint_id", Expression::template("{}-staging", &["local.name"]))
        .with("endpoint_type", Expression::text("target"))
        .with("bucket_name", Expression::reference("local.bucket"))
        .with("bucket_folder", Expression::text("staging"))
        .with("expected_bucket_owner", Expression::reference("local.account"))
        .with("service_access_role_arn", Expression::reference("aws_iam_role.dms_staging.arn"))
        .with("encryption_mode", Expression::text("SSE_KMS"))
        .with("server_side_encryption_kms_key_id", Expression::reference("data.aws_kms_key.home.arn"))
        .with("kms_key_arn", Expression::reference("aws_kms_key.cell.arn"))
        .with("ssl_mode", Expression::text("none"))
        .with("data_format", Expression::text("parquet"))
        .with("parquet_version", Expression::text("parquet-2-0"))
        .with("parquet_timestamp_in_millisecond", Expression::Boolean(false))
        .with("include_op_for_full_load", Expression::Boolean(true))
        .with("timestamp_column_name", Expression::text("lv_staged_at"))
        .with("cdc_max_batch_interval", Expression::Integer(STAGING_SECONDS))
}
