//! The planner's tests: the worked example, the laws over random models, golden scripts.

mod broker_laws;
mod delta_laws;
mod golden;
mod graph_laws;
mod lint_laws;
mod models;
mod platforms;
mod random;
mod reach_laws;
mod scale;
mod worked_example;
