//! Paths of the model: `/`-separated, starting at the model's root.

/// The folder of a file; empty for the root.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a path stands on its own, on any system.
pub(super) fn is_absolute(path: &str) -> bool {
    let mut chars = path.chars();
    let has_drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    path.starts_with(['/', '\\']) || has_drive
}

/// Resolves `path`, written in a file of `folder`, to one from the root. What climbs above the root
/// keeps its leading `..`; an absolute path stays as it is.
pub(super) fn resolve(folder: &str, path: &str) -> String {
    if is_absolute(path) {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.is_empty() {
        true => ".".to_owned(),
        false => parts.join("/"),
    }
}

/// Whether a resolved path lies in the model's folder.
pub(super) fn is_inside(resolved: &str) -> bool {
    !is_absolute(resolved) && resolved != ".." && !resolved.starts_with("../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_root() {
        assert_eq!(resolve("zones/usa", "mask.sql"), "zones/usa/mask.sql");
        assert_eq!(resolve("zones/usa", "../../data/nw.db"), "data/nw.db");
        assert_eq!(resolve("", "./a//b"), "a/b");
        assert_eq!(resolve("a", ".."), ".");
        assert_eq!(resolve("a", "../../../x"), "../../x");
        assert_eq!(resolve("a", "/data/in"), "/data/in");
        assert!(!is_inside("../x") && !is_inside("/x") && !is_inside("C:\\x") && is_inside("..x/y"));
    }
}
