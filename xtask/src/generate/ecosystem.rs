//! The ecosystem's own file, and the zones, teams and their containers.

use super::plan::{Plan, Region, dataset_name, store_name};
use super::{Writer, plan};
use std::fmt::Write as _;

/// Writes them all.
pub(crate) fn write(plan: &Plan, writer: &mut Writer<'_>) -> anyhow::Result<()> {
    writer.write("ecosystem.yaml", ECOSYSTEM)?;
    for zone in 0..plan.zone_count {
        writer.write(&format!("zones/z{zone:02}/zone.yaml"), &zone_text(plan, zone))?;
    }
    for team in 0..plan.team_count {
        writer.write(&format!("{}/team.yaml", plan.team_folder(team)), &team_text(plan, team))?;
    }
    Ok(())
}

const ECOSYSTEM: &str = r#"ecosystem: scale
documentation: A synthetic company, generated.
vendors:
  - vendor: aws
    cloud: aws
    locations: { eu: { west: {}, north: {} }, us: { east: {}, west: {} } }
platforms:
  - { platform: Batch EU, kind: embedded, style: batch, status: production, locations: ["aws:eu/west"] }
  - { platform: Batch US, kind: embedded, style: batch, status: production, locations: ["aws:us/east"] }
  - { platform: Forensic EU, kind: embedded, style: forensic, status: production, locations: ["aws:eu/west"] }
  - { platform: Forensic US, kind: embedded, style: forensic, status: production, locations: ["aws:us/east"] }
---
calendar: office year
timezone: Europe/Lisbon
deny: [{ from: 2026-12-24, to: 2027-01-02 }]
"#;

fn zone_text(plan: &Plan, zone: usize) -> String {
    let region = plan.region_of_zone(zone).word();
    let hold = match zone {
        0 => format!(
            "holds: [{{ hold: case-4711, datasets: [{}.{}], since: 2026-05-01 }}]\n",
            store_name(0),
            dataset_name(0)
        ),
        _ => String::new(),
    };
    format!(
        "zone: Zone {zone:02}\n\
         regulators: [{{ regulator: SEC-17a-4, retention: 6y }}]\n\
         {hold}\
         policies:\n\
         \x20 - {{ policy: private data stays here, classifications: [pc3], allow: {{ locations: [\"aws:{region}\"] }} }}\n\
         \x20 - {{ policy: not there, binds: both, deny: {{ clouds: [alibaba] }} }}\n\
         \x20 - {{ policy: keep, classifications: [pc3], retention: {{ at_least: 2y }} }}\n"
    )
}

/// A team with the containers it offers data from and the one it wants data in.
fn team_text(plan: &Plan, team: usize) -> String {
    let region = plan.region_of_team(team);
    let mut text = format!("team: Team {team:03}\ncontainers:\n");
    for container in (team..plan.container_count).step_by(plan.team_count) {
        let name = container_name(container);
        container_text(&mut text, &name, region, &format!("source{container:05}"), "operations");
    }
    container_text(&mut text, &warehouse_name(team), region, &format!("warehouse{team:03}"), "reporting");
    text
}

fn container_text(text: &mut String, name: &str, region: Region, host: &str, database: &str) {
    let place = match region {
        Region::Europe => "eu/west",
        Region::America => "us/east",
    };
    let credential = name.replace('-', "_");
    let location = region.word();
    writeln!(
        text,
        "  - {{ container: {name}, kind: postgres, location: \"aws:{place}\", host: {host}.{location}.example.com, \
         database: {database}, credential: {credential}, connections_max: 8 }}"
    )
    .expect("a string takes everything");
}

/// The container that twenty stores share.
pub(crate) fn container_name(container: usize) -> String {
    format!("source-{container:05}")
}

/// The container that a team wants its data in.
pub(crate) fn warehouse_name(team: usize) -> String {
    format!("warehouse-{team:03}")
}

/// The platform that operations chose for some groups.
pub(crate) fn platform_name(terms: plan::Terms, region: Region) -> String {
    let style = if terms == plan::Terms::Audit { "Forensic" } else { "Batch" };
    format!("{style} {}", region.suffix())
}
