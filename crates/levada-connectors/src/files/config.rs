//! From a connection to a folder, from errors of files to ours.

use levada_flow::FlowError;
use levada_model::connection::{Connection, Place};
use levada_model::file_options::OptionError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of a container.
pub(super) fn folder(connection: &Connection, root: &Path) -> Result<PathBuf, FlowError> {
    match &connection.place {
        Place::Path { path } => Ok(root.join(path)),
        _ => Err(FlowError::never(format!("container {} has no path", connection.container))),
    }
}

/// A failed operation on a file. What is missing, forbidden or no folder has to be changed by
/// somebody; everything else may pass.
pub(super) fn failed(what: &str, path: &Path, error: std::io::Error) -> FlowError {
    let message = format!("{} can't be {what}", path.display());
    let made = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::ReadOnlyFilesystem => FlowError::never(message),
        _ => FlowError::later(message),
    };
    made.because(error)
}

/// Options of the model that can't be understood.
pub(super) fn refused(error: OptionError) -> FlowError {
    let refused = FlowError::never(error.problem);
    match error.hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

/// A name as one part of a path: never a way out of its folder, the same on every file system.
///
/// Whatever a path could misread is written `%XX`, as is `%` itself, so that no two names share a part.
pub fn path_part(name: &str) -> String {
    let is_misread = |(at, c): (usize, char)| {
        c.is_control()
            || matches!(c, '/' | '\\' | '%' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
            || (at == 0 && c == '.')
            || (at + c.len_utf8() == name.len() && matches!(c, '.' | ' '))
    };
    let mut part = String::new();
    for (at, c) in name.char_indices() {
        match is_misread((at, c)) {
            false => part.push(c),
            true => c.to_string().bytes().for_each(|byte| part.push_str(&format!("%{byte:02X}"))),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder_or_meets_another() {
        assert_eq!(path_part("NW_Data"), "NW_Data");
        assert_eq!(path_part(".."), "%2E%2E");
        assert_eq!(path_part("a/../b"), "a%2F..%2Fb");
        assert_eq!(path_part("%2F"), "%252F");
        assert_eq!(path_part("größe 😀"), "größe 😀");
        assert_eq!(path_part("a\0b."), "a%00b%2E");
    }
}
