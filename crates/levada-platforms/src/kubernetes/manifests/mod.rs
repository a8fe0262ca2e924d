//! The manifests of one platform: what stands in every environment, and what is different in each.

mod jobs;
mod overlay;
mod parameters;
mod pod;
mod secrets;

pub use parameters::parameters;
pub use secrets::{credentials, secret_name};

use super::copy::{Copied, CopyMap};
use super::network::{Egress, in_namespace};
use super::settings::PodSettings;
use crate::{plain, yaml};
use levada_model::model::{Host, PlatformEntry};
use levada_model::name::CredentialName;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One platform that stands on Kubernetes.
pub struct Pods<'a> {
    pub entry: &'a PlatformEntry,
    pub host: &'a Host,
    pub settings: PodSettings,
    /// Whether they are Levada's own workers.
    pub is_levada: bool,
    pub copied: Copied<'a>,
    /// The ConfigMaps that hold what is copied.
    pub maps: Vec<CopyMap<'a>>,
    /// What the model says of it, as JSON.
    pub parameters: String,
    pub credentials: BTreeSet<&'a CredentialName>,
    pub egress: Egress,
}

impl Pods<'_> {
    /// What every object is called, or begins with.
    fn name(&self) -> String {
        plain::prefix(self.entry.name.as_str())
    }

    /// All files, by path.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut base: BTreeMap<String, Vec<Value>> = BTreeMap::from([
            ("namespace.yaml".to_owned(), vec![self.namespace()]),
            ("network.yaml".to_owned(), vec![self.network()]),
            ("workload.yaml".to_owned(), self.workload()),
        ]);
        base.extend(self.maps.iter().map(|map| (format!("model-{:04}.yaml", map.number), vec![self.map(map)])));
        if self.is_levada {
            base.insert("jobs.yaml".to_owned(), vec![self.migrate(), self.verify()]);
        } else {
            base.insert("parameters.yaml".to_owned(), vec![self.parameters()]);
        }
        let resources: Vec<&String> = base.keys().collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
        });
        let mut files: BTreeMap<String, String> =
            base.iter().map(|(path, objects)| (format!("base/{path}"), documents(objects))).collect();
        files.insert("base/kustomization.yaml".to_owned(), yaml::document(&kustomization));
        for (name, environment) in &self.settings.environments {
            files.insert(format!("overlays/{name}/kustomization.yaml"), yaml::document(&self.overlay(environment)));
        }
        files.insert("secrets.md".to_owned(), self.secrets());
        if !self.maps.is_empty() {
            files.insert("trivyignore.yaml".to_owned(), yaml::document(&passed_over()));
        }
        files
    }

    fn object(&self, api: &str, kind: &str, suffix: &str, rest: Value) -> Value {
        let object = json!({
            "apiVersion": api, "kind": kind,
            "metadata": {
                "name": format!("{}{suffix}", self.name()), "namespace": self.host.kubernetes, "labels": self.labels(),
                "annotations": { "levada/platform": self.entry.name.as_str() },
            },
        });
        merged(object, rest)
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "levada", "app.kubernetes.io/instance": self.name(),
            "app.kubernetes.io/managed-by": "levada",
        })
    }

    /// The labels of one part's pods.
    fn component(&self, word: &str) -> Value {
        merged(self.labels(), json!({ "app.kubernetes.io/component": word }))
    }

    /// Those of the pods that work, by which all else finds them.
    fn worker(&self) -> Value {
        self.component("worker")
    }

    fn namespace(&self) -> Value {
        let restricted = |what: &str| (format!("pod-security.kubernetes.io/{what}"), json!("restricted"));
        let labels: Map<String, Value> = ["enforce", "audit", "warn"].into_iter().map(restricted).collect();
        let metadata = json!({ "name": self.host.kubernetes, "labels": labels, "annotations": kept() });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    }

    fn network(&self) -> Value {
        let scraped = self.settings.scraped_from.iter().map(|namespace| {
            json!({ "from": [in_namespace(namespace)], "ports": [{ "port": self.settings.port, "protocol": "TCP" }] })
        });
        let spec = json!({
            "podSelector": { "matchLabels": { "app.kubernetes.io/instance": self.name() } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": scraped.collect::<Vec<_>>(),
            "egress": self.egress.rules(),
        });
        self.object("networking.k8s.io/v1", "NetworkPolicy", "", json!({ "spec": spec }))
    }

    /// What runs all the time, and what it stands on.
    fn workload(&self) -> Vec<Value> {
        let account = json!({ "automountServiceAccountToken": false });
        let service = json!({
            "selector": self.worker(), "ports": [{ "name": "http", "port": self.settings.port, "targetPort": "http" }],
        });
        let budget = json!({ "maxUnavailable": 1, "selector": { "matchLabels": self.worker() } });
        vec![
            self.object("v1", "ServiceAccount", "", account),
            self.object("v1", "PersistentVolumeClaim", "", self.volume()),
            self.object("apps/v1", "Deployment", "", merged(large(), json!({ "spec": self.deployment() }))),
            self.object("v1", "Service", "", json!({ "spec": service })),
            self.object("policy/v1", "PodDisruptionBudget", "", json!({ "spec": budget })),
            self.object("autoscaling/v2", "HorizontalPodAutoscaler", "", json!({ "spec": self.scale() })),
        ]
    }

    /// The volume of the store.
    fn volume(&self) -> Value {
        let class = self.settings.storage_class.as_ref();
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": self.settings.size.storage } },
        });
        json!({
            "metadata": { "annotations": kept() },
            "spec": merged(spec, class.map_or(json!({}), |class| json!({ "storageClassName": class }))),
        })
    }

    fn deployment(&self) -> Value {
        // A comparison that has the volume is waited for on its node, not from another one.
        let beside = json!({ "weight": 100, "podAffinityTerm": {
            "labelSelector": { "matchLabels": self.component("verify") }, "topologyKey": "kubernetes.io/hostname",
        } });
        let affinity = json!({ "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [beside] } });
        let rest = if self.is_levada { json!({ "affinity": affinity }) } else { json!({}) };
        let pod = self.pod(merged(json!({ "containers": [self.container()] }), rest));
        json!({
            "replicas": self.settings.replicas,
            "revisionHistoryLimit": 3,
            // The volume is one pod's at a time, and the store in it has one worker.
            "strategy": { "type": "Recreate" },
            "selector": { "matchLabels": self.worker() },
            "template": { "metadata": self.worker_metadata(), "spec": pod },
        })
    }

    /// How many pods there may be: a hook, while one is the most.
    fn scale(&self) -> Value {
        let busy = json!({ "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } });
        json!({
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": self.name() },
            "minReplicas": 1,
            "maxReplicas": self.settings.replicas.max(1),
            "metrics": [{ "type": "Resource", "resource": busy }],
        })
    }

    /// A ConfigMap of the model's copy.
    fn map(&self, map: &CopyMap<'_>) -> Value {
        let content = Value::Object(map.content());
        self.object("v1", "ConfigMap", &map_suffix(map.number), merged(large(), content))
    }

    /// What the model says of the platform, for an image that is not Levada's own.
    fn parameters(&self) -> Value {
        self.object("v1", "ConfigMap", "-parameters", json!({ "data": { "platform.json": self.parameters } }))
    }
}

/// What a ConfigMap of the model's copy is called by.
fn map_suffix(number: u32) -> String {
    format!("-model-{number:04}")
}

/// Annotations of what stays when its files go: whoever applies them and takes away what has left them
/// leaves the data alone, and the namespace that it is in.
fn kept() -> Value {
    json!({
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false", "kustomize.toolkit.fluxcd.io/prune": "disabled",
    })
}

/// What says that an object may be larger than a client can note down in it.
fn large() -> Value {
    json!({ "metadata": { "annotations": { "argocd.argoproj.io/sync-options": "ServerSideApply=true" } } })
}

/// What trivy is to pass over, and why.
fn passed_over() -> Value {
    json!({ "misconfigurations": [{
        "id": "AVD-KSV-01010",
        "paths": ["base/model-*.yaml"],
        "statement": "a copy of files that stand in git; words such as user and id in a model are no secrets",
    }] })
}

/// One object's keys over another's, objects below them likewise.
fn merged(mut under: Value, over: Value) -> Value {
    if let (Value::Object(under), Value::Object(over)) = (&mut under, over) {
        for (key, value) in over {
            let value = match under.remove(&key) {
                Some(before @ Value::Object(_)) if value.is_object() => merged(before, value),
                _ => value,
            };
            under.insert(key, value);
        }
    }
    under
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(yaml::document).collect::<Vec<_>>().join("---\n")
}
