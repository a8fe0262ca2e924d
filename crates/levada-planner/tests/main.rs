//! The planner's tests: the worked example, the laws over random models, golden scripts.

mod delta_laws;
mod graph_laws;
mod models;
mod platforms;
mod random;
mod worked_example;
