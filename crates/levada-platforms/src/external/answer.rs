//! What a program answers: read strictly, every problem in words.

use super::{PROTOCOL, Tree};
use crate::embedded::STORE_FEED;
use levada_model::{Address, Code, Finding, Findings, Severity};
use levada_planner::platform::Capabilities;
use serde::Deserialize;
use serde_json::Value;

/// The code under which a program's own findings are shown; its own code stands in the message.
pub const PROGRAM_FINDING: Code = Code("E-EXTERNAL-005");

/// The same for its warnings.
pub const PROGRAM_WARNING: Code = Code("W-EXTERNAL-006");

/// Why an answer can't be used, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem(pub String);

/// The answer to `describe`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeAnswer {
    protocol: u32,
    /// The program's name, for people.
    pub program: String,
    /// Its version, for people.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The JSON Schema of its settings; absent: it has none.
    #[serde(default)]
    pub settings_schema: Option<Value>,
}

/// The answer to `lint`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LintAnswer {
    protocol: u32,
    #[serde(default)]
    findings: Vec<ProgramFinding>,
}

/// The answer to `render`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderAnswer {
    protocol: u32,
    #[serde(default)]
    findings: Vec<ProgramFinding>,
    files: Vec<ProgramFile>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFinding {
    #[serde(default)]
    code: Option<String>,
    severity: Severity,
    #[serde(default)]
    address: Option<String>,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFile {
    path: String,
    text: String,
}

impl DescribeAnswer {
    /// Reads an answer that was kept.
    ///
    /// # Errors
    /// It is not of the protocol.
    pub fn read(answer: &Value) -> Result<Self, Problem> {
        let read: Self = Self::deserialize(answer).map_err(|error| Problem(error.to_string()))?;
        of_this_protocol(read.protocol)?;
        if read.capabilities.feeds.contains(STORE_FEED) {
            return Err(Problem(format!("the feed {STORE_FEED} is the embedded kind's own")));
        }
        if let Some(schema) = &read.settings_schema {
            jsonschema::validator_for(schema)
                .map_err(|error| Problem(format!("its settings_schema is no JSON Schema: {error}")))?;
        }
        Ok(read)
    }

    /// What its schema has against settings; a program without a schema has no settings.
    pub(super) fn check_settings(&self, settings: &Value) -> Vec<String> {
        let without = serde_json::json!({ "type": "object", "additionalProperties": false });
        let schema = self.settings_schema.as_ref().unwrap_or(&without);
        let Ok(validator) = jsonschema::validator_for(schema) else { return Vec::new() };
        let problem = |error: jsonschema::ValidationError<'_>| {
            let at = error.instance_path().to_string();
            if at.is_empty() { error.to_string() } else { format!("{at}: {error}") }
        };
        validator.iter_errors(settings).map(problem).collect()
    }
}

impl LintAnswer {
    /// Reads a program's output.
    ///
    /// # Errors
    /// It is no answer of the protocol.
    pub fn read(output: &[u8]) -> Result<Findings, Problem> {
        let Self { protocol, findings } = read(output)?;
        of_this_protocol(protocol)?;
        as_findings(findings)
    }
}

impl RenderAnswer {
    /// Reads a program's output: what it found, and its files.
    ///
    /// # Errors
    /// It is no answer of the protocol, or names a file twice.
    pub fn read(output: &[u8]) -> Result<(Findings, Tree), Problem> {
        let Self { protocol, findings, files } = read(output)?;
        of_this_protocol(protocol)?;
        let mut tree = Tree::new();
        for ProgramFile { path, text } in files {
            if tree.insert(path.clone(), text.into_bytes()).is_some() {
                return Err(Problem(format!("it answers the file {path:?} twice")));
            }
        }
        Ok((as_findings(findings)?, tree))
    }
}

/// Reads the output of `describe` as it is to be kept.
///
/// # Errors
/// It is no answer of the protocol.
pub fn read_description(output: &[u8]) -> Result<Value, Problem> {
    let answer: Value = read(output)?;
    DescribeAnswer::read(&answer)?;
    Ok(answer)
}

fn read<T: for<'de> Deserialize<'de>>(output: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(output)
        .map_err(|error| Problem(format!("it is not the answer that the protocol wants: {error}")))
}

fn of_this_protocol(protocol: u32) -> Result<(), Problem> {
    match protocol == PROTOCOL {
        true => Ok(()),
        false => Err(Problem(format!("it speaks protocol {protocol}, this build speaks {PROTOCOL}"))),
    }
}

fn as_findings(findings: Vec<ProgramFinding>) -> Result<Findings, Problem> {
    let one = |ProgramFinding { code, severity, address, message, hint }| {
        let message = code.map_or(message.clone(), |code| format!("{message} ({code})"));
        let mut finding = match severity {
            Severity::Error => Finding::error(PROGRAM_FINDING, message),
            Severity::Warning => Finding::warning(PROGRAM_WARNING, message),
        };
        finding.address = match address {
            Some(text) => Some(text.parse::<Address>().map_err(|error| Problem(format!("its finding: {error}")))?),
            None => None,
        };
        finding.hint = hint;
        Ok(finding)
    };
    findings.into_iter().map(one).collect::<Result<Vec<_>, _>>().map(Findings)
}
