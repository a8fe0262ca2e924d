//! The store's laws, on a real catalog (SQLite in a temporary folder) and real files.

mod damage;
mod evolution;
mod fixture;
mod laws;
mod log;
mod refusals;
mod sweeping;
