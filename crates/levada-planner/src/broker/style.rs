//! What a style of platform delivers, and what it costs by default.

use levada_model::model::{Latency, Milestoning, PlatformEntry, Style};

/// Whether a platform of this style delivers as soon as that.
pub fn meets(style: Style, latency: Latency) -> bool {
    match style {
        Style::Batch | Style::Forensic => latency >= Latency::Minutes,
        Style::Streaming => true,
    }
}

/// Whether a platform of this style delivers such readings.
pub fn delivers(style: Style, milestoning: Milestoning) -> bool {
    match style {
        Style::Batch => milestoning == Milestoning::Live,
        Style::Forensic | Style::Streaming => true,
    }
}

/// The relative cost of a platform, in thousandths.
pub fn cost_milli(platform: &PlatformEntry) -> u64 {
    let by_style = match platform.style {
        Style::Batch => 1_000,
        Style::Forensic => 2_000,
        Style::Streaming => 3_000,
    };
    platform.cost_milli.unwrap_or(by_style)
}

/// The word in the model.
pub(crate) fn style_word(style: Style) -> &'static str {
    match style {
        Style::Batch => "batch",
        Style::Streaming => "streaming",
        Style::Forensic => "forensic",
    }
}

/// The word in the model.
pub(crate) fn latency_word(latency: Latency) -> &'static str {
    match latency {
        Latency::Seconds => "seconds",
        Latency::Minutes => "minutes",
        Latency::Hours => "hours",
        Latency::Days => "days",
    }
}

/// The word in the model.
pub(crate) fn milestoning_word(milestoning: Milestoning) -> &'static str {
    match milestoning {
        Milestoning::Live => "live",
        Milestoning::History => "history",
        Milestoning::Both => "both",
    }
}
