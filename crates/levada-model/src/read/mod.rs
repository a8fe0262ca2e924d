//! From the text of files to the model.
//!
//! [`read_file`] takes one file and gives its objects and findings; files can be read in any order
//! and at once. [`assemble`] joins them: owners, outputs of transformers, code, duplicate names.
//! Both go on after every mistake. [`outline`] joins the sketches of files without their contents, and
//! gives up on a mistake: whoever wants to hear of it assembles.
//!
//! Steps of a file: bytes → clean text → node trees → checked against the grammar's tables (all
//! findings come from there) → lowered to the model's types, in silence, since whatever is wrong
//! was reported by the check.

mod assemble;
mod check;
mod forms;
mod fragment;
mod lower;
mod outline;
mod owners;
mod paths;

pub use assemble::{assemble, describe_path};
pub use fragment::{CACHE_FORM, Fragment};
pub use outline::{Outlined, outline};

use crate::syntax;
use crate::{FileId, Findings};

/// The mistakes behind which documents may stand that nobody has read.
const HIDES_DOCUMENTS: [crate::Code; 4] =
    [crate::codes::SYNTAX, crate::codes::MERGE_CONFLICT, crate::codes::TOO_DEEP, crate::codes::FILE_TOO_LARGE];

/// Reads one file. `path` starts at the model's root and has `/` between its parts.
///
/// Linear in the length of the text.
pub fn read_file(file: FileId, path: &str, text: &[u8]) -> (Fragment, Findings) {
    let mut findings = Findings::default();
    let text = syntax::clean(file, text, path.ends_with(".json"), &mut findings);
    let documents = syntax::parse(file, &text, &mut findings);
    let mut fragment = Fragment::default();
    for document in &documents {
        let Some(object) = check::document(file, &document.root, &mut findings) else {
            fragment.unread.has_documents |= !document.root.entries().is_empty();
            continue;
        };
        lower::document(file, path, object, &document.root, &mut fragment, &mut findings);
    }
    fragment.unread.has_documents |= findings.0.iter().any(|finding| HIDES_DOCUMENTS.contains(&finding.code));
    findings.sort();
    (fragment, findings)
}

/// The value that a piece of YAML is, without any grammar; `null` where it is none.
pub(crate) fn plain_value(text: &str) -> serde_json::Value {
    let documents = syntax::parse(FileId::default(), text, &mut Findings::default());
    documents.first().map_or(serde_json::Value::Null, |document| lower::json(&document.root))
}
