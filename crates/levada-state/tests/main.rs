//! The conformance suite of the state, run on SQLite and on a real PostgreSQL server.

mod batches;
mod bed;
mod blueprints;
mod catalog;
mod jobs;
mod killed;
mod lost_answers;
mod opening;
mod outages;
mod pointers;
mod world;
