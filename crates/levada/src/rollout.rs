//! How far a roll-out is: what a platform that is behind waits for, and the notes that tell of it.
//!
//! Takes a platform's `follow:`, approvals and a moment, gives a [`Verdict`]. Notes are JSON in the state,
//! one per topic; `levada follow` writes them, `levada status` shows them.

use crate::show;
use anyhow::{Context, Result};
use levada_flow::{Clock, SystemClock};
use levada_model::Model;
use levada_model::name::PlatformName;
use levada_model::schedule::{in_words, next_open};
use levada_planner::Generation;
use levada_state::{Approval, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a platform may take the target up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Now.
    Ready,
    /// It follows another branch than the one that is checked out.
    Branch {
        /// Its own.
        follows: String,
    },
    /// Somebody has to agree.
    Approval {
        /// To this generation.
        generation: Generation,
    },
    /// Its windows are closed.
    Window {
        /// The calendar.
        calendar: String,
        /// When it opens, µs; `None`: never.
        opens_at: Option<i64>,
    },
}

impl Verdict {
    /// What is waited for, in words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Ready => "for nothing".to_owned(),
            Self::Branch { follows } => format!("it follows branch {follows}, which is not checked out here"),
            Self::Approval { generation } => {
                format!("for somebody to agree to generation {generation}: levada approve PLATFORM")
            }
            Self::Window { calendar, opens_at: Some(at) } => {
                format!("for calendar {calendar}, which opens at {}", in_words(*at))
            }
            Self::Window { calendar, opens_at: None } => format!("for calendar {calendar}, which never opens again"),
        }
    }
}

/// Whether a platform may take the target up at a moment. One that has left the model, or does not say when,
/// always may.
pub fn verdict(
    model: &Model,
    platform: &PlatformName,
    branch: &str,
    target: Generation,
    approvals: &BTreeMap<PlatformName, Approval>,
    now: i64,
) -> Verdict {
    let Some(follow) = model.platform(platform).and_then(|entry| entry.follow.as_ref()) else { return Verdict::Ready };
    if follow.branch != branch {
        return Verdict::Branch { follows: follow.branch.clone() };
    }
    let is_approved = approvals.get(platform).is_some_and(|approval| approval.generation == target);
    if follow.approval_required && !is_approved {
        return Verdict::Approval { generation: target };
    }
    let Some(calendar) = follow.calendar.as_ref().and_then(|named| model.calendar(&named.value)) else {
        return Verdict::Ready;
    };
    match next_open(&calendar.windows, calendar.timezone.as_deref(), now) {
        Some(at) if at <= now => Verdict::Ready,
        opens_at => Verdict::Window { calendar: calendar.name.to_string(), opens_at },
    }
}

/// What a note is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// What went wrong in the last round.
    Problem,
    /// The revision that was frozen last.
    Frozen,
    /// A revision that does not hold.
    Refused,
}

impl Topic {
    fn name(self) -> &'static str {
        match self {
            Self::Problem => "follow/problem",
            Self::Frozen => "follow/frozen",
            Self::Refused => "follow/refused",
        }
    }
}

/// What platforms wait for.
const WAITS: &str = "follow/waits";
/// Of which generation and revision each platform has its files.
const DELIVERED: &str = "follow/delivered";

/// A note of `levada follow`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Note {
    /// There is nothing to say.
    Fine,
    /// The last round did not do all it had to.
    Problem {
        /// Why, and what to do.
        text: String,
    },
    /// A revision does not hold; what was in force goes on.
    Refused {
        /// The revision.
        commit: String,
        /// What is wrong with it.
        findings: Vec<String>,
        /// On what: another generation or build may take it.
        on: (Option<Generation>, String),
    },
    /// A revision was frozen.
    Frozen {
        /// The revision.
        commit: String,
    },
}

/// Leaves a note, unless it is there already.
///
/// # Errors
/// The state fails.
pub async fn note(state: &State, topic: Topic, note: &Note) -> Result<()> {
    write(state, topic.name(), note).await
}

/// The last note on a topic; `None`: there is none that this build can read.
async fn read<T: serde::de::DeserializeOwned>(state: &State, topic: &str) -> Result<Option<T>> {
    Ok(state.notes().await?.get(topic).and_then(|note| serde_json::from_str(&note.body).ok()))
}

async fn write<T: Serialize>(state: &State, topic: &str, value: &T) -> Result<()> {
    let body = serde_json::to_string(value).context("failed to write a note")?;
    if state.notes().await?.get(topic).is_none_or(|note| note.body != body) {
        state.note(topic, levada_state::Note { at: Clock::now(&SystemClock), body }).await?;
    }
    Ok(())
}

/// The revision that was frozen last.
///
/// # Errors
/// The state fails.
pub async fn frozen(state: &State) -> Result<Option<String>> {
    Ok(match read(state, Topic::Frozen.name()).await? {
        Some(Note::Frozen { commit }) => Some(commit),
        _ => None,
    })
}

/// Remembers that a revision does not hold on what is in force.
///
/// # Errors
/// The state fails.
pub async fn note_refused(state: &State, commit: &str, findings: Vec<String>) -> Result<()> {
    let on = (state.generation_in_force().await?, levada_platforms::FORM.to_owned());
    note(state, Topic::Refused, &Note::Refused { commit: commit.to_owned(), findings, on }).await
}

/// Whether a revision was refused last, on what is in force and by this build.
///
/// # Errors
/// The state fails.
pub async fn was_refused(state: &State, commit: &str) -> Result<bool> {
    let now = (state.generation_in_force().await?, levada_platforms::FORM.to_owned());
    Ok(matches!(
        read(state, Topic::Refused.name()).await?,
        Some(Note::Refused { commit: refused, on, .. }) if refused == commit && on == now
    ))
}

/// Notes what platforms wait for.
///
/// # Errors
/// The state fails.
pub async fn note_waits(state: &State, waits: BTreeMap<PlatformName, Verdict>) -> Result<()> {
    write(state, WAITS, &waits).await
}

/// Of which generation and revision a platform has its files.
type Delivered = BTreeMap<PlatformName, (Generation, String)>;

/// Notes that a platform has its files.
///
/// # Errors
/// The state fails.
pub async fn note_delivered(
    state: &State,
    platform: &PlatformName,
    generation: Generation,
    commit: &str,
) -> Result<()> {
    let mut delivered: Delivered = read(state, DELIVERED).await?.unwrap_or_default();
    delivered.insert(platform.clone(), (generation, commit.to_owned()));
    write(state, DELIVERED, &delivered).await
}

/// The platforms that render files and may not have those of the target and of this revision: settings and
/// words for people are in the files, too.
///
/// # Errors
/// The state fails.
pub async fn undelivered(state: &State, target: Generation, commit: &str) -> Result<BTreeSet<PlatformName>> {
    let delivered: Delivered = read(state, DELIVERED).await?.unwrap_or_default();
    let choices = state.choices(target).await?;
    let renders = choices.platforms.iter().filter(|(_, nature)| nature.realizer.has_files());
    let is_behind = |platform: &&PlatformName| {
        delivered.get(*platform).is_none_or(|(generation, of)| (*generation, of.as_str()) != (target, commit))
    };
    Ok(renders.map(|(platform, _)| platform).filter(is_behind).cloned().collect())
}

/// How far a roll-out is, for people and programs.
#[derive(Debug, Serialize)]
pub struct Progress {
    /// The target; `None`: nothing ever was.
    pub target: Option<Generation>,
    /// Platforms that are behind: where they are, how many nodes wait, and for what.
    pub behind: BTreeMap<PlatformName, Behind>,
    /// What went wrong when somebody followed last; `None`: nothing, or nobody follows.
    pub problem: Option<String>,
    /// A revision that does not hold, with its findings.
    pub refused: Option<(String, Vec<String>)>,
}

/// A platform that is behind the target.
#[derive(Debug, Serialize)]
pub struct Behind {
    /// The generation that it has taken up.
    pub at: Generation,
    /// Nodes that wait.
    pub nodes: usize,
    /// What `levada follow` saw it wait for last; `None`: nobody has looked.
    pub waits: Option<Verdict>,
}

/// Reads how far the roll-out is.
///
/// # Errors
/// The state fails.
pub async fn progress(state: &State) -> Result<Progress> {
    let mut waits: BTreeMap<PlatformName, Verdict> = read(state, WAITS).await?.unwrap_or_default();
    let pointers = state.pointers().await?;
    let behind = state.behind().await?.into_iter().map(|(platform, nodes)| {
        let at = pointers.get(&platform).copied().unwrap_or(Generation(0));
        let waits = waits.remove(&platform);
        (platform, Behind { at, nodes, waits })
    });
    let problem = match read(state, Topic::Problem.name()).await? {
        Some(Note::Problem { text }) => Some(text),
        _ => None,
    };
    let refused = match read(state, Topic::Refused.name()).await? {
        Some(Note::Refused { commit, findings, .. }) => Some((commit, findings)),
        _ => None,
    };
    Ok(Progress { target: state.generation_in_force().await?, behind: behind.collect(), problem, refused })
}

impl Progress {
    /// Tells what is not yet as the target says.
    pub fn tell(&self) {
        if let Some(problem) = &self.problem {
            show::talk(format!("follow: {problem}"));
        }
        if let Some((commit, findings)) = &self.refused {
            let first = findings.first().map(|finding| format!(": {finding}")).unwrap_or_default();
            show::talk(format!("revision {commit} is refused, what is in force goes on{first}"));
        }
        for (platform, behind) in &self.behind {
            let target = self.target.map_or_else(String::new, |target| format!(" of {target}"));
            let waits = behind.waits.as_ref().map(|waits| format!("; it waits {}", waits.in_words()));
            let (at, nodes) = (behind.at, behind.nodes);
            show::talk(format!(
                "platform {platform} is at generation {at}{target}: {nodes} nodes to take up{}",
                waits.unwrap_or_default()
            ));
        }
    }
}
