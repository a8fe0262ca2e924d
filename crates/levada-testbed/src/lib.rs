//! Starts real servers for tests: in temporary folders, on free ports, gone with the test.
//!
//! Takes the binaries that the machine has installed and gives a running server with a password
//! user. Fails by name, with what to install, where they are missing: a test that needs a server
//! is never skipped silently.
//!
//! Architecture invariant: knows nothing of the workspace, and only dev-dependencies name it.

pub mod mariadb;
pub mod postgres;

mod system;

pub use mariadb::{MariadbError, MariadbServer};
pub use postgres::{PostgresCluster, TestbedError};
pub use system::SystemError;
