//! Kinds and combinations that nothing can serve, whatever the broker does.

use super::{Context, codes};
use crate::platform::{Capabilities, CodeKind, IngestMode, KNOWN_KINDS};
use levada_model::connection::ContainerKind;
use levada_model::model::{CronTrigger, ObjectKind, Origin, TransformTrigger};
use levada_model::{Address, Finding, Findings, Span};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    kinds(context, findings);
    // A platform that nobody could read may serve anything.
    if context.model.unread.may_have_some(ObjectKind::Platform) {
        return;
    }
    let offered = Offered::of(context);
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
                findings.extend(implementation.lint(platform, context.model.infrastructure_of(platform)));
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

/// What the platforms of the ecosystem can do.
struct Offered {
    /// Each offer once.
    known: Vec<Capabilities>,
    /// Whether a platform's program was not asked yet: it may be able to do what no other can.
    is_partly_unknown: bool,
}

impl Offered {
    fn of(context: &Context<'_>) -> Self {
        let mut offered = Self { known: Vec::new(), is_partly_unknown: false };
        for platform in &context.model.ecosystem.platforms {
            let Some(kind) = context.registry.platform(&platform.kind.value) else { continue };
            match kind.capabilities(platform) {
                Some(capabilities) if offered.known.contains(&capabilities) => {}
                Some(capabilities) => offered.known.push(capabilities),
                None => offered.is_partly_unknown = true,
            }
        }
        offered
    }

    fn nobody(&self, can: impl Fn(&Capabilities) -> bool) -> bool {
        !self.is_partly_unknown && !self.known.iter().any(can)
    }
}

fn sources(context: &Context<'_>, offered: &Offered, findings: &mut Findings) {
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
        } else if offered.nobody(|capabilities| capabilities.reads(kind, mode)) {
            let message = format!("no platform of the ecosystem reads {} containers by {}", kind.word(), mode.word());
            findings.push(Finding::error(codes::SOURCE_UNSERVED, message).at(ingest.span).about(about));
        } else if let Some(trigger) = &ingest.trigger {
            catch_up(trigger, offered, ingest.span, about, findings);
        }
    }
}

fn catch_up(trigger: &CronTrigger, offered: &Offered, span: Span, about: Address, findings: &mut Findings) {
    let wanted = trigger.catch_up;
    if offered.nobody(|capabilities| capabilities.catch_up.contains(&wanted)) {
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

fn sinks(context: &Context<'_>, offered: &Offered, findings: &mut Findings) {
    for (workspace, container) in context.model.workspaces.iter().zip(&context.bindings.container_of_workspace) {
        let Some(container) = container else { continue };
        let kind = context.model.containers[*container as usize].kind();
        if offered.nobody(|capabilities| capabilities.sinks.contains(&kind)) {
            let message = format!("no platform of the ecosystem delivers to {} containers", kind.word());
            let finding = Finding::error(codes::SINK_UNSERVED, message).at(workspace.container.span);
            findings.push(finding.about(Address::Workspace(workspace.name.clone())));
        }
    }
}

fn code(context: &Context<'_>, offered: &Offered, findings: &mut Findings) {
    for workspace in &context.model.workspaces {
        let Some(transformer) = &workspace.transformer else { continue };
        let kind = CodeKind::of(&transformer.code);
        if offered.nobody(|capabilities| capabilities.code.contains(&kind)) {
            let message = format!("no platform of the ecosystem runs {} code", kind.word());
            let finding = Finding::error(codes::CODE_UNSERVED, message).at(transformer.span);
            findings.push(finding.about(Address::Transformer(workspace.name.clone())));
        } else if let TransformTrigger::Cron(trigger) = &transformer.trigger {
            let about = Address::Transformer(workspace.name.clone());
            catch_up(trigger, offered, transformer.span, about, findings);
        }
    }
}
