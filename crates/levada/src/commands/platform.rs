//! `levada platform`: asks the programs of external platforms what they can do, and tries them out.

use crate::cli::{DescribeArgs, Format, TestArgs};
use crate::compile::Compiler;
use crate::project::Project;
use crate::rendering::ask::ask;
use crate::rendering::conformance;
use crate::rendering::{entry, home, useless};
use crate::show;
use anyhow::{Context, Result, bail};
use levada_model::connection::ContainerKind;
use levada_model::model::{DESCRIBE_FILE, DESCRIBE_VERSION, DescribeFile, Described};
use levada_model::name::PlatformName;
use levada_planner::platform::IngestMode;
use levada_platforms::external::answer::{DescribeAnswer, read_description};
use levada_platforms::external::question::{Ask, Question};
use levada_platforms::external::run_fingerprint;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Asks a platform's program what it can do, and keeps the answer beside the file that names it.
pub async fn describe(args: &DescribeArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let compiler = Compiler::load(&project.root)?;
    let platform: PlatformName = args.platform.parse()?;
    let entry = entry(&compiler.model, &platform)?;
    let Some(run) = &entry.run else {
        bail!("platform {platform} names no program, so there is nobody to ask");
    };
    let infrastructure = compiler.model.infrastructure_of(entry);
    let (home, question) = (home(&compiler, entry), Question::describe(entry, infrastructure));
    let answer = ask(&project.settings, entry, &home, Ask::Describe, &question.to_bytes()).await?;
    let value = read_description(&answer).map_err(|problem| useless(entry, Ask::Describe, &problem, &answer))?;
    let read = DescribeAnswer::read(&value).map_err(|problem| useless(entry, Ask::Describe, &problem, &answer))?;
    let path = home.join(DESCRIBE_FILE);
    keep(&path, entry.name.as_str(), Described { run: run_fingerprint(run), answer: value.clone() })?;
    match args.format {
        Format::Json => show::json(&value),
        Format::Text => {
            show::data(in_words(&read));
            show::talk(format!("kept in {}", path.display()));
            show::talk("commit that file: `levada check` reads it, and asks nobody");
        }
    }
    Ok(true)
}

/// What a program can do, for people.
fn in_words(answer: &DescribeAnswer) -> String {
    let list = |words: Vec<&str>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let DescribeAnswer { program, version, capabilities, .. } = answer;
    let source = |(kind, modes): (&ContainerKind, &BTreeSet<IngestMode>)| {
        format!("{} by {}", kind.word(), list(modes.iter().map(|mode| mode.word()).collect()))
    };
    let sources: Vec<String> = capabilities.sources.iter().map(source).collect();
    [
        format!("{program} {version}"),
        format!("  reads        {}", list(sources.iter().map(String::as_str).collect())),
        format!("  delivers to  {}", list(capabilities.sinks.iter().map(|kind| kind.word()).collect())),
        format!("  runs         {}", list(capabilities.code.iter().map(|kind| kind.word()).collect())),
        format!("  links by     {}", list(capabilities.feeds.iter().map(String::as_str).collect())),
    ]
    .join("\n")
}

/// Adds an answer to the file, whose other answers stay.
fn keep(path: &Path, platform: &str, described: Described) -> Result<()> {
    let mut file = match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("failed to read {}; remove it", path.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            DescribeFile { version: DESCRIBE_VERSION, platforms: BTreeMap::new() }
        }
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    if file.version != DESCRIBE_VERSION {
        bail!("{} has version {}, this build knows {DESCRIBE_VERSION}", path.display(), file.version);
    }
    file.platforms.insert(platform.to_owned(), described);
    let mut text = serde_json::to_string_pretty(&file).expect("plain data always serialises");
    text.push('\n');
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// Tries a program on the worked example and says, point by point, what it keeps of the protocol.
pub async fn test(args: &TestArgs) -> Result<bool> {
    let points = conformance::run(&args.program).await?;
    let failed = points.iter().filter(|point| point.problem.is_some()).count();
    match args.format {
        Format::Json => show::json(&serde_json::json!({ "points": points })),
        Format::Text => {
            for point in &points {
                let verdict = if point.problem.is_none() { "ok    " } else { "FAILED" };
                show::data(format!("{verdict}  {}", point.what));
                if let Some(problem) = &point.problem {
                    show::data(format!("        {problem}"));
                }
            }
            show::talk(format!("{} points, {failed} failed", points.len()));
        }
    }
    Ok(failed == 0)
}
