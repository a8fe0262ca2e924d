//! `levada follow`: the model's branch, as far as it holds, becomes the target, and each platform takes it up
//! when it may.
//!
//! A round: fetch; look at what is new beside the checkout; advance the checkout and freeze the blueprint;
//! have the platforms take it up whose window is open and for whom somebody agreed where that is asked for.
//! Every step can be repeated: a round that died is finished by the next one. What it waits for is left in
//! the state as notes, for `levada status`.

use crate::cli::{FollowArgs, Format};
use crate::commands::apply::{all_secrets_are_there, shared_by_pods, with_files};
use crate::planning::{self, Looked};
use crate::project::Project;
use crate::rollout::{self, Note, Topic, Verdict};
use crate::show;
use crate::stop;
use anyhow::{Result, bail};
use levada_flow::{Clock, SystemClock};
use levada_model::Model;
use levada_model::name::PlatformName;
use levada_planner::Generation;
use levada_repo::{Checkout, FollowError};
use levada_state::State;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a round brought.
#[derive(Debug, Default, Serialize)]
struct Round {
    /// The target; `None`: nothing ever was.
    generation: Option<Generation>,
    /// Nodes that are others in the target than before.
    changed: usize,
    /// Nodes that platforms took up.
    taken_up: usize,
    /// What each platform that is behind waits for.
    waits: BTreeMap<PlatformName, Verdict>,
    /// Whether what is new, or what is checked out, does not hold: its findings were told.
    #[serde(rename = "refused")]
    is_refused: bool,
    /// Why the branch can't be had.
    #[serde(skip)]
    problem: Option<anyhow::Error>,
}

/// Follows once, or until it is stopped.
pub async fn run(args: &FollowArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let checkout = Checkout::open(&project.root, &project.workshop("follow")?).map_err(with_hint)?;
    let follower = Follower { dir: args.dir.dir.clone(), checkout, is_once: args.once };
    if args.once {
        let round = follower.round().await?;
        tell(&round, args.format, true);
        return match round.problem {
            Some(problem) => Err(problem),
            None => Ok(!round.is_refused),
        };
    }
    let mut stop = stop::signal()?;
    let mut told = String::new();
    while !*stop.borrow() {
        // What goes wrong in one round may be mended before the next; it is told once.
        let failed = match follower.round().await {
            Ok(round) => {
                tell(&round, args.format, false);
                round.problem.map(|problem| format!("{problem:#}")).unwrap_or_default()
            }
            Err(error) => format!("{error:#}"),
        };
        if failed != told && !failed.is_empty() {
            show::talk(format!("error: {failed}"));
        }
        told = failed;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.every)) => {}
            _ = stop.changed() => {}
        }
    }
    Ok(true)
}

/// Who follows, and where.
struct Follower {
    dir: PathBuf,
    checkout: Checkout,
    is_once: bool,
}

impl Follower {
    /// One round. Neither a branch that can't be had nor a revision that does not hold keep platforms from
    /// taking up what is frozen already.
    async fn round(&self) -> Result<Round> {
        let project = Project::open(&self.dir)?;
        let state = project.state().await?;
        let mut round = Round::default();
        match self.checkout.fetch() {
            Ok(fetched) => {
                rollout::note(&state, Topic::Fetch, &Note::Fine).await?;
                let is_new = fetched != self.checkout.commit().map_err(with_hint)?;
                round.is_refused = is_new && !self.take_in(&project, &state, &fetched).await?;
            }
            Err(error) => {
                rollout::note(&state, Topic::Fetch, &Note::Problem { text: in_words(&error) }).await?;
                round.problem = Some(with_hint(error));
            }
        }
        // The checkout may have got its settings only now.
        let project = Project::open(&self.dir)?;
        if !round.is_refused {
            round.is_refused = !freeze(&project, &self.checkout, &state, &mut round).await?;
        }
        round.generation = state.generation_in_force().await?;
        take_up(&project, &self.checkout, &state, &mut round).await?;
        Ok(round)
    }

    /// Looks at a new revision beside the checkout and, where it holds, advances to it.
    async fn take_in(&self, project: &Project, state: &State, commit: &str) -> Result<bool> {
        if !self.is_once && rollout::is_refused(state, commit).await? {
            // It was told when it came.
            return Ok(false);
        }
        let laid_out = self.checkout.lay_out(commit).map_err(with_hint)?;
        if let Err(refused) = planning::plan_folder(&laid_out.root, &project.settings, Some(state)).await? {
            show::talk(format!("revision {commit} is refused; what is in force goes on"));
            let note = Note::Refused { commit: commit.to_owned(), findings: refused.findings };
            rollout::note(state, Topic::Revision, &note).await?;
            return Ok(false);
        }
        drop(laid_out);
        self.checkout.advance(commit).map_err(with_hint)?;
        show::talk(format!("advanced to revision {commit}"));
        Ok(true)
    }
}

/// Freezes what is checked out, unless that was frozen before: a rollback stays until the model goes on.
async fn freeze(project: &Project, checkout: &Checkout, state: &State, round: &mut Round) -> Result<bool> {
    let commit = checkout.commit().map_err(with_hint)?;
    if rollout::is_frozen(state, &commit).await? {
        return Ok(true);
    }
    let planned = match planning::plan_folder(&project.root, &project.settings, Some(state)).await? {
        Ok(planned) => planned,
        Err(refused) => {
            rollout::note(state, Topic::Revision, &Note::Refused { commit, findings: refused.findings }).await?;
            return Ok(false);
        }
    };
    let plan = planned.plan();
    round.changed = plan.delta.changes.len();
    if !plan.is_empty() {
        all_secrets_are_there(project, &plan.advance)?;
        if let Looked::Whole(whole) = &planned.looked {
            shared_by_pods(project, &whole.1.blueprint)?;
        }
        state.freeze(&plan.advance, levada_platforms::FORM, Clock::now(&SystemClock)).await?;
    }
    rollout::note(state, Topic::Revision, &Note::Frozen { commit }).await?;
    Ok(true)
}

/// Has the platforms take the target up that may, and notes what the others wait for.
async fn take_up(project: &Project, checkout: &Checkout, state: &State, round: &mut Round) -> Result<()> {
    let Some(target) = round.generation else { return Ok(()) };
    let behind = state.behind().await?;
    let undelivered = rollout::undelivered(state, target).await?;
    if behind.is_empty() && undelivered.is_empty() {
        return rollout::note_waits(state, BTreeMap::new()).await;
    }
    let model = everybodys(project)?;
    let branch = checkout.branch().map_err(with_hint)?;
    let now = Clock::now(&SystemClock);
    let approvals = state.approvals().await?;
    let mut ready = BTreeSet::new();
    for platform in behind.keys().chain(&undelivered) {
        match rollout::verdict(&model, platform, &branch, target, &approvals, now) {
            Verdict::Ready => drop(ready.insert(platform.clone())),
            waits => drop(round.waits.insert(platform.clone(), waits)),
        }
    }
    if !ready.is_empty() {
        round.taken_up = bring(project, state, &ready, target).await?;
    }
    rollout::note_waits(state, round.waits.clone()).await
}

/// Has platforms take the target up and brings the files of those that render some.
async fn bring(project: &Project, state: &State, ready: &BTreeSet<PlatformName>, target: Generation) -> Result<usize> {
    let taken_up = AtomicUsize::new(0);
    let advance = async {
        taken_up.store(state.take_up(ready.clone(), Clock::now(&SystemClock)).await?, Ordering::Relaxed);
        Ok(())
    };
    if !rollout::renders_files(state, target, ready).await? {
        advance.await?;
        return Ok(taken_up.into_inner());
    }
    // Files are made of all nodes, by the model that is checked out: it has to be what the target was made of.
    let Ok(planned) = planning::plan_folder(&project.root, &project.settings, Some(state)).await? else {
        bail!("the model that is checked out does not hold any more");
    };
    match planned.looked {
        Looked::Whole(whole) if whole.1.plan.is_empty() => {
            if with_files(project, &whole.0, &whole.1, Some(ready), advance).await?.is_none() {
                bail!("files were not rendered");
            }
            rollout::note_delivered(state, ready, target).await?;
            Ok(taken_up.into_inner())
        }
        _ => bail!("generation {target} is not what the checked-out model says; files are rendered of the model alone"),
    }
}

/// What all objects of the model stand on: its platforms and calendars among them.
fn everybodys(project: &Project) -> Result<Model> {
    let survey = levada_repo::Folder::open(&project.root)?.survey(project.settings.cache.as_deref())?;
    match survey.outlined().map(|outlined| std::sync::Arc::new(outlined.outlines.clone())) {
        Some(outlines) => Ok(survey.part(&BTreeSet::new(), &outlines)?.model),
        None => Ok(survey.whole()?.model),
    }
}

fn tell(round: &Round, format: Format, is_once: bool) {
    let is_news = round.changed > 0 || round.taken_up > 0;
    match format {
        Format::Json if is_once || is_news => show::json(round),
        Format::Text if is_once && (round.is_refused || round.problem.is_some()) && !is_news => {}
        Format::Text if is_news => {
            let generation = round.generation.map_or_else(|| "nothing".to_owned(), |it| format!("generation {it}"));
            show::data(format!(
                "{generation} is the target: {} nodes changed, {} taken up",
                round.changed, round.taken_up
            ));
        }
        Format::Text if is_once => show::data("nothing to change"),
        _ => {}
    }
    if is_once || is_news {
        for (platform, waits) in &round.waits {
            show::talk(format!("platform {platform} waits: {}", waits.in_words()));
        }
    }
}

fn in_words(error: &FollowError) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}{hint}", show::chain(error))
}

fn with_hint(error: impl Into<FollowError>) -> anyhow::Error {
    let error = error.into();
    show::failure(&error, error.hint())
}
