//! Who is told when a run fails or a tick is lost.

use crate::terraform::{Block, Expression};

/// The topic that alarms tell.
pub(in crate::aws) fn topic(key: &str) -> Block {
    Block::new("resource", ["aws_sns_topic", "alarms"])
        .with("name", Expression::template("{}-alarms", &["local.name"]))
        .with("kms_master_key_id", Expression::reference(key))
}

pub(super) fn alarms() -> Vec<Block> {
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
