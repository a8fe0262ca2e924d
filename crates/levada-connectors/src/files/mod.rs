//! Folders of files: one folder is one container.
pub mod sink;
pub mod source;
