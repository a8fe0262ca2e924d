//! `cargo xtask gen scale`: writes a synthetic ecosystem of any size.
//!
//! Takes a few numbers, gives a model folder that is right (no findings), the same bytes for the same
//! numbers on every machine. examples/scale/README.md says what is in it and why.

mod consumer;
mod ecosystem;
mod plan;
mod producer;
mod random;

use anyhow::{Context, bail};
use plan::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// More would not fit the six digits of the names.
const STORES_MAX: u32 = 1_000_000;
const DATASETS_MAX: u32 = 10_000;
const COLUMNS_MAX: u32 = 1_000;

/// How large the ecosystem is and where it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) stores: u32,
    /// Of each store.
    pub(crate) datasets: u32,
    /// Of each dataset.
    pub(crate) columns: u32,
    pub(crate) seed: u64,
    /// A folder that does not exist yet or is empty.
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads `--out DIR --stores N …`; the error is a sentence for the person who typed it.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut stores, mut datasets, mut columns, mut seed, mut out) = (1_000, 10, 10, 1, None);
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("`{name}` comes without a value"))?;
            match name.as_str() {
                "--stores" => stores = number(name, value, STORES_MAX)?,
                "--datasets" => datasets = number(name, value, DATASETS_MAX)?,
                "--columns" => columns = number(name, value, COLUMNS_MAX)?,
                "--seed" => seed = value.parse().map_err(|_| format!("`--seed {value}` is not a number"))?,
                "--out" => out = Some(PathBuf::from(value)),
                _ => return Err(format!("`gen scale` has no option `{name}`")),
            }
        }
        let out = out.ok_or("`gen scale` needs `--out DIR`")?;
        Ok(Self { stores, datasets, columns, seed, out })
    }
}

fn number(name: &str, value: &str, max: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("`{name} {value}` is not a number from 1 to {max}"))
}

/// Writes the ecosystem and prints how large it is.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let is_taken = options.out.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        bail!("{} is not empty; delete it or name another folder", options.out.display());
    }
    let plan = Plan::new(options);
    let mut writer = Writer { root: &options.out, file_count: 0, byte_count: 0 };
    ecosystem::write(&plan, &mut writer)?;
    producer::write(&plan, &mut writer)?;
    consumer::write(&plan, &mut writer)?;
    println!(
        "{}: {} datastores, {} datasets, {} columns; {} workspaces with {} sinks, {} transformers; \
         {} files, {:.1} MB, {:.1} s",
        options.out.display(),
        plan.stores.len(),
        plan.stores.len() * plan.datasets as usize,
        plan.stores.len() * plan.datasets as usize * plan.columns as usize,
        plan.workspaces.len(),
        plan.workspaces.iter().map(plan::Workspace::sink_count).sum::<usize>(),
        plan.workspaces.iter().filter(|workspace| workspace.transforms).count(),
        writer.file_count,
        writer.byte_count as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes files one after the other and counts them.
pub(crate) struct Writer<'a> {
    root: &'a Path,
    file_count: u64,
    byte_count: u64,
}

impl Writer<'_> {
    /// Writes one file and the folders above it.
    fn write(&mut self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root.join(path);
        let folder = path.parent().expect("a file of the ecosystem is below its root");
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        self.file_count += 1;
        self.byte_count += text.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, run};
    use crate::tidy::tree::{Tree, scratch::Scratch};
    use std::collections::BTreeMap;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn generate(name: &str, line: &str) -> BTreeMap<String, String> {
        let scratch = Scratch::new(name);
        let mut options = Options::parse(&words(&format!("--out x {line}"))).expect("the options are right");
        options.out = scratch.path().join("out");
        run(&options).expect("the folder is new");
        let tree = Tree::read(&options.out).expect("the folder was just written");
        tree.texts().map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
    }

    #[test]
    fn same_numbers_give_the_same_bytes_and_another_seed_gives_others() {
        let first = generate("scale-first", "--stores 60");
        assert_eq!(first, generate("scale-again", "--stores 60"));
        assert_ne!(first, generate("scale-other", "--stores 60 --seed 2"));
    }

    #[test]
    fn every_store_dataset_and_column_that_was_ordered_is_there() {
        let files = generate("scale-counts", "--stores 45 --datasets 7 --columns 5");
        let stores: Vec<_> = files.iter().filter(|(path, _)| path.contains("/stores/")).collect();
        assert_eq!(stores.len(), 45);
        for (path, text) in stores {
            assert_eq!(text.lines().filter(|line| line.starts_with("    columns:")).count(), 7, "{path}");
            assert_eq!(text.lines().filter(|line| line.starts_with("      ")).count(), 35, "{path}");
        }
    }

    #[test]
    fn every_name_that_is_used_is_declared_and_every_file_of_code_is_there() {
        let files = generate("scale-names", "--stores 120 --datasets 3 --columns 2");
        let declared = |kind: &str| -> Vec<&str> {
            let starts = format!("{kind}: ");
            files.values().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix(starts.as_str())).collect()
        };
        let (stores, workspaces) = (declared("datastore"), declared("workspace"));
        let outputs: Vec<&str> = files
            .values()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.trim().strip_prefix("output: { datastore: ")?.split(',').next())
            .collect();
        assert_eq!((stores.len(), workspaces.len()), (120, 24));
        assert!(!outputs.is_empty());
        let mut sink_count = 0;
        for (path, text) in &files {
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("datasets: [")) {
                for sink in line.trim_end_matches([']', '}', ' ']).split(", ") {
                    let store = sink.split('.').next().expect("a split gives at least one part");
                    assert!(stores.contains(&store) || outputs.contains(&store), "{path}: {sink}");
                    sink_count += 1;
                }
            }
            for code in text.lines().filter_map(|line| line.trim().strip_prefix("code: { sql: ")) {
                let folder = path.rsplit_once('/').expect("it lies in a team's folder").0;
                assert!(files.contains_key(&format!("{folder}/{}", code.trim_end_matches(" }"))), "{path}: {code}");
            }
        }
        assert!(sink_count > 24, "every workspace consumes something");
    }

    #[test]
    fn folder_with_something_in_it_is_left_alone() {
        let scratch = Scratch::new("scale-taken");
        scratch.write("precious.txt", "mine");
        let mut options = Options::parse(&words("--out x")).expect("the options are right");
        options.out = scratch.path().to_path_buf();
        assert!(run(&options).is_err());
        assert_eq!(Tree::read(scratch.path()).expect("it is there").len(), 1);
    }

    #[test]
    fn wrong_options_are_sentences() {
        for line in
            ["", "--out", "--out x --stores 0", "--out x --stores many", "--out x --stars 3", "--out x --seed -1"]
        {
            assert!(Options::parse(&words(line)).is_err(), "{line}");
        }
    }
}
