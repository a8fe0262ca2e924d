//! The whole product, as a user runs it: the built binary on real databases.

mod branches;
mod change;
mod contract;
mod demo;
mod ecosystem;
mod external;
mod faults;
mod follow;
mod kubernetes;
mod plans;
mod platforms;
mod program;
mod serve;
mod tpch;
mod trouble;
