//! Model folders on a real file system.

mod cache;
mod folders;
