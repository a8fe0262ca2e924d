//! The external kind: anybody's program or image decides how its part becomes real.
//!
//! A program is asked three things, in JSON: `describe` what it can do, `lint` its part, `render` it
//! as files. This folder has the questions ([`question`]), the answers and their meaning
//! ([`answer`]); the program is run by whoever holds it, and its answers come in as values. What it
//! said to `describe` stands in the model, in `describe.json`.
//!
//! The protocol is version 1: `docs/platform-protocol.md`.

pub mod answer;
pub mod question;

use crate::about::about;
use crate::output::{self, settings, without_output};
use answer::{DescribeAnswer, Problem};
use levada_model::fingerprint::fingerprint;
use levada_model::model::{Described, Infrastructure, PlatformEntry, Run};
use levada_model::name::PlatformName;
use levada_model::{Code, Finding, Findings};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, Part, Platform, Rendering};
use std::collections::BTreeMap;

/// An external platform names its program.
pub const RUN_MISSING: Code = Code("E-EXTERNAL-001");
/// Nobody has asked the program what it can do, or another program than the one that is named now.
pub const UNDESCRIBED: Code = Code("E-EXTERNAL-002");
/// What the program said of itself is not what the protocol wants.
pub const DESCRIPTION_WRONG: Code = Code("E-EXTERNAL-003");
/// The program's own schema refuses the settings.
pub const SETTINGS_WRONG: Code = Code("E-EXTERNAL-004");

/// The kind's word in the model.
pub const KIND: &str = "external";

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;

/// The JSON Schema of all questions and answers, by name in its `$defs`.
pub const PROTOCOL_SCHEMA: &str = include_str!("protocol.schema.json");

/// Bytes by path.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// `kind: external`, with what the programs answered to `render` so far.
#[derive(Clone, Debug, Default)]
pub struct External {
    rendered: BTreeMap<PlatformName, Tree>,
}

impl External {
    /// The same, knowing one more program's answer.
    #[must_use]
    pub fn with_rendered(mut self, platform: PlatformName, files: Tree) -> Self {
        self.rendered.insert(platform, files);
        self
    }
}

/// Names a program: what another one said is worth nothing.
pub fn run_fingerprint(run: &Run) -> String {
    fingerprint(run).to_string()
}

/// What a platform's program said of itself, if it is that program's and of this protocol.
fn description(platform: &PlatformEntry) -> Result<DescribeAnswer, Box<Finding>> {
    let finding = |code, message: String| {
        let finding = about(platform, Finding::error(code, message));
        Box::new(finding.hint(format!("`levada platform describe {:?}` asks it", platform.name.as_str())))
    };
    let name = &platform.name;
    let Some(run) = &platform.run else {
        let finding = finding(RUN_MISSING, format!("platform {name} is external and names no program"));
        return Err(Box::new(finding.hint("add `run: { command: [PROGRAM, …] }` or `run: { image: … }`")));
    };
    match &platform.described {
        None => Err(finding(UNDESCRIBED, format!("nobody has asked the program of platform {name} what it can do"))),
        Some(Described { run: asked, .. }) if *asked != run_fingerprint(run) => {
            Err(finding(UNDESCRIBED, format!("platform {name} has another program than the one that was asked")))
        }
        Some(Described { answer, .. }) => DescribeAnswer::read(answer).map_err(|Problem(problem)| {
            finding(DESCRIPTION_WRONG, format!("what the program of platform {name} said of itself: {problem}"))
        }),
    }
}

impl Platform for External {
    fn kind(&self) -> &str {
        KIND
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Files
    }

    fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities> {
        description(platform).ok().map(|answer| answer.capabilities)
    }

    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
        let answer = match description(platform) {
            Ok(answer) => answer,
            Err(finding) => return Findings(vec![*finding]),
        };
        let settings = settings(platform, infrastructure);
        let mut findings = output::lint(platform, &settings);
        let own = serde_json::Value::Object(without_output(settings).into_iter().collect());
        let wrong = answer.check_settings(&own).into_iter().map(|problem| {
            let message = format!("settings of platform {}: {problem}", platform.name);
            about(platform, Finding::error(SETTINGS_WRONG, message))
        });
        findings.extend(Findings(wrong.collect()));
        findings
    }

    /// The files that its program answered; none where it was not asked.
    fn render(&self, part: &Part<'_>) -> Rendering {
        Rendering::Files(self.rendered.get(part.platform).cloned().unwrap_or_default())
    }
}
