//! The workspaces with their transformers, one file each, and what operations decided for some.

use super::Writer;
use super::ecosystem::{platform_name, warehouse_name};
use super::plan::{OUTPUT_DATASET, Plan, Sink, Terms, output_name, sink_name, workspace_name};

/// One workspace in so many has its platforms chosen by operations.
const WORKSPACES_PER_ASSIGNMENT: usize = 20;

/// Writes them all.
pub(crate) fn write(plan: &Plan, writer: &mut Writer<'_>) -> anyhow::Result<()> {
    for number in 0..plan.workspaces.len() {
        let team = plan.workspaces[number].team;
        let name = workspace_name(number).to_lowercase();
        let path = format!("{}/workspaces/{name}", plan.team_folder(team));
        writer.write(&format!("{path}.yaml"), &workspace_text(plan, number))?;
        if plan.workspaces[number].transforms {
            writer.write(&format!("{path}.sql"), &sql_text(plan, number))?;
        }
    }
    writer.write("assignments.yaml", &assignments_text(plan))
}

fn workspace_text(plan: &Plan, number: usize) -> String {
    let workspace = &plan.workspaces[number];
    let mut text = format!("workspace: {}\n", workspace_name(number));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if workspace.is_production {
        line("status: production".to_owned());
    }
    line(format!("container: {}", warehouse_name(workspace.team)));
    if let Some(priority) = workspace.priority {
        line(format!("priority: {priority}"));
    }
    line("readers: [role:analysts]".to_owned());
    line("groups:".to_owned());
    for group in &workspace.groups {
        let sinks: Vec<_> = group.sinks.iter().map(|sink| sink_name(*sink)).collect();
        line(format!("  {}:", group_name(group.terms)));
        match group.terms {
            Terms::Default => {}
            Terms::Live => line("    requires: { latency: minutes, milestoning: live, retention: 30d }".to_owned()),
            Terms::Audit => line(
                "    requires: { latency: hours, milestoning: both, retention: 7y, regulator: SEC-17a-4 }".to_owned(),
            ),
        }
        line(format!("    datasets: [{}]", sinks.join(", ")));
    }
    if workspace.transforms {
        let (output, file) = (output_name(number), workspace_name(number).to_lowercase());
        line(format!(
            "transformer:\n  transformer: Summarize{number:06}\n  output: {{ datastore: {output}, status: production }}\n  \
             trigger: on-change\n  code: {{ sql: {file}.sql }}\ndatasets:\n  {OUTPUT_DATASET}:\n    classification: \
             internal\n    columns:\n      source: {{ type: varchar(40), key: true }}\n      row_count: {{ type: int64, \
             nullable: false }}"
        ));
    }
    text
}

/// Counts the rows of all inputs: SQL that runs on every input, whatever its columns are.
fn sql_text(plan: &Plan, number: usize) -> String {
    let sinks = plan.workspaces[number].groups.iter().flat_map(|group| &group.sinks);
    let select = |sink: &Sink| {
        let name = sink_name(*sink);
        format!("SELECT '{name}' AS source, count(*) AS row_count FROM {name}")
    };
    sinks.map(select).collect::<Vec<_>>().join("\nUNION ALL\n") + "\n"
}

fn assignments_text(plan: &Plan) -> String {
    let mut documents = Vec::new();
    for (number, workspace) in plan.workspaces.iter().enumerate().step_by(WORKSPACES_PER_ASSIGNMENT) {
        for group in &workspace.groups {
            let platform = platform_name(group.terms, plan.region_of_team(workspace.team));
            let name = format!("{}/{}", workspace_name(number), group_name(group.terms));
            documents.push(format!("assign: {name}\nplatform: {platform}\nstate: active\n"));
        }
    }
    documents.join("---\n")
}

fn group_name(terms: Terms) -> &'static str {
    match terms {
        Terms::Default => "Base",
        Terms::Live => "Live",
        Terms::Audit => "Audit",
    }
}
