//! `cargo xtask faults`: the faults that streams come through, for one seed after the other.
//!
//! Takes which fault and which seeds, runs the tests of that name in `crates/levada/tests/faults` with
//! each, and gives how many runs there were and which failed. Breaks nothing itself.

use crate::{debian, mariadb, postgres, process};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// Which faults, and with which seeds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// A part of a fault's name; `None`: all.
    fault: Option<String>,
    seed: u64,
    seeds: u64,
}

impl Options {
    /// Reads `--fault NAME`, `--seed S` (1) and `--seeds N` (1).
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut options = Self { fault: None, seed: 1, seeds: 1 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` wants a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("`{word}` wants a number, not `{value}`"));
            match word.as_str() {
                "--fault" => options.fault = Some(value.clone()),
                "--seed" => options.seed = number()?,
                "--seeds" => options.seeds = number()?,
                _ => return Err(format!("faults know no option `{word}`")),
            }
        }
        Ok(options)
    }
}

/// The library by which the tests move a worker's clock.
pub(crate) fn find_or_install_clock() -> anyhow::Result<()> {
    let is_there = || {
        let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).any(|library| library.is_file())
    };
    if !is_there() {
        eprintln!("No libfaketime found: installing Debian's package.");
        debian::install(&["faketime"]).context("install libfaketime, Debian's package `faketime`")?;
    }
    if !is_there() {
        bail!("the package faketime is installed, but its library is not to be found");
    }
    Ok(())
}

/// Runs the faults.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<ExitCode> {
    postgres::find_or_install()?;
    mariadb::find_or_install()?;
    find_or_install_clock()?;
    process::run(process::cargo(root).args(["test", "--quiet", "--package", "levada", "--test", "main", "--no-run"]))?;
    let (mut runs, mut failed) = (BTreeMap::<String, u64>::new(), Vec::new());
    for seed in options.seed..options.seed + options.seeds {
        eprintln!("==> seed {seed}");
        for (fault, is_ok) in run_seed(root, seed, options.fault.as_deref())? {
            if !is_ok {
                failed.push(format!("{fault} --seed {seed}"));
            }
            *runs.entry(fault).or_default() += 1;
        }
    }
    let total: u64 = runs.values().sum();
    for (fault, count) in &runs {
        println!("{count:>4}  {fault}");
    }
    println!("{total} runs of {} faults, {} failed", runs.len(), failed.len());
    failed.iter().for_each(|one| println!("FAILED  cargo xtask faults --fault {one}"));
    if total == 0 {
        bail!("no fault has that name; the files in crates/levada/tests/faults have them all");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the faults with one seed; gives each and whether it held.
fn run_seed(root: &Path, seed: u64, fault: Option<&str>) -> anyhow::Result<Vec<(String, bool)>> {
    let mut command = process::cargo(root);
    command.args(["test", "--quiet", "--package", "levada", "--test", "main", "--"]);
    // One line a test, with its name.
    command.args(["--format", "pretty"]).arg(fault.unwrap_or("faults::"));
    command.env("LEVADA_FAULT_SEED", seed.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start the tests")?;
    let output = child.stdout.take().context("the output was piped")?;
    let mut ended = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        eprintln!("{line}");
        if let Some((name, is_ok)) = fault_of(&line) {
            ended.push((name.to_owned(), is_ok));
        }
    }
    child.wait()?;
    Ok(ended)
}

/// Takes `test faults::postgres::NAME ... ok` apart.
fn fault_of(line: &str) -> Option<(&str, bool)> {
    let (name, end) = line.strip_prefix("test faults::")?.split_once(" ... ")?;
    let is_ok = match end {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some((name, is_ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_or_refused() {
        let all = Options { fault: Some("kill".to_owned()), seed: 7, seeds: 8 };
        assert_eq!(parse("--fault kill --seed 7 --seeds 8"), Ok(all));
        assert_eq!(parse(""), Ok(Options { fault: None, seed: 1, seeds: 1 }));
        assert!(parse("--seed x").is_err() && parse("--seed").is_err() && parse("--sed 1").is_err());
    }

    #[test]
    fn what_a_test_says_of_a_fault_is_read() {
        assert_eq!(fault_of("test faults::everywhere::mariadb::a ... ok"), Some(("everywhere::mariadb::a", true)));
        assert_eq!(fault_of("test faults::postgres::a ... FAILED"), Some(("postgres::a", false)));
        assert_eq!(fault_of("test faults::postgres::a has been running for over 60 seconds"), None);
        assert_eq!(fault_of("test serve::a ... ok"), None);
    }
}
