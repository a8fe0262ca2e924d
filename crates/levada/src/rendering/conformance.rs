//! What every external platform's program keeps to, tried out on the worked example.

use super::ask::ask_program;
use anyhow::{Context, Result};
use levada_model::model::{Described, PlatformEntry, Run};
use levada_model::{FileId, Findings, Model, assemble, read_file};
use levada_planner::platform::{Part, parts};
use levada_planner::{PlanOutcome, plan};
use levada_platforms::external::answer::{DescribeAnswer, LintAnswer, Problem, RenderAnswer, read_description};
use levada_platforms::external::question::{Ask, Question};
use levada_platforms::external::{Tree, run_fingerprint};
use levada_repo::rendered::Manifest;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The platform's name in the example, hostile enough to be one.
const PLATFORM: &str = "Try \"${it}\" & 'out' ü";

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Point {
    /// What has to hold.
    pub what: &'static str,
    /// Why it doesn't.
    pub problem: Option<String>,
}

type Tried = std::result::Result<(), String>;

/// Tries a program.
///
/// # Errors
/// The program isn't there. What it does wrong are points.
pub async fn run(program: &Path) -> Result<Vec<Point>> {
    let program = program.canonicalize().with_context(|| format!("failed to find {}", program.display()))?;
    let mut points = Vec::new();
    let mut point = |what: &'static str, tried: Tried| points.push(Point { what, problem: tried.err() });
    let described = describe(&program).await;
    point("`describe` answers with its capabilities", described.as_ref().map(drop).map_err(Clone::clone));
    let Ok(described) = described else { return Ok(points) };
    let (first, second) = match examples(&program, &described) {
        Ok(examples) => examples,
        Err(problem) => {
            point("it can do what the worked example asks", Err(problem));
            return Ok(points);
        }
    };
    point("`lint` has no errors in the worked example", lint(&program, &first).await);
    let rendered = render(&program, &first, None).await;
    point("`render` answers with files for the worked example", rendered.as_ref().map(drop).map_err(Clone::clone));
    let Ok(tree) = rendered else { return Ok(points) };
    point("every path stays below the output", paths(&tree));
    point("the same question has the same answer, byte by byte", same(&program, &first, None, &tree).await);
    let previous = Manifest::of(PLATFORM, "r1", 1, &tree).files;
    point("what was rendered before makes no difference", same(&program, &first, Some(&previous), &tree).await);
    point("one dataset more changes the rendering, and not all of it", grows(&program, &second, &tree).await);
    point(
        "a question of another protocol is refused",
        refuses(&program, json!({ "protocol": 999, "ask": "render" })).await,
    );
    point("what is no question is refused", refuses(&program, Value::String("nonsense".to_owned())).await);
    Ok(points)
}

/// A model, its plan, and the platform in it.
struct Example {
    model: Model,
    outcome: PlanOutcome,
}

impl Example {
    fn entry(&self) -> &PlatformEntry {
        &self.model.ecosystem.platforms[0]
    }

    async fn ask(
        &self,
        program: &Path,
        ask: Ask,
        previous: Option<&BTreeMap<String, String>>,
    ) -> std::result::Result<Vec<u8>, String> {
        let all = parts(&self.model, &self.outcome.blueprint, &self.outcome.plan.delta);
        let nothing = Part::new(&self.model, &self.entry().name);
        let part = all.get(&self.entry().name).unwrap_or(&nothing);
        let question = Question::about_part(ask, self.entry(), part, "r1", previous);
        ask_program(program, ask, &question.to_bytes()).await.map_err(|error| format!("{error:#}"))
    }
}

/// The worked example on a platform of this program, and the same with one dataset more.
fn examples(program: &Path, described: &Value) -> std::result::Result<(Example, Example), String> {
    let first = example(program, described, false)?;
    Ok((first, example(program, described, true)?))
}

fn example(program: &Path, described: &Value, has_orders: bool) -> std::result::Result<Example, String> {
    let run = format!("[{}]", Value::String(program.display().to_string()));
    let name = Value::String(PLATFORM.to_owned()).to_string();
    let mut fragments = Vec::new();
    let mut findings = Findings::default();
    let mut code = BTreeMap::new();
    for (number, (path, text)) in (0..).zip(crate::demo::EXAMPLE) {
        let mut text = text.replace("platform: Azure Platform", &format!("platform: {name}"));
        text = text.replace("kind: embedded", &format!("kind: external\n    run: {{ command: {run} }}"));
        if has_orders {
            text = text.replace("NW_Data.suppliers]", "NW_Data.suppliers, NW_Data.orders]");
        }
        if path.ends_with(".yaml") {
            let (fragment, found) = read_file(FileId(number), path, text.as_bytes());
            findings.extend(found);
            fragments.push((path.to_owned(), fragment));
        }
        code.insert(path, text);
    }
    let (mut model, found) = assemble(fragments, &|path| code.get(path).cloned());
    findings.extend(found);
    for platform in &mut model.ecosystem.platforms {
        let run = platform.run.as_ref().map(run_fingerprint).unwrap_or_default();
        platform.described = Some(Described { run, answer: described.clone() });
    }
    let in_words =
        |findings: &Findings| findings.0.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ");
    if findings.has_errors() {
        return Err(in_words(&findings));
    }
    match plan(&model, &levada_platforms::registry(), None, "r1".to_owned()) {
        Ok(outcome) => Ok(Example { model, outcome }),
        Err(findings) => Err(in_words(&findings)),
    }
}

async fn describe(program: &Path) -> std::result::Result<Value, String> {
    let entry = example_entry(program)?;
    let question = Question::describe(&entry, None);
    let answer =
        ask_program(program, Ask::Describe, &question.to_bytes()).await.map_err(|error| format!("{error:#}"))?;
    let value = read_description(&answer).map_err(in_words)?;
    DescribeAnswer::read(&value).map_err(in_words)?;
    Ok(value)
}

/// The platform before anybody knows what it can do.
fn example_entry(program: &Path) -> std::result::Result<PlatformEntry, String> {
    let name = Value::String(PLATFORM.to_owned());
    let text = format!(
        "ecosystem: try\nvendors: [{{ vendor: v, cloud: private, locations: {{ l: {{}} }} }}]\n\
         platforms: [{{ platform: {name}, kind: external, style: batch, locations: [\"v:l\"] }}]\n"
    );
    let (fragment, _) = read_file(FileId(0), "ecosystem.yaml", text.as_bytes());
    let (mut model, _) = assemble(vec![("ecosystem.yaml".to_owned(), fragment)], &|_| None);
    let mut entry = model.ecosystem.platforms.pop().ok_or("the example has no platform")?;
    entry.run = Some(Run::Command(vec![program.display().to_string()]));
    Ok(entry)
}

async fn lint(program: &Path, example: &Example) -> Tried {
    let findings = LintAnswer::read(&example.ask(program, Ask::Lint, None).await?).map_err(in_words)?;
    match findings.has_errors() {
        true => Err(findings.0.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join("; ")),
        false => Ok(()),
    }
}

async fn render(
    program: &Path,
    example: &Example,
    previous: Option<&BTreeMap<String, String>>,
) -> std::result::Result<Tree, String> {
    let (findings, tree) = RenderAnswer::read(&example.ask(program, Ask::Render, previous).await?).map_err(in_words)?;
    match (findings.has_errors(), tree.is_empty()) {
        (true, _) => Err(findings.0.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join("; ")),
        (false, true) => Err("it answers with no files".to_owned()),
        (false, false) => Ok(tree),
    }
}

fn paths(tree: &Tree) -> Tried {
    levada_repo::rendered::check_paths(tree).map_err(|error| format!("failed to {error}"))
}

async fn same(program: &Path, example: &Example, previous: Option<&BTreeMap<String, String>>, tree: &Tree) -> Tried {
    let again = render(program, example, previous).await?;
    let differs = |path: &&String| tree.get(*path) != again.get(*path);
    match tree.keys().chain(again.keys()).find(differs) {
        Some(path) => Err(format!("{path} differs")),
        None => Ok(()),
    }
}

async fn grows(program: &Path, example: &Example, before: &Tree) -> Tried {
    let after = render(program, example, None).await?;
    let changed = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).count();
    match changed {
        0 => Err("nothing differs".to_owned()),
        all if all == after.len() && all > 1 => Err(format!("all {all} files differ")),
        _ => Ok(()),
    }
}

/// A question that is none has to end the program without success.
async fn refuses(program: &Path, question: Value) -> Tried {
    match ask_program(program, Ask::Render, question.to_string().as_bytes()).await {
        Ok(_) => Err("it ended with success".to_owned()),
        Err(_) => Ok(()),
    }
}

fn in_words(Problem(problem): Problem) -> String {
    problem
}
