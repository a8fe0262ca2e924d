//! What every Terraform root of a platform begins with: its state, its provider, its variables, and the
//! names by which it finds what the other roots made.

use super::names;
use super::settings::{AwsSettings, Cell};
use crate::plain;
use crate::terraform::{Block, Expression};
use levada_model::model::PlatformEntry;

/// The provider that the files are rendered for, and checked against.
const PROVIDER_VERSION: &str = "~> 6.66";
/// The state's lock lies beside it from this version on.
const TERRAFORM_VERSION: &str = ">= 1.10";

/// One root.
pub(super) struct Root<'a> {
    pub entry: &'a PlatformEntry,
    pub settings: &'a AwsSettings,
    /// Its folder, which its state is called by.
    pub folder: String,
    /// Whose account it is applied in; `None`: the platform's own.
    pub cell: Option<&'a Cell>,
}

impl Root<'_> {
    /// The blocks of its `main.tf`.
    pub fn header(&self) -> Vec<Block> {
        let mut blocks = vec![self.terraform()];
        blocks.extend(self.variables());
        blocks.push(self.provider());
        if let Some(cell) = self.cell.filter(|cell| self.settings.is_elsewhere(cell)) {
            blocks.extend(self.home_provider(cell));
        }
        blocks.push(self.locals());
        blocks
    }

    fn prefix(&self) -> String {
        plain::prefix(self.entry.name.as_str())
    }

    fn terraform(&self) -> Block {
        let source = Expression::object([
            ("source", Expression::text("hashicorp/aws")),
            ("version", Expression::text(PROVIDER_VERSION)),
        ]);
        let state = format!("{}/{}.tfstate", self.prefix(), self.folder);
        bare("terraform")
            .with("required_version", Expression::text(TERRAFORM_VERSION))
            .block(bare("required_providers").with("aws", source))
            .block(
                Block::new("backend", ["s3"])
                    .with("key", Expression::text(state))
                    .with("encrypt", Expression::Boolean(true))
                    .with("use_lockfile", Expression::Boolean(true)),
            )
    }

    fn variables(&self) -> Vec<Block> {
        let mut variables = Vec::new();
        if self.settings.region.is_none() {
            variables.push(variable(
                "region",
                "The region of the platform: settings.region, or settings.regions for its location.",
            ));
        }
        if self.settings.account.is_none() {
            variables.push(variable("account_id", "The account of the platform: settings.account."));
        }
        variables
    }

    fn provider(&self) -> Block {
        let tags = [("levada:platform", self.entry.name.as_str())].into_iter();
        let own = self.settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Block::new("provider", ["aws"])
            .with("region", Expression::reference("local.region"))
            .with("allowed_account_ids", Expression::List(vec![Expression::reference("local.own_account")]))
            .block(bare("default_tags").with("tags", own_tags(&tags.chain(own).collect::<Vec<_>>())))
    }

    /// The platform's own account, from a cell's.
    fn home_provider(&self, _: &Cell) -> [Block; 2] {
        let role = "local.home_role_arn";
        let provider = Block::new("provider", ["aws"])
            .with("alias", Expression::text("home"))
            .with("region", Expression::reference("local.region"))
            .with("allowed_account_ids", Expression::List(vec![Expression::reference("local.account")]))
            .block(bare("assume_role").with("role_arn", Expression::reference(role)));
        let variable = Block::new("variable", ["home_role_arn"]).with("type", Expression::reference("string")).with(
            "description",
            Expression::text(
                "A role in the platform's own account that may write its schedules and control documents.",
            ),
        );
        [variable, provider]
    }

    fn locals(&self) -> Block {
        let AwsSettings { account, region, partition, .. } = self.settings;
        let known = |value: &Option<String>, variable: &str| match value {
            Some(value) => Expression::text(value),
            None => Expression::reference(variable),
        };
        let own_account = match self.cell.and_then(|cell| cell.account.as_ref()) {
            Some(account) => Expression::text(account),
            None => known(account, "var.account_id"),
        };
        let arn =
            |words: &str, references: &[&str]| Expression::template(&format!("arn:{partition}:{words}"), references);
        let regional = ["local.region", "local.account", "local.name"];
        let is_elsewhere = self.cell.is_some_and(|cell| self.settings.is_elsewhere(cell));
        bare("locals")
            .with("name", Expression::text(self.prefix()))
            .with("region", known(region, "var.region"))
            .with("account", known(account, "var.account_id"))
            .with("own_account", own_account)
            .with("bucket", Expression::template("{}-{}", &["local.name", "local.account"]))
            .with("machine_arn", arn("states:{}:{}:stateMachine:{}", &regional))
            .with("execution_arn", arn("states:{}:{}:execution:{}", &regional))
            .with("scheduler_role_arn", arn("iam::{}:role/{}-scheduler", &regional[1..]))
            .with("dead_letter_arn", arn("sqs:{}:{}:{}-dead-letter", &regional))
            .with("alarm_topic_arn", arn("sns:{}:{}:{}-alarms", &["local.region", "local.own_account", "local.name"]))
            .with("dms_secrets_role_arn", arn("iam::{}:role/{}-dms-secrets", &["local.own_account", "local.name"]))
            .with("dms_operator_role_arn", arn("iam::{}:role/{}-dms-operator", &["local.own_account", "local.name"]))
            .with("machine_role_arn", arn("iam::{}:role/{}-machine", &["local.account", "local.name"]))
            .with_some("home_role_arn", is_elsewhere.then(|| Expression::reference("var.home_role_arn")))
    }
}

/// A block without labels.
pub(super) fn bare(kind: &'static str) -> Block {
    Block::new(kind, [""; 0])
}

/// A text that the rendering doesn't know.
pub(super) fn variable(name: &'static str, description: &str) -> Block {
    Block::new("variable", [name])
        .with("type", Expression::reference("string"))
        .with("description", Expression::text(description))
}

/// Tags, with what a tag may not hold replaced; those without a value are left out.
pub(super) fn own_tags(tags: &[(&str, &str)]) -> Expression {
    let named = tags.iter().filter(|(_, value)| !value.is_empty());
    Expression::object(named.map(|(key, value)| (names::tag(key), Expression::text(names::tag(value)))))
}

/// A resource of the platform's own account, in a stack of a cell.
pub(super) fn home(block: Block, settings: &AwsSettings, cell: &Cell) -> Block {
    let provider = settings.is_elsewhere(cell).then(|| Expression::reference("aws.home"));
    block.with_some("provider", provider)
}

/// A policy's document.
pub(super) fn policy(statements: Vec<Expression>) -> Expression {
    let document =
        Expression::object([("Version", Expression::text("2012-10-17")), ("Statement", Expression::List(statements))]);
    Expression::Call("jsonencode", vec![document])
}

/// What may be done with what.
pub(super) fn allow(actions: &[&str], resources: Vec<Expression>) -> Expression {
    Expression::object([
        ("Effect", Expression::text("Allow")),
        ("Action", Expression::texts(actions.iter().copied())),
        ("Resource", Expression::List(resources)),
    ])
}

/// A role that a service takes on, with one policy.
pub(super) fn role(
    label: &'static str,
    name: &str,
    service: Expression,
    condition: Option<Expression>,
    document: Expression,
) -> [Block; 2] {
    trusted_role(label, name, Expression::object([("Service", service)]), condition, document)
}

/// A role that somebody takes on, with one policy.
pub(super) fn trusted_role(
    label: &'static str,
    name: &str,
    principal: Expression,
    condition: Option<Expression>,
    document: Expression,
) -> [Block; 2] {
    let mut trust = vec![
        ("Effect", Expression::text("Allow")),
        ("Action", Expression::text("sts:AssumeRole")),
        ("Principal", principal),
    ];
    trust.extend(condition.map(|condition| ("Condition", condition)));
    let role = Block::new("resource", ["aws_iam_role", label])
        .with("name", Expression::template(&format!("{{}}-{name}"), &["local.name"]))
        .with("assume_role_policy", policy(vec![Expression::object(trust)]));
    let rights = Block::new("resource", ["aws_iam_role_policy", label])
        .with("name", Expression::text(name))
        .with("role", Expression::reference(format!("aws_iam_role.{label}.id")))
        .with("policy", document);
    [role, rights]
}

/// Trust only calls that come from an account's own resources.
pub(super) fn from_account(account: &str) -> Expression {
    Expression::object([("StringEquals", Expression::object([("aws:SourceAccount", Expression::reference(account))]))])
}
