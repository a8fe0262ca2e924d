//! The whole product, as a user runs it: the built binary on real databases.

mod demo;
mod ecosystem;
mod tpch;
