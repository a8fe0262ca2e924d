//! `levada follow`: the model's branch, as far as it holds, becomes the target, and each platform takes it up
//! when it may.
//!
//! A round: fetch; look at what is new beside the checkout; advance the checkout and freeze the blueprint;
//! have the platforms take it up whose window is open and for whom somebody agreed where that is asked for.
//! Every step can be repeated: a round that died is finished by the next one. What it waits for is left in
//! the state as notes, for `levada status`.

use crate::cli::{FollowArgs, Format};
use crate::commands::apply::{all_secrets_are_there, shared_by_pods, with_files};
use crate::planning::{self, Looked, Refused};
use crate::project::Project;
use crate::rollout::{self, Note, Topic, Verdict};
use crate::show;
use crate::stop;
use anyhow::{Result, anyhow, bail};
use levada_flow::{Clock, SystemClock};
use levada_model::Model;
use levada_model::name::PlatformName;
use levada_model::printable::one_line;
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
        let state = Project::open(&self.dir)?.state().await?;
        let mut round = Round::default();
        if let Err(error) = self.move_target(&state, &mut round).await {
            round.problem = Some(error);
        }
        round.generation = state.generation_in_force().await?;
        if let Err(error) = self.take_up(&state, &mut round).await {
            round.problem.get_or_insert(error);
        }
        let note = round.problem.as_ref().map(|problem| Note::Problem { text: one_line(&format!("{problem:#}")) });
        rollout::note(&state, Topic::Problem, &note.unwrap_or(Note::Fine)).await?;
        Ok(round)
    }

    /// Gets what is new and, as far as it holds, makes it the target.
    async fn move_target(&self, state: &State, round: &mut Round) -> Result<()> {
        let fetched = self.checkout.fetch();
        let checked_out = self.checkout.commit().map_err(with_hint)?;
        match &fetched {
            Ok(fetched) if *fetched != checked_out => round.is_refused = !self.take_in(state, fetched).await?,
            _ => {}
        }
        if !round.is_refused {
            round.is_refused = !self.freeze(state, round).await?;
        }
        fetched.map(drop).map_err(with_hint)
    }

    /// Looks at a new revision beside the checkout and, where it holds, advances to it.
    async fn take_in(&self, state: &State, commit: &str) -> Result<bool> {
        let project = Project::open(&self.dir)?;
        if self.was_refused(state, commit).await? {
            return Ok(false);
        }
        let laid_out = self.checkout.lay_out(commit).map_err(with_hint)?;
        match planning::plan_folder(&laid_out.root, &project.settings, Some(state)).await? {
            Ok(planned) => all_secrets_are_there(&project, &planned.plan().advance)?,
            Err(refused) => return refuse(state, commit, refused).await,
        }
        drop(laid_out);
        self.checkout.advance(commit).map_err(with_hint)?;
        show::talk(format!("advanced to revision {commit}"));
        Ok(true)
    }

    /// Freezes what is checked out, unless that was frozen before: a rollback stays until the model goes on.
    async fn freeze(&self, state: &State, round: &mut Round) -> Result<bool> {
        // The checkout may have got its settings only now.
        let project = Project::open(&self.dir)?;
        let commit = self.checkout.commit().map_err(with_hint)?;
        if rollout::frozen(state).await?.as_deref() == Some(commit.as_str()) {
            return Ok(true);
        }
        if self.was_refused(state, &commit).await? {
            return Ok(false);
        }
        let planned = match planning::plan_folder(&project.root, &project.settings, Some(state)).await? {
            Ok(planned) => planned,
            Err(refused) => return refuse(state, &commit, refused).await,
        };
        let plan = planned.plan();
        round.changed = plan.delta.changes.len();
        if !plan.is_empty() {
            all_secrets_are_there(&project, &plan.advance)?;
            if let Looked::Whole(whole) = &planned.looked {
                shared_by_pods(&project, &whole.1.blueprint)?;
            }
            state.freeze(&plan.advance, levada_platforms::FORM, Clock::now(&SystemClock)).await?;
        }
        rollout::note(state, Topic::Frozen, &Note::Frozen { commit }).await?;
        rollout::note(state, Topic::Refused, &Note::Fine).await?;
        Ok(true)
    }

    /// Whether a revision was refused on what is in force now, by this very build; then it was told when it
    /// came. Whoever follows once is told again.
    async fn was_refused(&self, state: &State, commit: &str) -> Result<bool> {
        Ok(!self.is_once && rollout::was_refused(state, commit).await?)
    }

    /// Has the platforms take the target up that may, and notes what the others wait for.
    async fn take_up(&self, state: &State, round: &mut Round) -> Result<()> {
        let project = Project::open(&self.dir)?;
        let (Some(target), Some(commit)) = (round.generation, rollout::frozen(state).await?) else { return Ok(()) };
        let behind = state.behind().await?;
        let with_files = rollout::undelivered(state, target, &commit).await?;
        if behind.is_empty() && with_files.is_empty() {
            return rollout::note_waits(state, BTreeMap::new()).await;
        }
        let model = everybodys(&project)?;
        let branch = self.checkout.branch().map_err(with_hint)?;
        let (now, approvals) = (Clock::now(&SystemClock), state.approvals().await?);
        let mut ready = BTreeSet::new();
        for platform in behind.keys().chain(&with_files) {
            match rollout::verdict(&model, platform, &branch, target, &approvals, now) {
                Verdict::Ready => drop(ready.insert(platform.clone())),
                waits => drop(round.waits.insert(platform.clone(), waits)),
            }
        }
        rollout::note_waits(state, round.waits.clone()).await?;
        let (with_files, run): (BTreeSet<_>, BTreeSet<_>) =
            ready.into_iter().partition(|platform| with_files.contains(platform));
        if !run.is_empty() {
            round.taken_up += state.take_up(run, Clock::now(&SystemClock)).await?;
        }
        bring_files(&project, state, with_files, (target, &commit), round).await
    }
}

/// Tells that a revision does not hold, and remembers it.
async fn refuse(state: &State, commit: &str, refused: Refused) -> Result<bool> {
    show::talk(format!("revision {commit} is refused; what is in force goes on"));
    rollout::note_refused(state, commit, refused.findings).await?;
    Ok(false)
}

/// Has platforms that render files take the target up, and brings the files. One that fails keeps no other
/// from it.
async fn bring_files(
    project: &Project,
    state: &State,
    platforms: BTreeSet<PlatformName>,
    (target, commit): (Generation, &str),
    round: &mut Round,
) -> Result<()> {
    if platforms.is_empty() {
        return Ok(());
    }
    // Files are made of all nodes, by the model that is checked out: it has to be what the target was made of.
    let Ok(planned) = planning::plan_folder(&project.root, &project.settings, Some(state)).await? else {
        bail!("the model that is checked out does not hold any more");
    };
    let whole = match planned.looked {
        Looked::Whole(whole) if whole.1.plan.is_empty() => whole,
        _ => bail!("generation {target} is not what the checked-out model says; files are rendered of the model alone"),
    };
    let mut failed = Ok(());
    for platform in platforms {
        let only = BTreeSet::from([platform.clone()]);
        let taken_up = AtomicUsize::new(0);
        let advance = async {
            taken_up.store(state.take_up(only.clone(), Clock::now(&SystemClock)).await?, Ordering::Relaxed);
            Ok(())
        };
        match with_files(project, &whole.0, &whole.1, Some(&only), advance).await {
            Ok(Some(_)) => rollout::note_delivered(state, &platform, target, commit).await?,
            Ok(None) => failed = Err(anyhow!("platform {platform}: its files were not rendered")),
            Err(error) => failed = Err(error.context(format!("platform {platform}"))),
        }
        round.taken_up += taken_up.into_inner();
    }
    failed
}

/// What all objects of the model stand on: its platforms and calendars among them.
fn everybodys(project: &Project) -> Result<Model> {
    let survey = levada_repo::Folder::open(&project.root)?.survey(project.settings.cache.as_deref())?;
    match survey.outlined() {
        Some(_) => Ok(survey.part(&BTreeSet::new())?.model),
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

fn with_hint(error: impl Into<FollowError>) -> anyhow::Error {
    let error = error.into();
    show::failure(&error, error.hint())
}
