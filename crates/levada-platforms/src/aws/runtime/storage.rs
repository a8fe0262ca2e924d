//! The bucket with its key and rules, and the catalog's database.

use super::key::{key, key_user, key_user_as, only_role};
use crate::aws::names;
use crate::aws::roots::{bare, own_tags, policy};
use crate::aws::settings::AwsSettings;
use crate::terraform::{Block, Expression};

/// Noncurrent versions of objects are kept so long, in days.
const NONCURRENT_DAYS: i64 = 7;

/// The roles by which cells of other accounts write to staging, each behind its account. A role that is not
/// there yet can't be a principal: the account is, and its role the condition.
fn staging_roles(settings: &AwsSettings) -> Vec<(Expression, Expression)> {
    let others = settings.cells.values().filter(|cell| settings.is_elsewhere(cell));
    let role = |account: &String| {
        let arn = format!("arn:{}:iam::{account}:", settings.partition);
        let role = Expression::template(&format!("{arn}role/{{}}-dms-staging"), &["local.name"]);
        (Expression::text(format!("{arn}root")), role)
    };
    others.filter_map(|cell| cell.account.as_ref()).map(role).collect()
}

pub(super) fn storage(platform: &str, settings: &AwsSettings) -> Vec<Block> {
    let service = |name: Expression| key_user(Expression::object([("Service", name)]));
    let mut users = vec![
        service(Expression::template("logs.{}.amazonaws.com", &["local.region"])),
        service(Expression::text("cloudwatch.amazonaws.com")),
        service(Expression::text("delivery.logs.amazonaws.com")),
    ];
    for (account, role) in staging_roles(settings) {
        users.push(key_user_as(account, role));
    }
    let about = format!("Data of Levada's platform {}.", names::tag(platform));
    let mut blocks = key("data", &about, Expression::template("alias/{}", &["local.name"]), settings, users).to_vec();
    let of_bucket = |kind: &'static str| {
        Block::new("resource", [kind, "data"]).with("bucket", Expression::reference("aws_s3_bucket.data.id"))
    };
    blocks.push(
        Block::new("resource", ["aws_s3_bucket", "data"])
            .heading(
                "Who reads objects is told by CloudTrail's data events, which an organisation turns on for itself.",
            )
            .heading("trivy:ignore:AVD-AWS-0089")
            .comment("checkov:skip=CKV_AWS_18:CloudTrail's data events tell who reads objects")
            .comment("checkov:skip=CKV_AWS_144:a platform keeps its data where the model says that it lies")
            .comment("checkov:skip=CKV2_AWS_62:nothing waits for single objects")
            .with("bucket", Expression::reference("local.bucket"))
            .block(bare("lifecycle").with("prevent_destroy", Expression::Boolean(true))),
    );
    blocks.push(
        of_bucket("aws_s3_bucket_public_access_block")
            .with("block_public_acls", Expression::Boolean(true))
            .with("block_public_policy", Expression::Boolean(true))
            .with("ignore_public_acls", Expression::Boolean(true))
            .with("restrict_public_buckets", Expression::Boolean(true)),
    );
    blocks.push(
        of_bucket("aws_s3_bucket_ownership_controls")
            .block(bare("rule").with("object_ownership", Expression::text("BucketOwnerEnforced"))),
    );
    blocks.push(
        of_bucket("aws_s3_bucket_versioning")
            .block(bare("versioning_configuration").with("status", Expression::text("Enabled"))),
    );
    blocks.push(
        of_bucket("aws_s3_bucket_server_side_encryption_configuration").block(
            bare("rule").with("bucket_key_enabled", Expression::Boolean(true)).block(
                bare("apply_server_side_encryption_by_default")
                    .with("sse_algorithm", Expression::text("aws:kms"))
                    .with("kms_master_key_id", Expression::reference("aws_kms_key.data.arn")),
            ),
        ),
    );
    blocks.push(lifecycle(&of_bucket, settings));
    blocks.push(of_bucket("aws_s3_bucket_policy").with("policy", bucket_policy(settings)));
    blocks.push(
        Block::new("resource", ["aws_glue_catalog_database", "data"])
            .with("name", Expression::text(names::database(platform)))
            .with(
                "description",
                Expression::text(format!("Milestoned tables of Levada's platform {}.", names::tag(platform))),
            )
            .with("location_uri", Expression::template("s3://{}/tables", &["local.bucket"]))
            .with("tags", own_tags(&[("levada:platform", platform)]))
            .block(bare("lifecycle").with("prevent_destroy", Expression::Boolean(true))),
    );
    blocks
}

fn lifecycle(of_bucket: &impl Fn(&'static str) -> Block, settings: &AwsSettings) -> Block {
    let rule = |id: &str, prefix: &str| {
        let filter = bare("filter").with("prefix", Expression::text(prefix));
        bare("rule").with("id", Expression::text(id)).with("status", Expression::text("Enabled")).block(filter)
    };
    let expiry = |days: i64| bare("expiration").with("days", Expression::Integer(days));
    let abort = || bare("abort_incomplete_multipart_upload").with("days_after_initiation", Expression::Integer(7));
    let noncurrent =
        bare("noncurrent_version_expiration").with("noncurrent_days", Expression::Integer(NONCURRENT_DAYS));
    of_bucket("aws_s3_bucket_lifecycle_configuration")
        .block(rule("staging", "staging/").block(expiry(i64::from(settings.staging_days))).block(abort()))
        .block(rule("temporary", "temporary/").block(expiry(1)).block(abort()))
        .block(rule("old-versions", "").block(noncurrent).block(abort()))
}

fn bucket_policy(settings: &AwsSettings) -> Expression {
    let bucket = format!("arn:{}:s3:::{{}}", settings.partition);
    let both = || {
        vec![
            Expression::template(&bucket, &["local.bucket"]),
            Expression::template(&format!("{bucket}/*"), &["local.bucket"]),
        ]
    };
    let encrypted =
        Expression::object([("Bool", Expression::object([("aws:SecureTransport", Expression::text("false"))]))]);
    let mut statements = vec![Expression::object([
        ("Sid", Expression::text("OnlyEncrypted")),
        ("Effect", Expression::text("Deny")),
        ("Principal", Expression::text("*")),
        ("Action", Expression::texts(["s3:*"])),
        ("Resource", Expression::List(both())),
        ("Condition", encrypted),
    ])];
    for (number, (account, role)) in (1..).zip(staging_roles(settings)) {
        let statement = |sid: String, actions: &[&str], resource: Expression| {
            Expression::object([
                ("Sid", Expression::text(sid)),
                ("Effect", Expression::text("Allow")),
                ("Principal", Expression::object([("AWS", account.clone())])),
                ("Action", Expression::texts(actions.iter().copied())),
                ("Resource", Expression::List(vec![resource])),
                ("Condition", only_role(role.clone())),
            ])
        };
        let staging = Expression::template(&format!("{bucket}/staging/*"), &["local.bucket"]);
        let write = ["s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging"];
        statements.push(statement(format!("Staging{number}"), &write, staging));
        let list = Expression::template(&bucket, &["local.bucket"]);
        statements.push(statement(format!("StagingList{number}"), &["s3:ListBucket", "s3:GetBucketLocation"], list));
    }
    policy(statements)
}
