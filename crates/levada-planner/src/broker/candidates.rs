//! Choosing among platforms: rejections first, then pin, choice in force, cost, name.

use super::style::cost_milli;
use super::{ChoiceReason, PassedOver, Rejection, Table};
use levada_model::model::AssignmentState;
use levada_model::name::PlatformName;
use serde::Serialize;
use std::collections::BTreeMap;

/// A platform with what the broker thinks of it for one group or datastore.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Candidate {
    /// The platform.
    pub platform: PlatformName,
    /// Its relative cost, in thousandths.
    pub cost_milli: u64,
    /// The broker's verdict.
    pub verdict: Verdict,
    /// What speaks against it; also where a pin forced the choice. Empty where it fits.
    pub rejections: Vec<Rejection>,
}

/// What became of a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is chosen.
    Chosen(ChoiceReason),
    /// It fits, and another one is chosen.
    PassedOver(PassedOver),
    /// It doesn't fit.
    Rejected,
}

impl Candidate {
    /// Whether it is chosen.
    pub fn is_chosen(&self) -> bool {
        matches!(self.verdict, Verdict::Chosen(_))
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.verdict {
            Verdict::Chosen(reason) => reason.fmt(f)?,
            Verdict::PassedOver(reason) => return reason.fmt(f),
            Verdict::Rejected => {}
        }
        for (position, rejection) in self.rejections.iter().enumerate() {
            let is_first = position == 0 && self.verdict == Verdict::Rejected;
            write!(f, "{}{rejection}", if is_first { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// What operations say about platforms, by position in the model.
pub(super) type Pinned = BTreeMap<usize, AssignmentState>;

/// Judges all platforms; positions in `in_force` are those of the model's platforms, in the order in
/// which they were preferred.
pub(super) fn judge(
    table: &Table<'_>,
    pinned: &Pinned,
    in_force: &[usize],
    mut rejections: impl FnMut(usize) -> Vec<Rejection>,
) -> Vec<Candidate> {
    let all: Vec<Vec<Rejection>> = (0..table.platforms.len()).map(&mut rejections).collect();
    let fits = |position: &usize| all[*position].is_empty();
    let price = |position: usize| (cost_milli(table.platforms[position].entry), &table.platforms[position].entry.name);
    let fitting: Vec<usize> = (0..all.len()).filter(fits).collect();
    let kept = in_force.iter().copied().find(|position| fits(position) && !pinned.contains_key(position));
    let best = fitting.iter().copied().min_by_key(|&position| price(position));
    let is_decided = pins_decide(pinned, in_force, kept);

    let verdict = |position: usize| -> Verdict {
        if let Some(state) = pinned.get(&position) {
            return Verdict::Chosen(ChoiceReason::of_pin(*state));
        }
        if !all[position].is_empty() {
            return Verdict::Rejected;
        }
        if is_decided {
            return Verdict::PassedOver(PassedOver::OtherPinned);
        }
        match (kept, best) {
            (Some(kept), _) if kept == position => Verdict::Chosen(ChoiceReason::InForce),
            (Some(_), _) => Verdict::PassedOver(PassedOver::OtherInForce),
            (None, Some(best)) if best == position => {
                let is_tied = |&other: &usize| other != best && price(other).0 == price(best).0;
                Verdict::Chosen(match fitting.len() {
                    1 => ChoiceReason::OnlyFit,
                    _ if fitting.iter().any(is_tied) => ChoiceReason::FirstByName,
                    _ => ChoiceReason::Cheapest,
                })
            }
            (None, Some(best)) if price(best).0 == price(position).0 => Verdict::PassedOver(PassedOver::LaterByName),
            (None, _) => Verdict::PassedOver(PassedOver::Dearer),
        }
    };
    let verdicts: Vec<Verdict> = (0..all.len()).map(verdict).collect();
    let candidates = all.into_iter().zip(verdicts).zip(&table.platforms).map(|((rejections, verdict), offer)| {
        Candidate { platform: offer.entry.name.clone(), cost_milli: cost_milli(offer.entry), verdict, rejections }
    });
    candidates.collect()
}

/// Whether the pins leave nothing to choose. A platform that is only provisioned comes beside the
/// choice in force, unless it is that choice itself.
fn pins_decide(pinned: &Pinned, in_force: &[usize], kept: Option<usize>) -> bool {
    let is_replacing = pinned.values().any(|state| *state != AssignmentState::Provisioning);
    is_replacing || (kept.is_none() && in_force.iter().any(|position| pinned.contains_key(position)))
}

/// Everything that excludes each platform, for a finding.
pub(super) fn exclusions(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return "the ecosystem has no platform".to_owned();
    }
    let lines: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            let reasons: Vec<String> = candidate.rejections.iter().map(ToString::to_string).collect();
            format!("{:?}: {}", candidate.platform.as_str(), reasons.join("; "))
        })
        .collect();
    lines.join(" | ")
}
