//! Patterns such as `{dataset}/*.csv`, and the files they name.
//!
//! `*` and `?` stand for characters of one part, `**` for any number of folders; `{dataset}` is
//! the dataset's `table`, taken literally. What starts with a dot is found only where the pattern
//! says the dot.

use super::config::failed;
use levada_flow::FlowError;
use levada_model::file_options::{is_path_part, pattern_problem};
use std::path::{Path, PathBuf};

/// The most files one pattern may name; beyond it the pull fails instead of swallowing the machine.
const FILES_MAX: usize = 1_000_000;

/// One character of a pattern's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Literal(char),
    One,
    Any,
}

/// One part of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Folders,
    Name(Vec<Token>),
}

/// The files of one dataset.
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern for one dataset.
    pub(super) fn parse(pattern: &str, table: &str) -> Result<Self, FlowError> {
        if let Some(why) = pattern_problem(pattern) {
            return Err(FlowError::never(format!("the pattern {pattern:?} {why}")));
        }
        if !is_path_part(table) {
            return Err(FlowError::never(format!("{table:?} can't be part of a path")));
        }
        let part = |part: &str| match part {
            "**" => Part::Folders,
            part => Part::Name(tokens(part, table)),
        };
        Ok(Self { parts: pattern.split('/').map(part).collect() })
    }

    /// The paths below `root` that the pattern names, `/`-separated and sorted.
    pub(super) fn files(&self, root: &Path) -> Result<Vec<String>, FlowError> {
        if !root.is_dir() {
            return Err(FlowError::never(format!("there is no folder {}", root.display())));
        }
        self.check_fixed(root)?;
        let mut found = Vec::new();
        walk(root, "", &self.parts, &mut found)?;
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// A folder that the pattern names in full has to be there.
    fn check_fixed(&self, root: &Path) -> Result<(), FlowError> {
        let mut folder = root.to_owned();
        for part in &self.parts[..self.parts.len() - 1] {
            let Some(name) = fixed(part) else { return Ok(()) };
            let parent = std::mem::take(&mut folder);
            folder = parent.join(&name);
            if !folder.is_dir() {
                let there: Vec<String> = entries(&parent)?.into_iter().map(|(name, _)| name).collect();
                let near = levada_model::nearest::nearest(&name, there.iter().map(String::as_str));
                let missing = FlowError::never(format!("there is no folder {}", folder.display()));
                return Err(match near {
                    Some(near) => missing.hint(format!("did you mean {near:?}?")),
                    None => missing,
                });
            }
        }
        Ok(())
    }
}

/// A part that stands for one name only.
fn fixed(part: &Part) -> Option<String> {
    let Part::Name(tokens) = part else { return None };
    tokens.iter().map(|token| if let Token::Literal(c) = token { Some(*c) } else { None }).collect()
}

fn tokens(part: &str, table: &str) -> Vec<Token> {
    let token = |c| match c {
        '*' => Token::Any,
        '?' => Token::One,
        c => Token::Literal(c),
    };
    let mut tokens = Vec::new();
    for (index, piece) in part.split("{dataset}").enumerate() {
        tokens.extend(table.chars().filter(|_| index > 0).map(Token::Literal));
        tokens.extend(piece.chars().map(token));
    }
    tokens
}

fn walk(folder: &Path, prefix: &str, parts: &[Part], found: &mut Vec<String>) -> Result<(), FlowError> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == Part::Folders {
        walk(folder, prefix, rest, found)?;
    }
    for (name, path) in entries(folder)? {
        let is_folder = path.is_dir();
        let below = format!("{prefix}{name}/");
        match part {
            Part::Folders if is_folder && !name.starts_with('.') => walk(&path, &below, parts, found)?,
            Part::Name(tokens) if is_match(tokens, &name) => match rest.is_empty() {
                true if !is_folder => found.push(format!("{prefix}{name}")),
                false if is_folder => walk(&path, &below, rest, found)?,
                _ => {}
            },
            _ => {}
        }
        if found.len() > FILES_MAX {
            return Err(FlowError::never(format!("the pattern names more than {FILES_MAX} files")));
        }
    }
    Ok(())
}

/// The names in a folder that are Unicode, sorted.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, FlowError> {
    let list = || -> std::io::Result<Vec<(String, PathBuf)>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            entries.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
        }
        entries.sort();
        Ok(entries)
    };
    list().map_err(|error| failed("listed", folder, error))
}

/// Whether a name fits; linear but for the last `*`, which alone is tried again.
fn is_match(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    if name.first() == Some(&'.') && tokens.first() != Some(&Token::Literal('.')) {
        return false;
    }
    let (mut token, mut at, mut retry) = (0, 0, None);
    while at < name.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                retry = Some((token, at));
                token += 1;
            }
            Some(Token::One) => (token, at) = (token + 1, at + 1),
            Some(Token::Literal(c)) if *c == name[at] => (token, at) = (token + 1, at + 1),
            _ => match &mut retry {
                Some((star, from)) => {
                    *from += 1;
                    (token, at) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_within_a_part_and_datasets_are_literal() {
        let matches = |pattern, table, name| is_match(&tokens(pattern, table), name);
        assert!(
            matches("*.csv", "d", "a.csv")
                && matches("a*b*c", "d", "aXbYbc")
                && matches("{dataset}-??.csv", "a*", "a*-01.csv")
        );
        assert!(
            !matches("*.csv", "d", "a.csv.tmp")
                && !matches("{dataset}.csv", "*", "a.csv")
                && !matches("*", "d", ".hidden")
        );
        assert!(!matches(&"*a".repeat(30), "d", &"a".repeat(29)), "and it ends");
    }

    #[test]
    fn no_pattern_leaves_its_folder() {
        for (pattern, table) in [
            ("../*.csv", "d"),
            ("/etc/*", "d"),
            ("a//b", "d"),
            ("{dataset}/*", ".."),
            ("{dataset}/*", "a/b"),
            ("a/**", "d"),
        ] {
            assert!(Pattern::parse(pattern, table).is_err(), "{pattern} {table}");
        }
    }

    #[test]
    fn files_are_found_at_every_depth() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in ["c/1.csv", "c/x/y/2.csv", "c/3.txt", "d/4.csv"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        let files = |pattern| Pattern::parse(pattern, "c").expect("a pattern").files(folder.path());
        assert_eq!(files("{dataset}/**/*.csv").expect("found"), ["c/1.csv", "c/x/y/2.csv"]);
        assert_eq!(files("*/*.csv").expect("found"), ["c/1.csv", "d/4.csv"]);
        let error = files("cc/*.csv").expect_err("there is no such folder").chain();
        assert!(error.contains("did you mean \"c\""), "{error}");
    }
}
