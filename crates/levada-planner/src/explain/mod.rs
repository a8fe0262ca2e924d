//! Why: for any address, what the broker thought of it and what lies up- and downstream.
//!
//! Takes the model, its assignment and graphs, and an address; gives an [`Explanation`] with a
//! writer for people and one for programs.

mod about;
pub mod write;

use crate::broker::{Assignment, Candidate, Terms};
use crate::graph::{IntentionGraph, NodeAt, joins};
use levada_model::address::NodeAddress;
use levada_model::{Address, Model};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// Everything there is to say about an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// What was asked about.
    pub address: Address,
    /// What it is, one sentence each.
    pub facts: Vec<String>,
    /// The broker's choices that concern it.
    pub choices: Vec<Choice>,
    /// The graph's nodes that it stands behind, by address.
    pub nodes: Vec<NodeAddress>,
    /// What must happen before those, by address.
    pub upstream: Vec<NodeAddress>,
    /// What happens after them, by address.
    pub downstream: Vec<NodeAddress>,
}

/// One choice of the broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Choice {
    /// The group that is delivered, or the datastore that is ingested.
    pub about: Address,
    /// What had to be met, in words.
    pub asked: String,
    /// The same of a group, typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Every platform with the broker's verdict, by name.
    pub candidates: Vec<Candidate>,
}

/// An address can't be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// Nothing of the model or its graphs has the address.
    #[error("find {address} in the model{}", near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// What was asked about.
        address: Box<Address>,
        /// The nearest address of the same kind.
        near: Option<String>,
    },
}

/// Explains an address.
///
/// # Errors
/// Nothing has it; the error names the nearest one that something has.
pub fn explain(
    model: &Model,
    assignment: &Assignment,
    graphs: &[IntentionGraph],
    address: &Address,
) -> Result<Explanation, ExplainError> {
    let web = Web::of(graphs);
    let found = about::find(model, assignment, graphs, address);
    let Some(found) = found else {
        let near = about::nearest(model, graphs, address);
        return Err(ExplainError::Unknown { address: Box::new(address.clone()), near });
    };
    let upstream = web.reach(&found.nodes, &web.up);
    let downstream = web.reach(&found.nodes, &web.down);
    let mut nodes: Vec<NodeAddress> = found.nodes.into_iter().cloned().collect();
    nodes.sort();
    Ok(Explanation {
        address: address.clone(),
        facts: found.facts,
        choices: found.choices,
        nodes,
        upstream,
        downstream,
    })
}

/// The edges of all graphs in both directions, across links.
struct Web<'g> {
    up: HashMap<&'g NodeAddress, Vec<&'g NodeAddress>>,
    down: HashMap<&'g NodeAddress, Vec<&'g NodeAddress>>,
}

impl<'g> Web<'g> {
    fn of(graphs: &'g [IntentionGraph]) -> Self {
        let mut web = Self { up: HashMap::new(), down: HashMap::new() };
        let address = |(graph, node): NodeAt| graphs[graph as usize].address(node);
        for (from, to) in joins(graphs) {
            web.join(address(from), address(to));
        }
        web
    }

    fn join(&mut self, from: &'g NodeAddress, to: &'g NodeAddress) {
        self.down.entry(from).or_default().push(to);
        self.up.entry(to).or_default().push(from);
    }

    /// Everything that can be reached, without the start.
    fn reach(
        &self,
        start: &[&'g NodeAddress],
        steps: &HashMap<&'g NodeAddress, Vec<&'g NodeAddress>>,
    ) -> Vec<NodeAddress> {
        let mut seen: BTreeSet<&NodeAddress> = start.iter().copied().collect();
        let mut open: Vec<&NodeAddress> = start.to_vec();
        let mut reached = BTreeSet::new();
        while let Some(node) = open.pop() {
            for &next in steps.get(node).into_iter().flatten() {
                if seen.insert(next) {
                    reached.insert(next.clone());
                    open.push(next);
                }
            }
        }
        reached.into_iter().collect()
    }
}
