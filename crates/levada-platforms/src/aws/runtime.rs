//! What all stores of a platform share: the bucket and its key, the catalog's database, one job, one state
//! machine, one group of schedules, and whoever is told when something fails.

use super::names;
use super::roots::{Root, allow, bare, from_account, own_tags, policy, role, variable};
use super::settings::AwsSettings;
use crate::terraform::{Block, Expression, print};
use levada_model::model::PlatformEntry;

/// The state machine, with places for what only Terraform knows.
const MACHINE: &str = include_str!("machine.asl.json");
/// The program of the job: everything that is done with data.
const PROGRAM: &str = include_str!("program/levada_job.py");
/// The runtime of the job; it brings Spark 3.5 and Iceberg.
const GLUE_VERSION: &str = "5.0";
/// How the program speaks to PostgreSQL, Redshift and Snowflake.
const PYTHON_MODULES: &str = "pg8000==1.31.5,redshift-connector==2.1.8,snowflake-connector-python==3.17.4";
/// Noncurrent versions of objects are kept so long, in days.
const NONCURRENT_DAYS: i64 = 7;

/// The files of the shared root.
pub(super) fn files(entry: &PlatformEntry, settings: &AwsSettings) -> Vec<(String, String)> {
    let root = Root { entry, settings, folder: "platform".to_owned(), cell: None };
    let platform = entry.name.as_str();
    let mut header = root.header();
    header
        .push(variable("subnet_id", "The subnet, in availability_zone, from which consumers' databases are reached."));
    header.push(variable("availability_zone", "The zone of that subnet."));
    header.push(variable(
        "security_group_id",
        "What lets the job out to consumers' databases, and its workers to each other.",
    ));
    let file = |name: &str, blocks: &[Block]| (format!("platform/{name}.tf"), print(blocks));
    vec![
        file("main", &header),
        file("storage", &storage(platform, settings)),
        file("job", &job(settings)),
        file("machine", &machine(settings)),
        file("alarms", &alarms()),
        ("platform/machine.asl.json".to_owned(), MACHINE.to_owned()),
        ("platform/levada_job.py".to_owned(), PROGRAM.to_owned()),
    ]
}

/// A key with its alias; `users` may encrypt and decrypt with it.
pub(super) fn key(
    label: &'static str,
    about: &str,
    alias: Expression,
    settings: &AwsSettings,
    users: Vec<Expression>,
) -> [Block; 2] {
    let partition = &settings.partition;
    let root = Expression::template(&format!("arn:{partition}:iam::{{}}:root"), &["local.own_account"]);
    let mut statements = vec![Expression::object([
        ("Sid", Expression::text("Administration")),
        ("Effect", Expression::text("Allow")),
        ("Principal", Expression::object([("AWS", root)])),
        ("Action", Expression::texts(["kms:*"])),
        ("Resource", Expression::texts(["*"])),
    ])];
    statements.extend(users);
    let key = Block::new("resource", ["aws_kms_key", label])
        .with("description", Expression::text(about))
        .with("enable_key_rotation", Expression::Boolean(true))
        .with("deletion_window_in_days", Expression::Integer(30))
        .with("policy", policy(statements))
        .block(bare("lifecycle").with("prevent_destroy", Expression::Boolean(true)));
    let alias = Block::new("resource", ["aws_kms_alias", label])
        .with("name", alias)
        .with("target_key_id", Expression::reference(format!("aws_kms_key.{label}.key_id")));
    [key, alias]
}

/// A statement of a key's policy: who may encrypt and decrypt.
pub(super) fn key_user(principal: Expression) -> Expression {
    Expression::object([
        ("Effect", Expression::text("Allow")),
        ("Principal", principal),
        (
            "Action",
            Expression::texts([
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncrypt*",
                "kms:GenerateDataKey*",
                "kms:DescribeKey",
            ]),
        ),
        ("Resource", Expression::texts(["*"])),
    ])
}

/// The topic that alarms tell.
pub(super) fn topic(key: &str) -> Block {
    Block::new("resource", ["aws_sns_topic", "alarms"])
        .with("name", Expression::template("{}-alarms", &["local.name"]))
        .with("kms_master_key_id", Expression::reference(key))
}

/// The roles by which cells of other accounts write to staging.
fn staging_roles(settings: &AwsSettings) -> Vec<Expression> {
    let others =
        settings.cells.values().filter(|cell| settings.is_elsewhere(cell)).filter_map(|cell| cell.account.as_ref());
    let role = |account: &String| {
        let words = format!("arn:{}:iam::{account}:role/{{}}-dms-staging", settings.partition);
        Expression::template(&words, &["local.name"])
    };
    others.map(role).collect()
}

fn storage(platform: &str, settings: &AwsSettings) -> Vec<Block> {
    let service = |name: Expression| key_user(Expression::object([("Service", name)]));
    let mut users = vec![
        service(Expression::template("logs.{}.amazonaws.com", &["local.region"])),
        service(Expression::text("cloudwatch.amazonaws.com")),
    ];
    let roles = staging_roles(settings);
    if !roles.is_empty() {
        users.push(key_user(Expression::object([("AWS", Expression::List(roles.clone()))])));
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
    blocks.push(of_bucket("aws_s3_bucket_policy").with("policy", bucket_policy(roles, settings)));
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

fn bucket_policy(roles: Vec<Expression>, settings: &AwsSettings) -> Expression {
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
    if !roles.is_empty() {
        let principal = || Expression::object([("AWS", Expression::List(roles.clone()))]);
        let statement = |sid: &str, actions: &[&str], resource: Expression| {
            Expression::object([
                ("Sid", Expression::text(sid)),
                ("Effect", Expression::text("Allow")),
                ("Principal", principal()),
                ("Action", Expression::texts(actions.iter().copied())),
                ("Resource", Expression::List(vec![resource])),
            ])
        };
        let staging = Expression::template(&format!("{bucket}/staging/*"), &["local.bucket"]);
        statements.push(statement("Staging", &["s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging"], staging));
        let list = Expression::template(&bucket, &["local.bucket"]);
        statements.push(statement("StagingList", &["s3:ListBucket", "s3:GetBucketLocation"], list));
    }
    policy(statements)
}

fn job(settings: &AwsSettings) -> Vec<Block> {
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
            ["tables/*", "temporary/*", "staging/*"].map(in_bucket).to_vec(),
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

fn machine(settings: &AwsSettings) -> Vec<Block> {
    let mut blocks = vec![
        Block::new("resource", ["aws_cloudwatch_log_group", "machine"])
            .with("name", Expression::template("/aws/vendedlogs/states/{}", &["local.name"]))
            .with("retention_in_days", Expression::Integer(i64::from(settings.log_days)))
            .with("kms_key_id", Expression::reference("aws_kms_key.data.arn")),
    ];
    let trust = |service: &str| Expression::text(service);
    let condition = || Some(from_account("local.account"));
    blocks.extend(role("machine", "machine", trust("states.amazonaws.com"), condition(), machine_rights(settings)));
    let values = Expression::object([
        ("bucket", Expression::reference("local.bucket")),
        ("job", Expression::reference("aws_glue_job.job.name")),
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

fn machine_rights(settings: &AwsSettings) -> Expression {
    let partition = &settings.partition;
    let control = Expression::template(&format!("arn:{partition}:s3:::{{}}/control/machine/*"), &["local.bucket"]);
    let itself = Expression::reference("local.machine_arn");
    let tasks =
        Expression::template(&format!("arn:{partition}:dms:{{}}:{{}}:task:*"), &["local.region", "local.account"]);
    policy(vec![
        allow(&["s3:GetObject"], vec![control]),
        allow(&["kms:Decrypt", "kms:GenerateDataKey"], vec![Expression::reference("aws_kms_key.data.arn")]),
        allow(&["dms:StartReplicationTask"], vec![tasks]),
        allow(
            &["glue:StartJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"],
            vec![Expression::reference("aws_glue_job.job.arn")],
        ),
        allow(&["states:StartExecution"], vec![itself]),
        // These have no resources to name: a description of tasks, and the delivery of logs and traces.
        allow(
            &[
                "dms:DescribeReplicationTasks",
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

fn alarms() -> Vec<Block> {
    let queue = Block::new("resource", ["aws_sqs_queue", "dead_letter"])
        .with("name", Expression::template("{}-dead-letter", &["local.name"]))
        .with("kms_master_key_id", Expression::reference("aws_kms_key.data.arn"))
        .with("message_retention_seconds", Expression::Integer(1_209_600));
    let alarm = |label: &'static str, about: &str, metric: (&str, &str), dimension: (&str, &str), statistic: &str| {
        Block::new("resource", ["aws_cloudwatch_metric_alarm", label])
            .with("alarm_name", Expression::template(&format!("{{}}-{}", label.replace('_', "-")), &["local.name"]))
            .with("alarm_description", Expression::text(about))
            .with("namespace", Expression::text(metric.0))
            .with("metric_name", Expression::text(metric.1))
            .with("dimensions", Expression::object([(dimension.0, Expression::reference(dimension.1))]))
            .with("statistic", Expression::text(statistic))
            .with("period", Expression::Integer(300))
            .with("evaluation_periods", Expression::Integer(1))
            .with("comparison_operator", Expression::text("GreaterThanThreshold"))
            .with("threshold", Expression::Integer(0))
            .with("treat_missing_data", Expression::text("notBreaching"))
            .with("alarm_actions", Expression::List(vec![Expression::reference("aws_sns_topic.alarms.arn")]))
    };
    let machine = ("StateMachineArn", "aws_sfn_state_machine.machine.arn");
    vec![
        topic("aws_kms_key.data.arn"),
        queue,
        alarm(
            "runs_failed",
            "A run failed: its execution says where.",
            ("AWS/States", "ExecutionsFailed"),
            machine,
            "Sum",
        ),
        alarm("runs_timed_out", "A run took longer than it may.", ("AWS/States", "ExecutionsTimedOut"), machine, "Sum"),
        alarm(
            "ticks_lost",
            "A schedule could not start its run.",
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
            ("QueueName", "aws_sqs_queue.dead_letter.name"),
            "Maximum",
        ),
    ]
}
