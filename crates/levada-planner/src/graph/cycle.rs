//! Transformers that wait for each other, on whatever platforms: a finding that names the circle.

use crate::binding::Bindings;
use crate::lint::codes;
use levada_model::{Address, Finding, Findings, Model};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

/// Reports each circle of two or more workspaces once. Linear in sinks.
pub(super) fn find(model: &Model, bindings: &Bindings) -> Findings {
    let feeders = feeders(bindings);
    let mut marks = vec![Mark::New; model.workspaces.len()];
    let mut findings = Findings::default();
    for start in 0..model.workspaces.len() as u32 {
        walk(start, &feeders, &mut marks, &mut |circle| findings.push(finding(model, circle)));
    }
    findings.sort();
    findings
}

/// Per workspace: the workspaces whose transformers feed its own transformer.
fn feeders(bindings: &Bindings) -> Vec<Vec<u32>> {
    let of_workspace = |(workspace, uses): (usize, &Vec<crate::binding::SinkUse>)| {
        if bindings.output_of_workspace[workspace].is_none() {
            return Vec::new();
        }
        let makers = uses.iter().filter_map(|of| bindings.transformer_of_store[of.dataset.store as usize]);
        let mut makers: Vec<u32> = makers.filter(|&maker| maker as usize != workspace).collect();
        makers.sort_unstable();
        makers.dedup();
        makers
    };
    bindings.uses_of_workspace.iter().enumerate().map(of_workspace).collect()
}

/// Walks depth first without recursion: chains of transformers may be long.
fn walk(start: u32, feeders: &[Vec<u32>], marks: &mut [Mark], report: &mut dyn FnMut(&[u32])) {
    if marks[start as usize] != Mark::New {
        return;
    }
    let mut path: Vec<u32> = vec![start];
    let mut next: Vec<usize> = vec![0];
    marks[start as usize] = Mark::OnPath;
    while let Some(&workspace) = path.last() {
        let position = next.last_mut().expect("the path and its positions are equally long");
        match feeders[workspace as usize].get(*position) {
            None => {
                marks[workspace as usize] = Mark::Done;
                path.pop();
                next.pop();
            }
            Some(&feeder) => {
                *position += 1;
                match marks[feeder as usize] {
                    Mark::Done => {}
                    Mark::OnPath => {
                        let from = path.iter().position(|&on_path| on_path == feeder);
                        report(&path[from.expect("what is marked is on the path")..]);
                    }
                    Mark::New => {
                        marks[feeder as usize] = Mark::OnPath;
                        path.push(feeder);
                        next.push(0);
                    }
                }
            }
        }
    }
}

fn finding(model: &Model, circle: &[u32]) -> Finding {
    // The path runs against the data; told is the way the data goes, from the first by name.
    let mut names: Vec<&str> = circle.iter().rev().map(|&id| model.workspaces[id as usize].name.as_str()).collect();
    let first = names.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(position, _)| position);
    names.rotate_left(first);
    let workspace = circle.iter().map(|&id| &model.workspaces[id as usize]).find(|it| it.name.as_str() == names[0]);
    let workspace = workspace.expect("the first name is one of the circle's");
    let message = format!("transformers wait for each other: {} -> {}", names.join(" -> "), names[0]);
    Finding::error(codes::TRANSFORMER_CYCLE, message)
        .at(workspace.transformer.as_ref().map_or(workspace.span, |transformer| transformer.span))
        .about(Address::Transformer(workspace.name.clone()))
        .hint("only a transformer's own output may feed it again; take one dataset out of the circle")
}
