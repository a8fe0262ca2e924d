//! Sources and sinks in memory, for tests of everything above them.
