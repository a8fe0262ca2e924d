//! The reader from the outside: golden findings, laws, and the whole grammar.

mod golden;
mod grammar;
mod laws;
mod loading;
