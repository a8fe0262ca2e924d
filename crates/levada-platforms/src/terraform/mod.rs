//! Terraform's language: a small tree of blocks and expressions, printed as `terraform fmt` would.
//!
//! Takes values, gives text that is formatted already, so that a rendering differs only where its
//! meaning does. Text that comes from a model is always data: nothing in it is ever read as a
//! template or as code. Knows no provider.

mod expression;
mod print;

pub use expression::{Block, Body, Expression, TemplatePart};
pub use print::print;
