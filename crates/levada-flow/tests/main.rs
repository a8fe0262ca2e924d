//! The contracts of the data plane, kept by the implementations in memory.

mod memory;
