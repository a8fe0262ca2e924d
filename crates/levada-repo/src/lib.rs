//! The control plane's rim around the model: folders on disk, and their git revision.
//!
//! Takes a folder, gives a [`Loaded`] model with its findings and its [`FileTable`]. Files are read
//! and parsed on all cores; the result does not depend on the order. Knows no lint, no state and no
//! terminal: whoever shows findings asks the table for their places.
//!
//! A cache keeps what files said; without one every load parses every file. A [`Survey`] knows every file
//! by its sketch, and loads the whole model or a part of it.

mod cache;
mod earlier;
mod files;
mod folder;
mod following;
mod git;
mod private;
pub mod rendered;
mod revision;
mod survey;

pub use earlier::{Earlier, EarlierError, earlier};
pub use files::{FileTable, Place};
pub use folder::{Folder, Loaded, RepoError, load, load_cached};
pub use following::{Checkout, FollowError, LaidOut};
pub use git::GitError;
pub use private::make_private;
pub use revision::{Revision, below_checkout, revision};
pub use survey::Survey;
