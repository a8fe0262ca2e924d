//! SQL as transformers and people write it, on real stores.

mod engine;
#[path = "../../levada-store/tests/fixture.rs"]
#[expect(dead_code, reason = "the store's own tests use more of it")]
mod fixture;
mod questions;
