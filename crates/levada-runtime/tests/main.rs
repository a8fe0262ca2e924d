//! The engine on memory sources and sinks, a real state and a real store: what a run leaves, what a
//! changed model makes of it, and what is left when something breaks in the middle.

mod change;
mod faults;
mod flow;
mod ingest;
mod outages;
mod outputs;
mod programs;
mod readers;
mod verify;
mod world;
