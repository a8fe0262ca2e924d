//! The pods of a platform: what runs in them, and what it finds there.

use super::secrets::{SECRET_PARTS, secret_name};
use super::{Pods, map_suffix, merged};
use crate::kubernetes::copy::CopyMap;
use crate::kubernetes::settings::Size;
use crate::plain;
use levada_model::name::CredentialName;
use serde_json::{Value, json};

/// Who runs in the pods, as in Levada's own image.
const USER: u32 = 65_532;
/// Programs among the model's files may be started, and nobody may change one.
const MODEL_MODE: u32 = 0o555;
/// Secrets are read by the pods' user and group.
const SECRET_MODE: u32 = 0o440;
/// The path by which Levada's workers tell that they are well.
const HEALTH: &str = "/healthz";
/// How long a pod may take to end what it does.
const STOP_SECONDS: u32 = 30;

impl Pods<'_> {
    /// Workers read what changes where it lies; what else is hosted starts anew with its model and parameters.
    pub(super) fn worker_metadata(&self) -> Value {
        let told = json!({ "labels": self.worker() });
        match self.is_levada {
            true => told,
            false => {
                let parameters = plain::hash(&[&self.parameters]);
                let told_of = json!({ "levada/model": self.copied.fingerprint(), "levada/parameters": parameters });
                merged(told, json!({ "annotations": told_of }))
            }
        }
    }

    /// The specification of a pod around its containers.
    pub(super) fn pod(&self, around: Value) -> Value {
        merged(
            around,
            json!({
                "serviceAccountName": self.name(),
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": STOP_SECONDS,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                    "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": { "type": "RuntimeDefault" },
                },
                "volumes": self.volumes(),
            }),
        )
    }

    pub(super) fn container(&self) -> Value {
        let settings = &self.settings;
        let alive = json!({ "tcpSocket": { "port": "http" } });
        let health = if self.is_levada { HEALTH } else { &settings.health };
        let well = json!({ "httpGet": { "path": health, "port": "http" } });
        let probe = |how: &Value, failures: u32| {
            merged(how.clone(), json!({ "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": failures }))
        };
        let serving = json!({
            "ports": [{ "name": "http", "containerPort": settings.port, "protocol": "TCP" }],
            "startupProbe": probe(&well, 60),
            "readinessProbe": probe(&well, 3),
            // A state that is out of reach is waited for: no restart brings it back.
            "livenessProbe": probe(&alive, 6),
        });
        let jobs = format!("--workers={}", settings.jobs);
        let listen = format!("--listen=0.0.0.0:{}", settings.port);
        let arguments = match self.is_levada {
            true => json!({ "args": self.arguments("run", &[&jobs, &listen]) }),
            false => json!({}),
        };
        merged(self.bare_container("worker"), merged(serving, arguments))
    }

    /// A container of the platform's image with all that it finds.
    pub(super) fn bare_container(&self, name: &str) -> Value {
        let Size { cpu, memory, .. } = &self.settings.size;
        let variable = |name: &str, value: &str| json!({ "name": name, "value": dollars(value) });
        let variables = match self.is_levada {
            true => vec![
                variable("HOME", "/tmp"),
                variable("LEVADA_CACHE", "off"),
                variable("LEVADA_DATA", "/data/store"),
                variable("LEVADA_SECRETS", "/secrets"),
                variable("LEVADA_SERVE_TOKEN_FILE", "/etc/levada/token/token"),
                variable("LEVADA_STATE_FILE", "/etc/levada/state/url"),
            ],
            false => vec![
                variable("HOME", "/tmp"),
                variable("LEVADA_MODEL", "/model"),
                variable("LEVADA_PARAMETERS", "/etc/levada/parameters/platform.json"),
                variable("LEVADA_PLATFORM", self.entry.name.as_str()),
                variable("LEVADA_SECRETS", "/secrets"),
            ],
        };
        json!({
            "name": name,
            "image": self.host.image,
            // The image is named by what is in it; asking again also proves the right to it.
            "imagePullPolicy": "Always",
            "env": variables,
            "resources": { "requests": { "cpu": cpu, "memory": memory }, "limits": { "cpu": cpu, "memory": memory } },
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": self.mounts(),
        })
    }

    /// What Levada is told to do; Kubernetes takes `$(…)` in it for a variable.
    pub(super) fn arguments(&self, command: &str, options: &[&str]) -> Vec<String> {
        let platform = format!("--platform={}", dollars(self.entry.name.as_str()));
        let words = [command, &platform].into_iter().chain(options.iter().copied()).chain(["/model"]);
        words.map(str::to_owned).collect()
    }

    fn mounts(&self) -> Vec<Value> {
        let read = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
        let own: &[(&str, &str)] = match self.is_levada {
            true => &[("state", "/etc/levada/state"), ("token", "/etc/levada/token")],
            false => &[("parameters", "/etc/levada/parameters")],
        };
        let mut mounts = vec![json!({ "name": "data", "mountPath": "/data" }), read("model", "/model")];
        mounts.extend(own.iter().map(|(name, path)| read(name, path)));
        mounts.extend([read("secrets", "/secrets"), json!({ "name": "tmp", "mountPath": "/tmp" })]);
        mounts
    }

    fn volumes(&self) -> Vec<Value> {
        let own = match self.is_levada {
            true => vec![
                secret("state", &self.settings.state.secret, &self.settings.state.key, "url"),
                secret("token", &self.settings.token, "token", "token"),
            ],
            false => {
                vec![json!({ "name": "parameters", "configMap": { "name": format!("{}-parameters", self.name()) } })]
            }
        };
        let data = json!({ "name": "data", "persistentVolumeClaim": { "claimName": self.name() } });
        let scratch = json!({ "name": "tmp", "emptyDir": { "sizeLimit": self.settings.scratch } });
        let model = projected("model", self.model_sources(), MODEL_MODE);
        let read = [model, projected("secrets", self.secret_sources(), SECRET_MODE)];
        [data, scratch].into_iter().chain(read).chain(own).collect()
    }

    /// The ConfigMaps of the model's copy, each file at its own path.
    fn model_sources(&self) -> Vec<Value> {
        let source = |map: &CopyMap<'_>| {
            let items: Vec<Value> = map.items().map(|(key, path)| json!({ "key": key, "path": path })).collect();
            json!({ "configMap": { "name": format!("{}{}", self.name(), map_suffix(map.number)), "items": items } })
        };
        self.maps.iter().map(source).collect()
    }

    /// The secrets of all credentials. Whoever needs one that is missing fails by its name, and holds up
    /// nobody else.
    fn secret_sources(&self) -> Vec<Value> {
        let source = |credential: &&CredentialName| {
            let items = SECRET_PARTS.map(|part| json!({ "key": part, "path": format!("{credential}/{part}") }));
            json!({ "secret": { "name": secret_name(&self.settings, credential), "optional": true, "items": items } })
        };
        self.credentials.iter().map(source).collect()
    }
}

/// A volume with one key of a secret in it.
fn secret(name: &str, secret: &str, key: &str, path: &str) -> Value {
    json!({ "name": name, "secret": { "secretName": secret, "items": [{ "key": key, "path": path }] } })
}

/// A volume that holds what several hold; empty where there are none.
fn projected(name: &str, sources: Vec<Value>, mode: u32) -> Value {
    match sources.is_empty() {
        true => json!({ "name": name, "emptyDir": {} }),
        false => json!({ "name": name, "projected": { "sources": sources, "defaultMode": mode } }),
    }
}

/// Kubernetes writes a dollar sign as two.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}
