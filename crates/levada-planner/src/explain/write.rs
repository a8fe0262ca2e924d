//! Explanations as text, the answer first, and as JSON.

use super::about::cost_text;
use super::{Choice, Explanation};
use crate::broker::Verdict;
use crate::text::line;
use levada_model::address::NodeAddress;

/// How many nodes of a list a text shows before it says how many more there are.
const NODES_SHOWN_MAX: usize = 40;

/// For people, ending with a newline.
pub fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    line(&mut out, format_args!("{}", explanation.address));
    for fact in &explanation.facts {
        line(&mut out, format_args!("  {fact}"));
    }
    for choice in &explanation.choices {
        choice_lines(choice, &mut out);
    }
    list(&mut out, "nodes", &explanation.nodes);
    list(&mut out, "upstream", &explanation.upstream);
    list(&mut out, "downstream", &explanation.downstream);
    out
}

/// For programs, ending with a newline.
pub fn json(explanation: &Explanation) -> String {
    let value = serde_json::to_value(explanation).expect("plain data with text keys always serialises");
    format!("{value:#}\n")
}

fn choice_lines(choice: &Choice, out: &mut String) {
    let chosen: Vec<&str> =
        choice.candidates.iter().filter(|it| it.is_chosen()).map(|it| it.platform.as_str()).collect();
    let chosen = if chosen.is_empty() { "no platform fits".to_owned() } else { chosen.join(" and ") };
    out.push('\n');
    line(out, format_args!("{} -> {chosen}", choice.about));
    line(out, format_args!("  asked: {}", choice.asked));
    for candidate in &choice.candidates {
        let sign = match candidate.verdict {
            Verdict::Chosen(_) => '*',
            Verdict::PassedOver(_) => ' ',
            Verdict::Rejected => '-',
        };
        let cost = cost_text(candidate.cost_milli);
        line(out, format_args!("  {sign} {} (cost {cost}): {candidate}", candidate.platform));
    }
}

fn list(out: &mut String, title: &str, nodes: &[NodeAddress]) {
    if nodes.is_empty() {
        return;
    }
    out.push('\n');
    line(out, format_args!("{title}"));
    for node in nodes.iter().take(NODES_SHOWN_MAX) {
        line(out, format_args!("  {node}"));
    }
    if nodes.len() > NODES_SHOWN_MAX {
        line(out, format_args!("  … and {} more", nodes.len() - NODES_SHOWN_MAX));
    }
}
