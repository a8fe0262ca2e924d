//! Rules for every file, whatever is in it.

use super::Finding;
use super::tree::{FILE_BYTES_MAX, Tree};

/// Folders of the machines that changes are written on; in two parts, so that this file has none of them.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Files whose bytes are another program's output and stay as they came.
const VERBATIM: &[&str] = &[".snap", ".csv", ".diff", ".patch"];

/// What works on one machine only has no place in the repository.
pub(crate) fn no_path_of_one_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            for folder in MACHINE_FOLDERS.iter().filter(|folder| names_absolute(line, folder)) {
                let message = format!("names the absolute folder `{folder}`");
                let hint = "a path in the project is relative, or comes from an argument or the environment";
                findings.push(Finding::new(path, index + 1, message, hint));
            }
        }
    }
    findings
}

/// Whether an absolute path begins with the folder; `crates/root/x` holds it, but not at its start.
fn names_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"._-~}*/".contains(before))
    })
}

/// Large files make every clone slow for ever: data is generated.
pub(crate) fn no_huge_file(tree: &Tree) -> Vec<Finding> {
    let huge = tree.files().filter(|(_, file)| file.size > FILE_BYTES_MAX);
    let hint = "generate it where it is needed, or leave it out with .gitignore";
    huge.map(|(path, file)| Finding::new(path, 1, format!("has {} bytes, more than 1 MiB", file.size), hint)).collect()
}

/// Lines end at their last letter.
pub(crate) fn no_trailing_whitespace(tree: &Tree) -> Vec<Finding> {
    let own = tree.texts().filter(|(path, _)| !VERBATIM.iter().any(|ending| path.ends_with(ending)));
    let mut findings = Vec::new();
    for (path, text) in own {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r'])) {
            let hint = if line.trim().is_empty() { "empty the line" } else { "end the line at its last letter" };
            findings.push(Finding::new(path, index + 1, "ends with white space", hint));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_folders_of_a_machine_are_found_and_folders_of_that_name_below_others_are_not() {
        let text = format!("a\n= \"{0}x\"\ncrates{0}y, ./..{0}z\n{0}first\n", MACHINE_FOLDERS[0]);
        let found = no_path_of_one_machine(&Tree::of(&[("a.md", &text)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn file_of_a_mebibyte_is_small_enough_and_one_byte_more_is_not() {
        let limit = usize::try_from(FILE_BYTES_MAX).expect("a mebibyte fits");
        let tree = Tree::of(&[("fits.txt", &"x".repeat(limit)), ("huge.txt", &"x".repeat(limit + 1))]);
        let found = no_huge_file(&tree);
        assert_eq!(found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["huge.txt"]);
    }

    #[test]
    fn trailing_blanks_are_found_except_in_other_programs_output() {
        let tree = Tree::of(&[("a.md", "one \ntwo\n\t\n"), ("a.snap", "one \n")]);
        let found = no_trailing_whitespace(&tree);
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1, 3]);
    }
}
