"""Values that AWS takes and the provider's schema does not tell.

From the API references of the services; a value outside the table is an error, as it would be at AWS.
"""

ENUMS = {
    "aws_cloudwatch_metric_alarm": {
        "comparison_operator": {
            "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold",
        },
        "statistic": {"SampleCount", "Average", "Sum", "Minimum", "Maximum"},
        "treat_missing_data": {"breaching", "notBreaching", "ignore", "missing"},
    },
    "aws_dms_endpoint": {
        "endpoint_type": {"source", "target"},
        "engine_name": {"postgres", "mysql", "mariadb", "aurora", "aurora-postgresql", "sqlserver", "oracle", "db2"},
        "ssl_mode": {"none", "require", "verify-ca", "verify-full"},
    },
    "aws_dms_replication_task": {"migration_type": {"full-load", "cdc", "full-load-and-cdc"}},
    "aws_dms_s3_endpoint": {
        "data_format": {"csv", "parquet"},
        "encryption_mode": {"SSE_S3", "SSE_KMS"},
        "endpoint_type": {"source", "target"},
        "parquet_version": {"parquet-1-0", "parquet-2-0"},
        "ssl_mode": {"none", "require", "verify-ca", "verify-full"},
    },
    "aws_glue_connection": {"connection_type": {"JDBC", "NETWORK", "KAFKA", "MONGODB", "CUSTOM", "MARKETPLACE", "SNOWFLAKE"}},
    "aws_glue_job": {
        "glue_version": {"4.0", "5.0"},
        "worker_type": {"G.1X", "G.2X", "G.4X", "G.8X", "G.025X"},
        "command.name": {"glueetl", "gluestreaming", "pythonshell"},
        "command.python_version": {"3", "3.9"},
    },
    "aws_glue_security_configuration": {
        "encryption_configuration.cloudwatch_encryption.cloudwatch_encryption_mode": {"DISABLED", "SSE-KMS"},
        "encryption_configuration.job_bookmarks_encryption.job_bookmarks_encryption_mode": {"DISABLED", "CSE-KMS"},
        "encryption_configuration.s3_encryption.s3_encryption_mode": {"DISABLED", "SSE-KMS", "SSE-S3"},
    },
    "aws_s3_bucket_lifecycle_configuration": {"rule.status": {"Enabled", "Disabled"}},
    "aws_s3_bucket_ownership_controls": {
        "rule.object_ownership": {"BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"},
    },
    "aws_s3_bucket_server_side_encryption_configuration": {
        "rule.apply_server_side_encryption_by_default.sse_algorithm": {"AES256", "aws:kms", "aws:kms:dsse"},
    },
    "aws_s3_bucket_versioning": {"versioning_configuration.status": {"Enabled", "Suspended", "Disabled"}},
    "aws_scheduler_schedule": {"flexible_time_window.mode": {"OFF", "FLEXIBLE"}, "state": {"ENABLED", "DISABLED"}},
    "aws_sfn_state_machine": {
        "type": {"STANDARD", "EXPRESS"},
        "logging_configuration.level": {"ALL", "ERROR", "FATAL", "OFF"},
        "encryption_configuration.type": {"AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"},
    },
}


def wrong(type_name, config):
    """Every argument whose value is none that AWS takes, as (path, value, allowed)."""
    for path, allowed in ENUMS.get(type_name, {}).items():
        for value in _at(config, path.split(".")):
            if isinstance(value, str) and value not in allowed:
                yield path, value, sorted(allowed)


def _at(value, path):
    if value is None:
        return
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        yield from _at(value.get(path[0]), path[1:])
