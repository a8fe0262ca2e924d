//! What is different in one environment, as a Kustomize overlay.

use super::Pods;
use crate::kubernetes::settings::Environment;
use crate::yaml;
use serde_json::{Value, json};

impl Pods<'_> {
    /// What is different in one environment.
    pub(super) fn overlay(&self, environment: &Environment) -> Value {
        let name = self.name();
        let target = |kind: &str, suffix: &str| json!({ "kind": kind, "name": format!("{name}{suffix}") });
        let replace = |path: &str, value: &str| json!({ "op": "replace", "path": path, "value": value });
        let mut patches = Vec::new();
        let mut patch = |target: Value, operations: Vec<Value>| {
            if !operations.is_empty() {
                patches.push(json!({ "target": target, "patch": yaml::document(&json!(operations)) }));
            }
        };
        let size = |place: &str, bounds: &[&str]| -> Vec<Value> {
            let parts = [("cpu", &environment.cpu), ("memory", &environment.memory)].into_iter();
            let told = parts.filter_map(|(part, value)| Some((part, value.as_ref()?)));
            told.flat_map(|(part, value)| {
                let path = move |bound: &&str| format!("{place}/containers/0/resources/{bound}/{part}");
                bounds.iter().map(move |bound| replace(&path(bound), value))
            })
            .collect()
        };
        patch(target("Deployment", ""), size("/spec/template/spec", &["requests", "limits"]));
        if self.is_levada {
            patch(target("CronJob", "-verify"), size("/spec/jobTemplate/spec/template/spec", &["limits"]));
        }
        let storage = environment.storage.iter().map(|storage| replace("/spec/resources/requests/storage", storage));
        patch(target("PersistentVolumeClaim", ""), storage.collect());
        if let Some(image) = environment.image.as_ref().filter(|_| self.is_levada) {
            let renamed = replace("/metadata/name", &format!("{name}{}", self.migrate_suffix(image)));
            patch(target("Job", &self.migrate_suffix(&self.host.image)), vec![renamed]);
        }
        let mut overlay = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../../base"],
        });
        if let Some(namespace) = &environment.namespace {
            overlay["namespace"] = json!(namespace);
        }
        if let (Some((here, _)), Some((name, digest))) =
            (self.host.image.split_once('@'), environment.image.as_ref().and_then(|image| image.split_once('@')))
        {
            overlay["images"] = json!([{ "name": here, "newName": name, "digest": digest }]);
        }
        if !patches.is_empty() {
            overlay["patches"] = json!(patches);
        }
        overlay
    }
}
