//! What is done once, and every night.

use super::{Pods, merged};
use serde_json::{Value, json};

/// Digits of an image's digest in the name of a Job, which can't change afterwards.
const DIGEST_DIGITS: usize = 8;
/// How long a comparison may take.
const VERIFY_SECONDS: u32 = 6 * 3_600;

impl Pods<'_> {
    /// Brings the state to the image's version; a Job of each image, since none can change.
    pub(super) fn migrate(&self) -> Value {
        let container = merged(self.bare_container("migrate"), json!({ "args": ["migrate", "/model"] }));
        let pod = self.pod(json!({ "containers": [container], "restartPolicy": "OnFailure" }));
        let metadata = json!({ "labels": self.component("migrate") });
        let spec = json!({
            "backoffLimit": 6,
            "template": { "metadata": metadata, "spec": without_volume(pod, "data") },
        });
        self.object("batch/v1", "Job", &migrate_suffix(&self.host.image), json!({ "spec": spec }))
    }

    /// Compares what was delivered with the store, beside the worker that has the volume.
    pub(super) fn verify(&self) -> Value {
        let beside = json!({
            "labelSelector": { "matchLabels": self.worker() }, "topologyKey": "kubernetes.io/hostname",
        });
        let pod = self.pod(json!({
            "containers": [merged(self.bare_container("verify"), json!({ "args": self.arguments("verify", &[]) }))],
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

/// What the Job of an image is called by.
pub(super) fn migrate_suffix(image: &str) -> String {
    let digest = image.rsplit(':').next().unwrap_or_default();
    format!("-migrate-{}", digest.chars().take(DIGEST_DIGITS).collect::<String>())
}

/// A pod that does without one of its volumes.
fn without_volume(mut pod: Value, name: &str) -> Value {
    let is_other = |it: &Value| it["name"] != name;
    let keep = |list: &mut Value| {
        if let Some(items) = list.as_array_mut() {
            items.retain(is_other);
        }
    };
    keep(&mut pod["volumes"]);
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        keep(&mut container["volumeMounts"]);
    }
    pod
}
