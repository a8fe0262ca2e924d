//! What is printed is what Terraform itself would print, and reads back as what was meant: the
//! real program formats and evaluates it.

use levada_platforms::terraform::{Block, Expression, TemplatePart, print};
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

/// Terraform in a folder that holds these files.
fn terraform(files: &[(&str, &str)], arguments: &[&str], input: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("write the file");
    }
    let mut command = Command::new("terraform");
    command.args(arguments).current_dir(folder.path()).env("CHECKPOINT_DISABLE", "1").env_remove("TF_CLI_CONFIG_FILE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("terraform 1.5 or later is installed and on PATH");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("terraform reads its input");
    let output = child.wait_with_output().expect("terraform ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?} of\n{}\nsays\n{said}", files[0].1);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Stops where `terraform fmt` would print it differently.
fn assert_formatted(text: &str) {
    terraform(&[("main.tf", text)], &["fmt", "-check", "-diff", "main.tf"], "");
}

/// Stops where Terraform evaluates an expression to anything else than a JSON document.
fn assert_evaluates(value: Expression, expected: &serde_json::Value) {
    let text = print(&[Block::new("locals", [""; 0]).with("value", value)]);
    assert_formatted(&text);
    // Compared by Terraform itself: what its console prints is for people.
    let question = "jsonencode(jsondecode(file(\"expected.json\"))) == jsonencode(local.value)\n";
    let files = [("main.tf", text.as_str()), ("expected.json", &expected.to_string())];
    assert_eq!(terraform(&files, &["console"], question).trim(), "true", "{text}");
}

#[test]
fn a_file_reads_as_people_write_them() {
    let role = Block::new("resource", ["aws_iam_role", "glue"])
        .with("name", Expression::text("levada-glue"))
        .with("path", Expression::text("/"))
        .with(
            "assume_role_policy",
            Expression::Call(
                "jsonencode",
                vec![Expression::object([
                    ("Version", Expression::text("2012-10-17")),
                    ("Statement", Expression::List(vec![Expression::object([("Effect", Expression::text("Allow"))])])),
                ])],
            ),
        )
        .with("max_session_duration", Expression::Integer(3600))
        .with("tags", Expression::object([("levada:team", Expression::text("A \"Team\" of ${mine}"))]))
        .block(Block::new("lifecycle", [""; 0]).with("prevent_destroy", Expression::Boolean(true)))
        .block(Block::new("timeouts", [""; 0]));
    let text = print(&[role, Block::new("locals", [""; 0]).with("name", Expression::reference("var.name"))]);
    assert_formatted(&text);
    assert_eq!(
        text,
        r#"# Rendered by Levada from the model; edit the model, not this file.

resource "aws_iam_role" "glue" {
  name = "levada-glue"
  path = "/"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"

    Statement = [
      { Effect = "Allow" },
    ]
  })

  max_session_duration = 3600

  tags = {
    "levada:team" = "A \"Team\" of $${mine}"
  }

  lifecycle {
    prevent_destroy = true
  }

  timeouts {}
}

locals {
  name = var.name
}
"#
    );
}

#[test]
fn text_of_a_model_is_data_whatever_is_in_it() {
    let hostile = [
        "${file(\"/etc/passwd\")}",
        "$${x}",
        "$$${x}",
        "%{ if true }x%{ endif }",
        "%%{",
        "\"quotes\" and \\ and \n\r\t",
        "\u{0}\u{1}\u{7f}",
        "ü 漢字 🙂 e\u{301}",
        "\u{202e}evil",
        "",
        "$",
        "%",
        "${",
        "$\u{200b}{",
        "EOT",
        "# no comment",
    ];
    let texts = hostile.iter().map(|text| Expression::text(*text)).collect();
    assert_evaluates(Expression::List(texts), &serde_json::json!(hostile));
}

#[test]
fn a_dollar_before_a_reference_stays_a_dollar() {
    let part = |text: &str| TemplatePart::Text(text.to_owned());
    let one = || TemplatePart::Reference("1 + 1".to_owned());
    let template = |parts: Vec<TemplatePart>| Expression::Template(parts);
    let value = Expression::List(vec![
        template(vec![part("a$"), one(), part("{b}")]),
        template(vec![part("${"), one(), part("}%{")]),
        template(vec![part("$$"), one()]),
        template(vec![part("%"), one(), part("$")]),
    ]);
    assert_evaluates(value, &serde_json::json!(["a$2{b}", "${2}%{", "$$2", "%2$"]));
}

#[test]
fn json_comes_out_as_it_went_in() {
    let json = serde_json::json!({
        "for": null, "a b": [1, -2, 1.5, true, { "nested": { "deep": [] } }, {}], "true": "x", "n": 9_007_199_254_740_993_i64,
        "long": ["a text that makes the line long", "a text that makes the line long", "a text that makes the line long", "x"],
    });
    assert_evaluates(Expression::json(&json), &json);
}

fn any_expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Expression::Text),
        "[a-z${}%\"\\\\ ]{0,40}".prop_map(Expression::Text),
        any::<i64>().prop_map(Expression::Integer),
        any::<bool>().prop_map(Expression::Boolean),
        Just(Expression::Null),
        Just(Expression::reference("var.x")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Expression::List),
            prop::collection::btree_map("[a-z:${} ]{1,8}", inner.clone(), 0..6)
                .prop_map(|entries| Expression::Object(entries.into_iter().collect())),
            inner.prop_map(|argument| Expression::Call("jsonencode", vec![argument])),
        ]
    })
}

const NAMES: [&str; 4] = ["a", "bb", "a_long_name", "x1"];

fn any_block() -> impl Strategy<Value = Block> {
    let body = (prop::collection::vec(any_expression(), 0..4), any::<bool>());
    ("[a-z_][a-zA-Z0-9_-]{0,20}", body, any::<bool>()).prop_map(|(label, (values, has_inner), has_label)| {
        let labels = if has_label { vec![label] } else { Vec::new() };
        let mut block = Block::new("resource", labels);
        for (name, value) in NAMES.into_iter().zip(values) {
            block = block.with(name, value);
        }
        match has_inner {
            true => block.block(Block::new("lifecycle", [""; 0]).with("a", Expression::Integer(1))),
            false => block,
        }
    })
}

proptest! {
    // Each case starts the real program.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_printed_is_formatted_already(blocks in prop::collection::vec(any_block(), 1..6)) {
        assert_formatted(&print(&blocks));
    }
}
