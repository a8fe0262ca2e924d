//! Model folders on a real file system.

mod folders;
