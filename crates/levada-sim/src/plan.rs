//! What `levada plan` costs after a change of one dataset: the built program, a new process each time.
//!
//! The model's folder is changed and put back; state, cache and secrets lie in a folder of their own.

use crate::measure::{children_cpu_seconds, children_peak_rss_mb};
use anyhow::{Context, Result, bail, ensure};
use levada_model::Model;
use levada_model::address::DatasetRef;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// The column that a change adds.
const COLUMN: &str = "bench_column: { type: text, nullable: true }";

/// Applies the model, then plans so many changes, each of one dataset that somebody consumes.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub fn run(dir: &Path, levada: &Path, plans: usize) -> Result<()> {
    let loaded = levada_repo::load(dir)?;
    let bench = Bench::new(dir, levada, &loaded.model)?;
    let datasets = consumed(&loaded.model);
    ensure!(!datasets.is_empty(), "nobody consumes anything in {}", dir.display());
    bench.timed("first plan, whole", &["plan"])?;
    bench.timed("first apply", &["apply", "--yes"])?;
    bench.timed("plan of nothing", &["plan"])?;
    let mut figures = Vec::new();
    let mut said = String::new();
    for number in 0..plans {
        let of = &datasets[number * datasets.len() / plans];
        let change = Change::make(&loaded, of)?;
        let figure = bench.run(&["plan"]);
        change.undo()?;
        let (figure, output) = figure?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("bench_column added"), "the plan of a change of {of} does not have it:\n{text}");
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        figures.push(figure);
    }
    figures.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    let (median, slowest) = (&figures[plans / 2], &figures[plans - 1]);
    println!(
        "{plans} plans of one changed dataset: median {:.3} s wall, {:.3} CPU s; slowest {:.3} s wall",
        median.wall, median.cpu, slowest.wall
    );
    println!("peak {:.0} MB in all runs of the program; the last plan: {said}", children_peak_rss_mb());
    std::fs::remove_dir_all(&bench.work)?;
    Ok(())
}

/// What a run of the program cost.
struct Figure {
    wall: f64,
    cpu: f64,
}

struct Bench<'a> {
    dir: &'a Path,
    levada: &'a Path,
    work: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(dir: &'a Path, levada: &'a Path, model: &Model) -> Result<Self> {
        let work = std::env::temp_dir().join(format!("levada-bench-{}", std::process::id()));
        for credential in model.containers.iter().filter_map(|container| container.connection.credential.as_ref()) {
            let folder = work.join("secrets").join(credential.as_str());
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("user"), "bench")?;
            std::fs::write(folder.join("password"), "bench")?;
        }
        Ok(Self { dir, levada, work })
    }

    fn run(&self, arguments: &[&str]) -> Result<(Figure, Output)> {
        let (began, before) = (Instant::now(), children_cpu_seconds());
        let output = Command::new(self.levada)
            .args(arguments)
            .arg(self.dir)
            .env("LEVADA_STATE", format!("sqlite:{}", self.work.join("state.db").display()))
            .env("LEVADA_CACHE", self.work.join("cache"))
            .env("LEVADA_SECRETS", self.work.join("secrets"))
            .output()
            .with_context(|| format!("start {}", self.levada.display()))?;
        let figure = Figure { wall: began.elapsed().as_secs_f64(), cpu: children_cpu_seconds() - before };
        if !output.status.success() {
            bail!("levada {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok((figure, output))
    }

    #[expect(clippy::print_stdout, reason = "the figures are this program's output")]
    fn timed(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let (figure, _) = self.run(arguments)?;
        println!("{name:<18} {:>7.3} s wall {:>7.3} CPU s", figure.wall, figure.cpu);
        Ok(())
    }
}

/// The datasets that somebody consumes and a producer offers, sorted.
fn consumed(model: &Model) -> Vec<DatasetRef> {
    let sinks = model.workspaces.iter().flat_map(|workspace| &workspace.groups).flat_map(|group| &group.sinks);
    let all: BTreeSet<DatasetRef> = sinks.map(|sink| sink.dataset.value.clone()).collect();
    let is_source = |of: &DatasetRef| {
        let store = model.datastore(&of.datastore);
        store.is_some_and(|store| matches!(store.origin, levada_model::model::Origin::Container { .. }))
    };
    all.into_iter().filter(is_source).collect()
}

/// A file of the model with one column more.
struct Change {
    path: PathBuf,
    before: String,
}

impl Change {
    /// Adds a column to a dataset that is written with one column a line.
    fn make(loaded: &levada_repo::Loaded, of: &DatasetRef) -> Result<Self> {
        let span = loaded.model.dataset(of).context("the dataset is in the model")?.span;
        let path = loaded.files.path(span.file).context("its file is known")?;
        let path = loaded.files.root().join(path);
        let before = std::fs::read_to_string(&path)?;
        let columns = before[span.offset as usize..].find("columns:\n").context("its columns stand in lines")?;
        let at = span.offset as usize + columns + "columns:\n".len();
        let indent = &before[at..at + before[at..].find(|c: char| c != ' ').unwrap_or(0)];
        std::fs::write(&path, format!("{}{indent}{COLUMN}\n{}", &before[..at], &before[at..]))?;
        Ok(Self { path, before })
    }

    fn undo(self) -> Result<()> {
        Ok(std::fs::write(&self.path, &self.before)?)
    }
}
