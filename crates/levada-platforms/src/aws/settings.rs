//! What a platform of this kind is told, over its infrastructure's settings; everything has a default or
//! becomes a variable of Terraform.

use crate::output::{settings, without_output};
use levada_model::model::{Infrastructure, PlatformEntry, Settings};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many stacks a platform has where it says nothing.
const STACKS: u32 = 512;
/// The most it may have: a stack's number has three digits.
pub const STACKS_MAX: u32 = 1_000;
/// An object has ten, and four are ours.
const TAGS_MAX: usize = 6;
/// The cell of a platform that names none.
pub const MAIN_CELL: &str = "main";

/// What a platform is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AwsSettings {
    /// The account of everything but the cells' own; `None`: a variable.
    pub account: Option<String>,
    /// The region; `None`: a variable.
    pub region: Option<String>,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// How many stacks; fixed when the platform is created.
    pub stacks: u32,
    /// How many there were: stores whose stack is another now move, state and all.
    pub stacks_before: Option<u32>,
    /// Who reads the sources, by name.
    pub cells: BTreeMap<String, Cell>,
    /// Replication instances a cell.
    pub instances: u32,
    /// Their class.
    pub instance_class: String,
    /// Their disk, in GiB.
    pub instance_gib: u32,
    /// The longest large value that DMS carries, in KiB.
    pub lob_kib: u32,
    /// Spark workers a run, at least 2.
    pub workers: u32,
    /// Their type.
    pub worker_type: String,
    /// The longest run, in minutes.
    pub run_minutes: u32,
    /// Runs at once.
    pub runs_max: u32,
    /// How long staged files are kept, in days.
    pub staging_days: u32,
    /// How long logs are kept, in days.
    pub log_days: u32,
    /// What stands before a credential's name in Secrets Manager.
    pub secret_prefix: String,
    /// Tags of the owner's own.
    pub tags: BTreeMap<String, String>,
}

/// An account that reads the sources of some stacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The account; `None`: the platform's own.
    pub account: Option<String>,
    /// First and last of its stacks.
    pub stacks: (u32, u32),
}

impl AwsSettings {
    /// Reads the settings of a platform.
    ///
    /// # Errors
    /// Everything that is wrong with them, in words.
    pub fn of(platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Result<Self, Vec<String>> {
        let location = platform.locations.first().map(|location| location.value.to_string());
        let mut reader = Reader { left: without_output(settings(platform, infrastructure)), wrong: Vec::new() };
        let settings = reader.read(location.as_deref());
        let mut wrong = reader.wrong;
        wrong.extend(reader.left.keys().map(|key| unknown(key)));
        wrong.extend(settings.contradictions());
        if wrong.is_empty() { Ok(settings) } else { Err(wrong) }
    }

    /// The cell of a stack, and its name.
    pub fn cell_of(&self, stack: u32) -> (&str, &Cell) {
        let found = self.cells.iter().find(|(_, cell)| (cell.stacks.0..=cell.stacks.1).contains(&stack));
        // Beyond them are stacks that are emptied: whoever has the last one does that.
        let last = || self.cells.iter().max_by_key(|(_, cell)| cell.stacks.1);
        let (name, cell) =
            found.or_else(last).expect("the cells share out all stacks: that was checked when they were read");
        (name, cell)
    }

    /// Whether a cell is in another account than the rest.
    pub fn is_elsewhere(&self, cell: &Cell) -> bool {
        cell.account.is_some() && cell.account != self.account
    }

    /// What can be read and makes no sense.
    fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.tags.len() > TAGS_MAX {
            wrong.push(format!(
                "settings.tags has {} tags; an object of S3 takes {TAGS_MAX} beside our own",
                self.tags.len()
            ));
        }
        let mut accounts: Vec<_> =
            self.cells.values().map(|cell| cell.account.as_ref().or(self.account.as_ref())).collect();
        accounts.sort();
        let count = accounts.len();
        accounts.dedup();
        if accounts.len() < count {
            wrong.push(
                "settings.cells: two cells are in one account, and share its quotas anyway: make them one".to_owned(),
            );
        }
        let mut next = 0;
        let mut ranges: Vec<_> = self.cells.iter().map(|(name, cell)| (cell.stacks, name)).collect();
        ranges.sort();
        for ((first, last), name) in ranges {
            if first != next || last < first {
                wrong.push(format!(
                    "settings.cells: {name} has the stacks {first} to {last} where {next} is the first that nobody has: each of the {} stacks belongs to one cell", self.stacks
                ));
                return wrong;
            }
            next = last + 1;
        }
        if next != self.stacks {
            wrong.push(format!(
                "settings.cells have stacks up to {}, and the platform has {}",
                next.saturating_sub(1),
                self.stacks
            ));
        }
        wrong
    }
}

const KEYS: [&str; 19] = [
    "account",
    "region",
    "regions",
    "partition",
    "stacks",
    "stacks_before",
    "cells",
    "replication_instances",
    "replication_instance_class",
    "replication_instance_gib",
    "lob_kib",
    "workers",
    "worker_type",
    "run_minutes",
    "runs_max",
    "staging_days",
    "log_days",
    "secret_prefix",
    "tags",
];

fn unknown(key: &str) -> String {
    let near = levada_model::nearest::nearest(key, KEYS).map(|near| format!("; did you mean {near:?}?"));
    format!("there is no setting {key:?}{}", near.unwrap_or_default())
}

/// Takes settings one by one, and remembers what was wrong.
struct Reader {
    left: Settings,
    wrong: Vec<String>,
}

impl Reader {
    fn read(&mut self, location: Option<&str>) -> AwsSettings {
        let stacks = self.number("stacks", STACKS, 1..=STACKS_MAX);
        let regions = self.texts("regions");
        let region = self.text("region").or_else(|| regions.get(location?).cloned());
        AwsSettings {
            account: self.account("account"),
            region,
            partition: self.word("partition", "aws", &["aws", "aws-cn", "aws-us-gov"]),
            stacks,
            stacks_before: self.optional_number("stacks_before", 1..=STACKS_MAX),
            cells: self.cells(stacks),
            instances: self.number("replication_instances", 1, 1..=60),
            instance_class: self.text("replication_instance_class").unwrap_or_else(|| "dms.r6i.large".to_owned()),
            instance_gib: self.number("replication_instance_gib", 100, 5..=6_144),
            lob_kib: self.number("lob_kib", 1_024, 1..=102_400),
            workers: self.number("workers", 2, 2..=299),
            worker_type: self.word("worker_type", "G.1X", &["G.1X", "G.2X", "G.4X", "G.8X"]),
            run_minutes: self.number("run_minutes", 480, 1..=10_080),
            runs_max: self.number("runs_max", 50, 1..=1_000),
            staging_days: self.number("staging_days", 30, 1..=3_650),
            log_days: self.log_days(),
            secret_prefix: self.text("secret_prefix").unwrap_or_else(|| "levada/".to_owned()),
            tags: self.texts("tags"),
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.left.remove(key)? {
            Value::String(text) if !text.is_empty() => Some(text),
            other => {
                self.wrong.push(format!("settings.{key} is {other}, and a text is wanted"));
                None
            }
        }
    }

    fn word(&mut self, key: &str, default: &str, words: &[&str]) -> String {
        let word = self.text(key).unwrap_or_else(|| default.to_owned());
        if !words.contains(&word.as_str()) {
            self.wrong.push(format!("settings.{key} is {word:?}; it may be {}", words.join(", ")));
        }
        word
    }

    fn optional_number(&mut self, key: &str, allowed: std::ops::RangeInclusive<u32>) -> Option<u32> {
        self.left.contains_key(key).then(|| self.number(key, 1, allowed))
    }

    fn number(&mut self, key: &str, default: u32, allowed: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.left.remove(key) else { return default };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| allowed.contains(number)) {
            Some(number) => number,
            None => {
                let (from, to) = (allowed.start(), allowed.end());
                self.wrong.push(format!("settings.{key} is {value}; it may be {from} to {to}"));
                default
            }
        }
    }

    /// CloudWatch takes some numbers of days only.
    fn log_days(&mut self) -> u32 {
        const ALLOWED: [u32; 12] = [365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653, 0];
        let days = self.number("log_days", 365, 0..=3_653);
        if !ALLOWED.contains(&days) {
            let words: Vec<String> = ALLOWED.iter().map(u32::to_string).collect();
            self.wrong
                .push(format!("settings.log_days is {days}; CloudWatch takes {} (0: without end)", words.join(", ")));
        }
        days
    }

    fn account(&mut self, key: &str) -> Option<String> {
        let value = self.left.remove(key)?;
        let account = is_account(&value);
        if account.is_none() {
            self.wrong.push(format!("settings.{key} is {value}, and an account is a text of 12 digits"));
        }
        account
    }

    fn texts(&mut self, key: &str) -> BTreeMap<String, String> {
        let Some(value) = self.left.remove(key) else { return BTreeMap::new() };
        match serde_json::from_value(value) {
            Ok(texts) => texts,
            Err(_) => {
                self.wrong.push(format!("settings.{key} is no object of texts"));
                BTreeMap::new()
            }
        }
    }

    fn cells(&mut self, stacks: u32) -> BTreeMap<String, Cell> {
        let whole = || BTreeMap::from([(MAIN_CELL.to_owned(), Cell { account: None, stacks: (0, stacks - 1) })]);
        let Some(value) = self.left.remove("cells") else { return whole() };
        let read = value
            .as_object()
            .filter(|cells| !cells.is_empty())
            .and_then(|cells| cells.iter().map(|(name, cell)| Some((name.clone(), read_cell(name, cell)?))).collect());
        read.unwrap_or_else(|| {
            let message = "settings.cells is not { NAME: { account: \"123456789012\", stacks: [FIRST, LAST] }, … } with names of small letters and digits";
            self.wrong.push(message.to_owned());
            whole()
        })
    }
}

fn read_cell(name: &str, cell: &Value) -> Option<Cell> {
    let is_name =
        !name.is_empty() && name.len() <= 16 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let object = cell.as_object().filter(|_| is_name)?;
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let stacks = match object.get("stacks")?.as_array()?.as_slice() {
        [first, last] => (number(first)?, number(last)?),
        _ => return None,
    };
    let account = match object.get("account") {
        Some(account) => Some(is_account(account)?),
        None => None,
    };
    let is_whole = object.keys().all(|key| key == "stacks" || key == "account");
    is_whole.then_some(Cell { account, stacks })
}

fn is_account(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
}
