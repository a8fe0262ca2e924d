//! A file per command. Each gives `true` for done (exit 0) and `false` for findings or failed
//! operations that were already told (exit 1).

pub mod apply;
pub mod approve;
pub mod check;
pub mod explain;
pub mod follow;
pub mod graph;
pub mod init;
pub mod migrate;
pub mod plan;
pub mod platform;
pub mod rehydrate;
pub mod render;
pub mod rollback;
pub mod run;
pub mod serve;
pub mod sql;
pub mod status;
pub mod verify;
