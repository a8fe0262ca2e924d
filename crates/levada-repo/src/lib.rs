//! The control plane's rim around the model: folders on disk, and their git revision.
//!
//! Takes a folder, gives a [`Loaded`] model with its findings and its [`FileTable`]. Files are read
//! and parsed on all cores; the result does not depend on the order. Knows no lint, no state and no
//! terminal: whoever shows findings asks the table for their places.
//!
//! The parse cache of the design is not there yet: every load parses every file.

mod files;
mod folder;
mod revision;

pub use files::{FileTable, Place};
pub use folder::{Folder, Loaded, RepoError, load};
pub use revision::{Revision, revision};
