//! Folders of Levada's own in somebody's git checkout.

use std::path::Path;

/// Makes a folder where it is missing, so that git passes over whatever had to be made for it.
///
/// # Errors
/// The file system refuses.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    let Some(first) = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.is_dir()).last() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder)?;
    std::fs::write(first.join(".gitignore"), "*\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_is_made_tells_git_to_pass_over() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let ignores = |name: &str| root.path().join(name).join(".gitignore").is_file();
        make_private(&root.path().join("a/b/c")).expect("it is made");
        make_private(&root.path().join("a/d")).expect("it is made");
        make_private(root.path()).expect("it is there");
        assert_eq!((ignores("a"), ignores("a/b"), ignores("a/d"), ignores("")), (true, false, true, false));
    }
}
