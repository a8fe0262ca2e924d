//! A platform's settings, and where its files go as they say it: a folder or a branch.
//!
//! `settings.out`, `settings.git` and, of what is hosted, `settings.kubernetes` are Levada's own,
//! whatever kind renders the files; the kind never sees them.

use crate::about::about;
use levada_model::model::{Infrastructure, PlatformEntry, Settings};
use levada_model::{Code, Finding, Findings};
use serde_json::Value;

/// `settings.out` or `settings.git` can't be read, or both are there.
pub const OUTPUT_WRONG: Code = Code("E-OUTPUT-001");

const OUT: &str = "out";
const GIT: &str = "git";
/// How the pods of a hosted platform are to be.
pub const HOST: &str = "kubernetes";

/// Where files go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A folder; a relative one begins at the model's.
    Folder(String),
    /// A branch of a repository: whatever git takes, or a path that begins at the model's folder.
    Branch {
        /// The repository.
        repository: String,
        /// The branch's name.
        branch: String,
    },
}

impl Output {
    /// Reads the settings; `None`: they say nothing.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn of(settings: &Settings) -> Result<Option<Self>, String> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match (settings.get(OUT), settings.get(GIT)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err("settings.out and settings.git are both there: it is one or the other".to_owned())
            }
            (Some(out), None) => match text(out) {
                Some(folder) => Ok(Some(Self::Folder(folder))),
                None => Err("settings.out is no path".to_owned()),
            },
            (None, Some(git)) => {
                let part = |key: &str| git.get(key).and_then(text);
                let count = git.as_object().map_or(0, serde_json::Map::len);
                match (part("repository"), part("branch")) {
                    (Some(repository), Some(branch)) if count == 2 => Ok(Some(Self::Branch { repository, branch })),
                    _ => Err("settings.git is not { repository: …, branch: … }".to_owned()),
                }
            }
        }
    }
}

/// The settings of a platform over those of its infrastructure.
pub fn settings(platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Settings {
    let mut settings = infrastructure.map(|it| it.settings.clone()).unwrap_or_default();
    settings.extend(platform.settings.clone());
    settings
}

/// The settings that are the kind's own.
pub fn without_output(mut settings: Settings) -> Settings {
    settings.retain(|key, _| key != OUT && key != GIT && key != HOST);
    settings
}

/// What is wrong with where a platform's files go.
pub fn lint(platform: &PlatformEntry, settings: &Settings) -> Findings {
    let finding = |problem: String| {
        about(platform, Finding::error(OUTPUT_WRONG, format!("platform {}: {problem}", platform.name)))
    };
    Findings(Output::of(settings).err().map(finding).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_output_is_a_folder_or_a_branch() {
        let of = |value: Value| Output::of(&serde_json::from_value(value).expect("settings"));
        assert_eq!(of(json!({ "size": 3 })), Ok(None));
        assert_eq!(of(json!({ "out": "../lake" })), Ok(Some(Output::Folder("../lake".to_owned()))));
        let branch = Output::Branch { repository: "../d.git".to_owned(), branch: "main".to_owned() };
        assert_eq!(of(json!({ "git": { "repository": "../d.git", "branch": "main" } })), Ok(Some(branch)));
        for wrong in [
            json!({ "out": 3 }),
            json!({ "out": "" }),
            json!({ "git": "../d.git" }),
            json!({ "git": { "repository": "r" } }),
            json!({ "git": { "repository": "r", "branch": "b", "depth": "1" } }),
            json!({ "out": "a", "git": { "repository": "r", "branch": "b" } }),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
