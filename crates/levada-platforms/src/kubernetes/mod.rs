//! Standing on Kubernetes: the kind that does, and whatever kind is hosted there.
//!
//! `kind: kubernetes` is the embedded engine as pods: its nodes are rows of the state like those of the
//! embedded kind, run by workers whose store lies on the pods' volume. `host:` stands any kind's image up
//! beside what the kind itself renders. Takes a part and the copy of the model, gives manifests below
//! `kubernetes/`: a Kustomize base, and an overlay for each environment. `docs/kubernetes.md` has the
//! picture.

mod check;
mod copy;
mod manifests;
mod network;
mod settings;

pub use check::{
    DATA_ELSEWHERE, EGRESS_WIDE, FILE_TOO_LARGE, FILES_TOO_MANY, HOST_WRONG, REPLICAS_UNSUPPORTED, SECRETS_COLLIDE,
    SETTINGS_WRONG,
};
pub use copy::{FILE_BYTES_MAX, ModelCopy};

use crate::about::about;
use crate::embedded::Embedded;
use crate::output;
use levada_model::connection::ContainerKind;
use levada_model::model::{Host, Infrastructure, PlatformEntry};
use levada_model::{Finding, Findings};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, Layout, Part, Platform, Rendering};
use manifests::Pods;
use network::Egress;
use settings::PodSettings;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kind's word in the model.
pub const KIND: &str = "kubernetes";

/// Where a platform's manifests are in its folder.
const FOLDER: &str = "kubernetes";

/// `kind: kubernetes`, as far as it is a kind; that it is hosted is [`Hosted`]'s matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kubernetes;

impl Platform for Kubernetes {
    fn kind(&self) -> &str {
        KIND
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Pods
    }

    fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities> {
        Embedded.capabilities(platform)
    }

    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
        let mut findings = crate::embedded::lint_settings(KIND, platform, infrastructure);
        if platform.host.is_none() {
            let message = format!("platform {} is of kind {KIND}, and nothing says where it stands", platform.name);
            findings.push(about(platform, Finding::error(HOST_WRONG, message)).hint(check::HOST_HINT));
        }
        findings
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        Embedded.render(part)
    }
}

/// A kind whose platforms may be hosted.
#[derive(Clone, Debug)]
pub struct Hosted<K> {
    kind: K,
    copy: Arc<ModelCopy>,
}

impl<K: Platform> Hosted<K> {
    /// The kind, and the copy of the model that its pods get.
    pub fn new(kind: K, copy: &Arc<ModelCopy>) -> Self {
        Self { kind, copy: Arc::clone(copy) }
    }

    /// What stands there; `None`: nothing does, or what it is told makes no sense.
    fn pods<'a>(&'a self, part: &Part<'a>) -> Option<Pods<'a>> {
        let entry = part.entry()?;
        let host = entry.host.as_ref()?;
        let infrastructure = part.model.infrastructure_of(entry);
        let settings = PodSettings::of(entry, infrastructure).ok()?;
        let is_levada = self.kind.realizer(entry).runs_nodes();
        let copied = if is_levada { self.copy.programs(part) } else { self.copy.all() };
        Some(Pods {
            entry,
            host,
            is_levada,
            maps: copied.maps(),
            copied,
            parameters: manifests::parameters(entry, infrastructure),
            credentials: manifests::credentials(entry, part),
            egress: Egress::of(part, &settings, is_levada),
            settings,
        })
    }
}

impl<K: Platform> Platform for Hosted<K> {
    fn kind(&self) -> &str {
        self.kind.kind()
    }

    fn realizer(&self, platform: &PlatformEntry) -> Realizer {
        match self.kind.realizer(platform) {
            Realizer::Workers if platform.host.is_some() => Realizer::Pods,
            realizer => realizer,
        }
    }

    /// Pods have a volume of their own: what lies on a machine's disk is out of their reach, as their
    /// store is out of everybody else's.
    fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities> {
        let mut capabilities = self.kind.capabilities(platform)?;
        if self.realizer(platform) == Realizer::Pods {
            let is_on_disk = |kind: &ContainerKind| matches!(kind, ContainerKind::Sqlite | ContainerKind::Files);
            capabilities.sources.retain(|kind, _| !is_on_disk(kind));
            capabilities.sinks.retain(|kind| !is_on_disk(kind));
            capabilities.feeds.clear();
        }
        Some(capabilities)
    }

    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
        let mut findings = self.kind.lint(platform, infrastructure);
        if self.realizer(platform) == Realizer::Pods {
            findings.extend(output::lint(platform, &output::settings(platform, infrastructure)));
        }
        findings.extend(check::platform(platform, infrastructure));
        findings
    }

    /// The volume stays in its namespace, and the store on it.
    fn layout(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Option<Layout> {
        let of_store = |host: &Host| Layout { is: format!("its store in namespace {}", host.kubernetes), was: None };
        let is_store_there = self.realizer(platform) == Realizer::Pods;
        let there = || platform.host.as_ref().filter(|_| is_store_there).map(of_store);
        self.kind.layout(platform, infrastructure).or_else(there)
    }

    fn lint_part(&self, part: &Part<'_>) -> Findings {
        let mut findings = self.kind.lint_part(part);
        findings.extend(self.pods(part).map(|pods| check::pods(&pods)).unwrap_or_default());
        findings
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        let pods: Option<BTreeMap<String, Vec<u8>>> = self.pods(part).map(|pods| {
            let files = pods.files().into_iter();
            files.map(|(path, text)| (format!("{FOLDER}/{path}"), text.into_bytes())).collect()
        });
        match (self.kind.render(part), pods) {
            (rendering, None) => rendering,
            (Rendering::Nodes(nodes), Some(files)) => Rendering::Pods(nodes, files),
            (Rendering::Files(mut files) | Rendering::Pods(_, mut files), Some(pods)) => {
                files.extend(pods);
                Rendering::Files(files)
            }
        }
    }
}

/// Paths of a kind's own files that the manifests would take.
pub fn taken_path(path: &str) -> bool {
    path.split('/').next() == Some(FOLDER)
}
