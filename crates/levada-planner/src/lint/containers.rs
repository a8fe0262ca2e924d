//! Containers: credentials, and readers where a system has roles.

use super::{Context, codes};
use levada_model::connection::ContainerKind;
use levada_model::{Address, Finding, Findings};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for container in &context.model.containers {
        if container.kind().needs_credential() && container.connection.credential.is_none() {
            let (kind, name) = (container.kind().word(), container.name.as_str());
            let message = format!("container {name:?} is of kind {kind} and names no credential");
            let finding = Finding::error(codes::CREDENTIAL_MISSING, message).at(container.span);
            let hint = "add `credential: NAME`; the secret itself never enters the model";
            findings.push(finding.about(Address::Container(container.name.clone())).hint(hint));
        }
    }
    for (workspace, container) in context.model.workspaces.iter().zip(&context.bindings.container_of_workspace) {
        let (Some(reader), Some(container)) = (workspace.readers.first(), container) else { continue };
        let kind = context.model.containers[*container as usize].kind();
        if !has_roles(kind) {
            let message = format!("`readers` does nothing: {} containers have no roles", kind.word());
            let finding = Finding::warning(codes::READERS_IGNORED, message).at(reader.span);
            findings.push(finding.about(Address::Workspace(workspace.name.clone())));
        }
    }
}

/// Whether a system of such a kind knows who reads.
fn has_roles(kind: ContainerKind) -> bool {
    !matches!(kind, ContainerKind::Sqlite | ContainerKind::Files | ContainerKind::ObjectStore | ContainerKind::Kafka)
}
