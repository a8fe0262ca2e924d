//! The kinds of platforms, on the worked example of the project.

mod aws;
mod kubernetes;
mod protocol;
mod rendering;
mod terraform;
mod worked_example;
