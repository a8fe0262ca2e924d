//! The one job: its program, what it may do, and what every run is told.

use crate::aws::roots::{allow, bare, from_account, policy, role};
use crate::aws::settings::AwsSettings;
use crate::terraform::{Block, Expression};

/// The runtime of the job; it brings Spark 3.5 and Iceberg.
const GLUE_VERSION: &str = "5.0";
/// How the program speaks to PostgreSQL, Redshift and Snowflake.
const PYTHON_MODULES: &str = "pg8000==1.31.5,redshift-connector==2.1.8,snowflake-connector-python==3.17.4";

pub(super) fn job(settings: &AwsSettings) -> Vec<Block> {
    let mut blocks = vec![
        Block::new("resource", ["aws_s3_object", "program"])
            .with("bucket", Expression::reference("aws_s3_bucket.data.id"))
            .with("key", Expression::text("programs/levada_job.py"))
            .with("content_type", Expression::text("text/x-python"))
            .with("kms_key_id", Expression::reference("aws_kms_key.data.arn"))
            .with(
                "content",
                Expression::Call("file", vec![Expression::template("{}/levada_job.py", &["path.module"])]),
            ),
        security(),
        Block::new("resource", ["aws_glue_connection", "network"])
            .with("name", Expression::reference("local.name"))
            .with("connection_type", Expression::text("NETWORK"))
            .block(
                bare("physical_connection_requirements")
                    .with("availability_zone", Expression::reference("var.availability_zone"))
                    .with("subnet_id", Expression::reference("var.subnet_id"))
                    .with(
                        "security_group_id_list",
                        Expression::List(vec![Expression::reference("var.security_group_id")]),
                    ),
            ),
    ];
    blocks.extend(role(
        "job",
        "job",
        Expression::text("glue.amazonaws.com"),
        Some(from_account("local.account")),
        job_rights(settings),
    ));
    blocks.push(
        Block::new("resource", ["aws_glue_job", "job"])
            .with("name", Expression::reference("local.name"))
            .with("role_arn", Expression::reference("aws_iam_role.job.arn"))
            .with("glue_version", Expression::text(GLUE_VERSION))
            .with("worker_type", Expression::text(&settings.worker_type))
            .with("number_of_workers", Expression::Integer(i64::from(settings.workers)))
            .with("timeout", Expression::Integer(i64::from(settings.run_minutes)))
            // The state machine tries again where that helps.
            .with("max_retries", Expression::Integer(0))
            .with("security_configuration", Expression::reference("aws_glue_security_configuration.job.name"))
            .with("connections", Expression::List(vec![Expression::reference("aws_glue_connection.network.name")]))
            .with("default_arguments", job_arguments())
            .block(
                bare("command")
                    .with("name", Expression::text("glueetl"))
                    .with("python_version", Expression::text("3"))
                    .with(
                        "script_location",
                        Expression::template("s3://{}/{}", &["local.bucket", "aws_s3_object.program.key"]),
                    ),
            )
            .block(
                bare("execution_property")
                    .with("max_concurrent_runs", Expression::Integer(i64::from(settings.runs_max))),
            ),
    );
    blocks
}

fn security() -> Block {
    let key = || Expression::reference("aws_kms_key.data.arn");
    Block::new("resource", ["aws_glue_security_configuration", "job"])
        .with("name", Expression::reference("local.name"))
        .block(
            bare("encryption_configuration")
                .block(
                    bare("cloudwatch_encryption")
                        .with("cloudwatch_encryption_mode", Expression::text("SSE-KMS"))
                        .with("kms_key_arn", key()),
                )
                .block(
                    bare("job_bookmarks_encryption")
                        .with("job_bookmarks_encryption_mode", Expression::text("CSE-KMS"))
                        .with("kms_key_arn", key()),
                )
                .block(
                    bare("s3_encryption")
                        .with("s3_encryption_mode", Expression::text("SSE-KMS"))
                        .with("kms_key_arn", key()),
                ),
        )
}

/// The catalog is called `levada` in the program.
fn job_arguments() -> Expression {
    let catalog = "spark.sql.catalog.levada";
    let confs = [
        "spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions".to_owned(),
        format!("{catalog}=org.apache.iceberg.spark.SparkCatalog"),
        format!("{catalog}.type=glue"),
        // What another run has just committed must be seen.
        format!("{catalog}.cache-enabled=false"),
        format!("{catalog}.io-impl=org.apache.iceberg.aws.s3.S3FileIO"),
        format!("{catalog}.warehouse=s3://{{}}/tables"),
        "spark.sql.session.timeZone=UTC".to_owned(),
        "spark.sql.ansi.enabled=true".to_owned(),
    ];
    Expression::object([
        ("--datalake-formats", Expression::text("iceberg")),
        ("--conf", Expression::template(&confs.join(" --conf "), &["local.bucket"])),
        ("--additional-python-modules", Expression::text(PYTHON_MODULES)),
        ("--enable-metrics", Expression::text("true")),
        ("--enable-continuous-cloudwatch-log", Expression::text("true")),
        ("--enable-job-insights", Expression::text("false")),
        ("--TempDir", Expression::template("s3://{}/temporary/", &["local.bucket"])),
        ("--base", Expression::template("s3://{}", &["local.bucket"])),
        ("--database", Expression::reference("aws_glue_catalog_database.data.name")),
    ])
}

fn job_rights(settings: &AwsSettings) -> Expression {
    let partition = &settings.partition;
    let bucket = format!("arn:{partition}:s3:::{{}}");
    let in_bucket = |path: &str| Expression::template(&format!("{bucket}/{path}"), &["local.bucket"]);
    let regional = |words: &str, last: &str| {
        Expression::template(&format!("arn:{partition}:{words}"), &["local.region", "local.account", last])
    };
    let in_network = |of: &str| {
        Expression::template(&format!("arn:{partition}:ec2:{{}}:{{}}:{of}"), &["local.region", "local.account"])
    };
    let secret = format!("arn:{partition}:secretsmanager:{{}}:{{}}:secret:{}*", settings.secret_prefix);
    policy(vec![
        allow(&["s3:GetObject"], ["control/*", "programs/*", "staging/*"].map(in_bucket).to_vec()),
        allow(
            &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            ["tables/*", "temporary/*", "staging/*", "temporary_$folder$", "staging_$folder$"].map(in_bucket).to_vec(),
        ),
        allow(&["s3:ListBucket", "s3:GetBucketLocation"], vec![Expression::template(&bucket, &["local.bucket"])]),
        allow(&["kms:Decrypt", "kms:GenerateDataKey"], vec![Expression::reference("aws_kms_key.data.arn")]),
        allow(
            &[
                "glue:GetDatabase",
                "glue:GetDatabases",
                "glue:GetTable",
                "glue:GetTables",
                "glue:CreateTable",
                "glue:UpdateTable",
                "glue:DeleteTable",
                "glue:GetConnection",
            ],
            vec![
                Expression::template(
                    &format!("arn:{partition}:glue:{{}}:{{}}:catalog"),
                    &["local.region", "local.account"],
                ),
                regional("glue:{}:{}:database/{}", "aws_glue_catalog_database.data.name"),
                regional("glue:{}:{}:table/{}/*", "aws_glue_catalog_database.data.name"),
                regional("glue:{}:{}:connection/{}", "local.name"),
            ],
        ),
        allow(
            &["secretsmanager:GetSecretValue"],
            vec![Expression::template(&secret, &["local.region", "local.account"])],
        ),
        allow(
            &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"],
            vec![Expression::template(
                &format!("arn:{partition}:logs:{{}}:{{}}:log-group:/aws-glue/*"),
                &["local.region", "local.account"],
            )],
        ),
        Expression::object([
            ("Effect", Expression::text("Allow")),
            ("Action", Expression::texts(["cloudwatch:PutMetricData"])),
            ("Resource", Expression::texts(["*"])),
            (
                "Condition",
                Expression::object([(
                    "StringEquals",
                    Expression::object([("cloudwatch:namespace", Expression::text("Glue"))]),
                )]),
            ),
        ]),
        allow(
            &["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:CreateTags"],
            ["network-interface/*", "subnet/*", "security-group/*"].map(in_network).to_vec(),
        ),
        allow(
            &[
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcEndpoints",
                "ec2:DescribeRouteTables",
            ],
            vec![Expression::text("*")],
        ),
        allow(&["ec2:DescribeVpcAttribute"], vec![in_network("vpc/*")]),
    ])
}
