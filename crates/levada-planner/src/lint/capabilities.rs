//! Kinds and combinations that nothing can serve, whatever the broker does.

use super::{Context, codes};
use crate::platform::{Capabilities, CodeKind, IngestMode, KNOWN_KINDS};
use levada_model::connection::ContainerKind;
use levada_model::model::{CronTrigger, ObjectKind, Origin, TransformTrigger};
use levada_model::{Address, Finding, Findings, Span};
use std::collections::BTreeSet;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    kinds(context, findings);
    // A platform that nobody could read may serve anything.
    if context.model.unread.may_have_some(ObjectKind::Platform) {
        return;
    }
    let offered = offered(context);
    sources(context, &offered, findings);
    sinks(context, &offered, findings);
    code(context, &offered, findings);
}

/// The platforms' kinds, and what each kind says about its platforms.
fn kinds(context: &Context<'_>, findings: &mut Findings) {
    for platform in &context.model.ecosystem.platforms {
        let about = Address::Platform(platform.name.clone());
        let kind = platform.kind.value.as_str();
        match context.registry.platform(kind) {
            Some(implementation) => {
                let named = platform.infrastructure.as_ref();
                let infrastructure = named
                    .and_then(|named| context.model.ecosystem.infrastructures.iter().find(|it| it.name == named.value));
                findings.extend(implementation.lint(platform, infrastructure));
            }
            None if KNOWN_KINDS.contains(&kind) => {
                let message = format!("this build has no renderer for kind {kind}: the broker can't use the platform");
                let finding = Finding::warning(codes::KIND_UNSERVED, message).at(platform.kind.span);
                findings.push(finding.about(about));
            }
            None => {
                let message = format!("no platform is of kind {kind:?}");
                let mut finding = Finding::error(codes::KIND_UNKNOWN, message).at(platform.kind.span).about(about);
                finding.hint = context.did_you_mean(kind, context.registry.kinds().chain(KNOWN_KINDS));
                findings.push(finding);
            }
        }
    }
}

/// What the platforms of the ecosystem can do, each kind once.
fn offered<'m>(context: &Context<'m>) -> Vec<&'m Capabilities> {
    let kinds: BTreeSet<&str> = context.model.ecosystem.platforms.iter().map(|it| it.kind.value.as_str()).collect();
    let registry = context.registry;
    kinds.into_iter().filter_map(|kind| registry.capabilities(kind)).collect()
}

fn sources(context: &Context<'_>, offered: &[&Capabilities], findings: &mut Findings) {
    for (store, container) in context.model.datastores.iter().zip(&context.bindings.container_of_store) {
        let Origin::Container { ingest, .. } = &store.origin else { continue };
        let about = Address::Datastore(store.name.clone());
        let mode = IngestMode::of(&ingest.kind);
        let Some(container) = container else { continue };
        let kind = context.model.containers[*container as usize].kind();
        if !is_possible(kind, mode) {
            let message = format!("{} containers can't be read by {}", kind.word(), mode.word());
            let finding = Finding::error(codes::INGEST_KIND, message).at(ingest.span).about(about);
            let possible: Vec<&str> =
                MODES.into_iter().filter(|mode| is_possible(kind, *mode)).map(IngestMode::word).collect();
            findings.push(finding.hint(format!("{} containers are read by {}", kind.word(), possible.join(", "))));
        } else if !offered.iter().any(|capabilities| capabilities.reads(kind, mode)) {
            let message = format!("no platform of the ecosystem reads {} containers by {}", kind.word(), mode.word());
            findings.push(Finding::error(codes::SOURCE_UNSERVED, message).at(ingest.span).about(about));
        } else if let Some(trigger) = &ingest.trigger {
            catch_up(trigger, offered, ingest.span, about, findings);
        }
    }
}

fn catch_up(trigger: &CronTrigger, offered: &[&Capabilities], span: Span, about: Address, findings: &mut Findings) {
    let wanted = trigger.catch_up;
    if !offered.iter().any(|capabilities| capabilities.catch_up.contains(&wanted)) {
        let message = format!("no platform of the ecosystem does `catch-up: {}`", wanted.word());
        let finding = Finding::error(codes::CATCH_UP_UNSERVED, message).at(span).about(about);
        findings.push(finding.hint("leave it out: missed ticks become one"));
    }
}

const MODES: [IngestMode; 5] =
    [IngestMode::Snapshot, IngestMode::Watermark, IngestMode::Cdc, IngestMode::Files, IngestMode::Topic];

/// Whether such a container has what such an ingest reads.
fn is_possible(kind: ContainerKind, mode: IngestMode) -> bool {
    match kind {
        ContainerKind::Files | ContainerKind::ObjectStore => mode == IngestMode::Files,
        ContainerKind::Kafka => mode == IngestMode::Topic,
        _ => matches!(mode, IngestMode::Snapshot | IngestMode::Watermark | IngestMode::Cdc),
    }
}

fn sinks(context: &Context<'_>, offered: &[&Capabilities], findings: &mut Findings) {
    for (workspace, container) in context.model.workspaces.iter().zip(&context.bindings.container_of_workspace) {
        let Some(container) = container else { continue };
        let kind = context.model.containers[*container as usize].kind();
        if !offered.iter().any(|capabilities| capabilities.sinks.contains(&kind)) {
            let message = format!("no platform of the ecosystem delivers to {} containers", kind.word());
            let finding = Finding::error(codes::SINK_UNSERVED, message).at(workspace.container.span);
            findings.push(finding.about(Address::Workspace(workspace.name.clone())));
        }
    }
}

fn code(context: &Context<'_>, offered: &[&Capabilities], findings: &mut Findings) {
    for workspace in &context.model.workspaces {
        let Some(transformer) = &workspace.transformer else { continue };
        let kind = CodeKind::of(&transformer.code);
        if !offered.iter().any(|capabilities| capabilities.code.contains(&kind)) {
            let message = format!("no platform of the ecosystem runs {} code", kind.word());
            let finding = Finding::error(codes::CODE_UNSERVED, message).at(transformer.span);
            findings.push(finding.about(Address::Transformer(workspace.name.clone())));
        } else if let TransformTrigger::Cron(trigger) = &transformer.trigger {
            let about = Address::Transformer(workspace.name.clone());
            catch_up(trigger, offered, transformer.span, about, findings);
        }
    }
}
