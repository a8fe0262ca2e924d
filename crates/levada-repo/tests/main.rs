//! Model folders on a real file system.

mod branch;
mod cache;
mod folders;
mod following;
mod rendered;
