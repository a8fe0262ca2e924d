//! Names the form of cached fragments after the sources that write and read them.

#[path = "build/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rustc-env=LEVADA_MODEL_FORM={}", sources::name(&["src"]));
}
