//! Which secrets a platform's pods need; never what is in them.

use super::Pods;
use crate::kubernetes::settings::PodSettings;
use levada_model::model::{Code, PlatformEntry};
use levada_model::name::CredentialName;
use levada_planner::NodeSpec;
use levada_planner::platform::Part;
use std::collections::BTreeSet;

/// The parts of a secret, each a key of it.
pub(super) const SECRET_PARTS: [&str; 3] = ["user", "password", "token"];

impl Pods<'_> {
    /// Which secrets have to be there, for whoever makes them.
    pub(super) fn secrets(&self) -> String {
        let mut text = format!(
            "# Secrets of {}\n\nThey are never in these files. In namespace `{}` there have to be:\n\n| secret | keys | is |\n|---|---|---|\n",
            plain_text(self.entry.name.as_str()),
            self.host.kubernetes
        );
        let mut line = |secret: &str, keys: &str, is: &str| text.push_str(&format!("| `{secret}` | {keys} | {is} |\n"));
        if self.is_levada {
            let state = &self.settings.state;
            line(&state.secret, &format!("`{}`", state.key), "the state: `postgres://USER:PASSWORD@HOST/DATABASE`");
            line(&self.settings.token, "`token`", "what opens `/metrics`");
        }
        for credential in &self.credentials {
            line(
                &secret_name(&self.settings, credential),
                "`user` and `password`, or `token`",
                &format!("credential `{credential}`"),
            );
        }
        text
    }
}

/// The secret of a credential: its own name as Kubernetes takes names, unless the settings say another.
pub fn secret_name(settings: &PodSettings, credential: &CredentialName) -> String {
    let usual = || format!("levada-{}", credential.as_str().to_lowercase().replace('_', "-"));
    settings.secrets.get(credential.as_str()).cloned().unwrap_or_else(usual)
}

/// The credentials of a part: of its containers, of its programs, and the platform's own.
pub fn credentials<'a>(entry: &'a PlatformEntry, part: &Part<'a>) -> BTreeSet<&'a CredentialName> {
    let mut found: BTreeSet<&CredentialName> = entry.credentials.iter().map(|it| &it.value).collect();
    for &node in &part.nodes {
        found.extend(node.connection().and_then(|connection| connection.credential.as_ref()));
        if let NodeSpec::Transform(spec) = &node.spec
            && let Code::Program(program) = &spec.code
        {
            found.extend(&program.credentials);
        }
    }
    found
}

/// A name in a line of Markdown.
fn plain_text(text: &str) -> String {
    let is_mark = |c: char| c.is_ascii_punctuation() && !" .,-'".contains(c);
    text.chars().flat_map(|c| is_mark(c).then_some('\\').into_iter().chain([c])).collect()
}
