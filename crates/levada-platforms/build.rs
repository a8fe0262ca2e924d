//! Names this build's way from a model to a blueprint after the sources that go it: another build may
//! freeze the same model otherwise.

#[path = "../levada-model/build/sources.rs"]
mod sources;

fn main() {
    let folders = ["../levada-model/src", "../levada-planner/src", "src"];
    println!("cargo::rustc-env=LEVADA_COMPILER_FORM={}", sources::name(&folders));
}
