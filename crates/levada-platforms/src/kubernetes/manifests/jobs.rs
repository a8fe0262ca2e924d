//! What is done once, and every night.

use super::{Pods, merged};
use crate::{plain, yaml};
use serde_json::{Value, json};

/// Digits of what a Job is, in its name.
const NAME_DIGITS: usize = 8;
/// How long a comparison may take.
const VERIFY_SECONDS: u32 = 2 * 3_600;

impl Pods<'_> {
    /// Brings the state to the image's version.
    pub(super) fn migrate(&self) -> Value {
        let spec = self.migrate_spec(&self.host.image);
        self.object("batch/v1", "Job", &suffix_of(&spec), json!({ "spec": spec }))
    }

    /// What the Job of an image is called by.
    pub(super) fn migrate_suffix(&self, image: &str) -> String {
        suffix_of(&self.migrate_spec(image))
    }

    fn migrate_spec(&self, image: &str) -> Value {
        let own = json!({ "args": ["migrate", "/model"], "image": image });
        let container = merged(self.bare_container("migrate"), own);
        let pod = self.pod(json!({ "containers": [container], "restartPolicy": "OnFailure" }));
        let metadata = json!({ "labels": self.component("migrate") });
        json!({ "backoffLimit": 6, "template": { "metadata": metadata, "spec": with_volumes(pod, &["state", "tmp"]) } })
    }

    /// Compares what was delivered with the store, beside the worker that has the volume.
    pub(super) fn verify(&self) -> Value {
        let beside = json!({
            "labelSelector": { "matchLabels": self.worker() }, "topologyKey": "kubernetes.io/hostname",
        });
        // It has to fit beside the worker, and takes what is left there.
        let little = json!({ "requests": { "cpu": "10m", "memory": "64Mi" } });
        let own = json!({ "args": self.arguments("verify", &[]), "resources": little });
        let pod = self.pod(json!({
            "containers": [merged(self.bare_container("verify"), own)],
            "restartPolicy": "Never",
            "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [beside] } },
        }));
        let template = json!({ "metadata": { "labels": self.component("verify") }, "spec": pod });
        let job = json!({ "activeDeadlineSeconds": VERIFY_SECONDS, "backoffLimit": 0, "template": template });
        let spec = json!({
            "schedule": self.settings.verify,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3_600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": { "spec": job },
        });
        self.object("batch/v1", "CronJob", "-verify", json!({ "spec": spec }))
    }
}

/// What a migration is called by: a Job can't change, so that another one has another name.
fn suffix_of(spec: &Value) -> String {
    let digits = plain::hash(&[&yaml::document(spec)]);
    format!("-migrate-{}", &digits[..NAME_DIGITS])
}

/// A pod that does with some of its volumes.
fn with_volumes(mut pod: Value, names: &[&str]) -> Value {
    let keep = |list: &mut Value| {
        if let Some(items) = list.as_array_mut() {
            items.retain(|it| names.iter().any(|name| it["name"] == *name));
        }
    };
    keep(&mut pod["volumes"]);
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        keep(&mut container["volumeMounts"]);
    }
    pod
}
