//! The engine on memory sources and sinks, a real state and a real store: what a run leaves, and
//! what is left when something breaks in the middle.

mod faults;
mod flow;
mod ingest;
mod programs;
mod readers;
mod verify;
mod world;
