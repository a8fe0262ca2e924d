//! Keys, and who may use them.

use crate::aws::roots::{bare, policy};
use crate::aws::settings::AwsSettings;
use crate::terraform::{Block, Expression};

/// A key with its alias; `users` may encrypt and decrypt with it.
pub(in crate::aws) fn key(
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
pub(in crate::aws) fn key_user(principal: Expression) -> Expression {
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

/// The same for one role of an account.
pub(super) fn key_user_as(account: Expression, role: Expression) -> Expression {
    match key_user(Expression::object([("AWS", account)])) {
        Expression::Object(mut entries) => {
            entries.push(("Condition".to_owned(), only_role(role)));
            Expression::Object(entries)
        }
        other => other,
    }
}

/// A condition: this role and nobody else of its account.
pub(super) fn only_role(role: Expression) -> Expression {
    Expression::object([("ArnEquals", Expression::object([("aws:PrincipalArn", role)]))])
}
