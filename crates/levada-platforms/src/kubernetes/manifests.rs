//! The manifests of one platform: what stands in every environment, and what is different in each.

use super::copy::Copied;
use super::network::{self, Egress};
use super::settings::{Environment, PodSettings, Size};
use crate::output::{settings, without_output};
use crate::{plain, yaml};
use levada_model::model::{Code, Host, Infrastructure, PlatformEntry};
use levada_model::name::CredentialName;
use levada_planner::NodeSpec;
use levada_planner::platform::Part;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who runs in the pods, as in Levada's own image.
const USER: u32 = 65_532;
/// Digits of an image's digest in the name of a Job, which can't change afterwards.
const DIGEST_DIGITS: usize = 8;
/// How long a pod may take to end what it does.
const STOP_SECONDS: u32 = 30;
/// How long a comparison may take.
const VERIFY_SECONDS: u32 = 6 * 3_600;
/// The parts of a secret, each a key of it.
const SECRET_PARTS: [&str; 3] = ["user", "password", "token"];

/// One platform that stands on Kubernetes.
pub struct Pods<'a> {
    pub entry: &'a PlatformEntry,
    pub host: &'a Host,
    pub settings: PodSettings,
    /// Whether they are Levada's own workers.
    pub is_levada: bool,
    pub copied: Copied<'a>,
    /// What the model says of it, as JSON.
    pub parameters: String,
    pub credentials: BTreeSet<&'a CredentialName>,
    pub egress: Egress,
}

impl<'a> Pods<'a> {
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
        base.extend(self.maps());
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

    /// The labels of the pods that work, by which all else finds them.
    fn worker(&self) -> Value {
        merged(self.labels(), json!({ "app.kubernetes.io/component": "worker" }))
    }

    fn namespace(&self) -> Value {
        let restricted = |what: &str| (format!("pod-security.kubernetes.io/{what}"), json!("restricted"));
        let labels: Map<String, Value> = ["enforce", "audit", "warn"].into_iter().map(restricted).collect();
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.host.kubernetes, "labels": labels } })
    }

    fn network(&self) -> Value {
        let scraped = self.settings.scraped_from.iter().map(|namespace| {
            json!({
                "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } }],
                "ports": [{ "port": self.settings.port, "protocol": "TCP" }],
            })
        });
        self.object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "",
            json!({ "spec": {
            "podSelector": { "matchLabels": { "app.kubernetes.io/instance": self.name() } },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": scraped.collect::<Vec<_>>(),
            "egress": self.egress.rules(),
        } }),
        )
    }

    /// What runs all the time, and what it stands on.
    fn workload(&self) -> Vec<Value> {
        let (name, settings) = (self.name(), &self.settings);
        let volume = json!({
            // Whoever applies these files and takes away what has left them leaves the data alone.
            "metadata": { "annotations": {
                "argocd.argoproj.io/sync-options": "Prune=false", "kustomize.toolkit.fluxcd.io/prune": "disabled",
            } },
            "spec": merged(
                json!({
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": settings.size.storage } },
                }),
                settings.storage_class.as_ref().map_or(json!({}), |class| json!({ "storageClassName": class })),
            ),
        });
        let deployment = json!({ "spec": {
            "replicas": settings.replicas,
            "revisionHistoryLimit": 3,
            // The volume is one pod's at a time, and the store in it has one worker.
            "strategy": { "type": "Recreate" },
            "selector": { "matchLabels": self.worker() },
            "template": { "metadata": self.worker_metadata(), "spec": self.pod(json!({ "containers": [self.container()] })) },
        } });
        let scale = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": name });
        vec![
            self.object("v1", "ServiceAccount", "", json!({ "automountServiceAccountToken": false })),
            self.object("v1", "PersistentVolumeClaim", "", volume),
            self.object("apps/v1", "Deployment", "", deployment),
            self.object(
                "v1",
                "Service",
                "",
                json!({ "spec": {
                "selector": self.worker(), "ports": [{ "name": "http", "port": settings.port, "targetPort": "http" }],
            } }),
            ),
            self.object(
                "policy/v1",
                "PodDisruptionBudget",
                "",
                json!({ "spec": {
                "maxUnavailable": 1, "selector": { "matchLabels": self.worker() },
            } }),
            ),
            self.object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "",
                json!({ "spec": {
                "scaleTargetRef": scale, "minReplicas": 1, "maxReplicas": settings.replicas.max(1),
                "metrics": [{ "type": "Resource", "resource": {
                    "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 },
                } }],
            } }),
            ),
        ]
    }

    /// Workers read what changes where it lies; what else is hosted starts anew with its model and parameters.
    fn worker_metadata(&self) -> Value {
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
    fn pod(&self, around: Value) -> Value {
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

    fn container(&self) -> Value {
        let settings = &self.settings;
        let alive = json!({ "tcpSocket": { "port": "http" } });
        let well = json!({ "httpGet": { "path": settings.health, "port": "http" } });
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
    fn bare_container(&self, name: &str) -> Value {
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
    fn arguments(&self, command: &str, options: &[&str]) -> Vec<String> {
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
        let settings = &self.settings;
        let secret = |name: &str, secret: &str, key: &str, path: &str| json!({ "name": name, "secret": { "secretName": secret, "items": [{ "key": key, "path": path }] } });
        let own = match self.is_levada {
            true => vec![
                secret("state", &settings.state.secret, &settings.state.key, "url"),
                secret("token", &settings.token, "token", "token"),
            ],
            false => {
                vec![json!({ "name": "parameters", "configMap": { "name": format!("{}-parameters", self.name()) } })]
            }
        };
        let model = self.copied.maps().into_iter().map(|map| {
            let items: Vec<Value> = map.items.iter().map(|(key, path)| json!({ "key": key, "path": path })).collect();
            json!({ "configMap": { "name": self.map_name(map.number), "items": items } })
        });
        let credentials = self.credentials.iter().map(|credential| {
            let item = |part: &str| json!({ "key": part, "path": format!("{credential}/{part}") });
            // Whoever needs one that is missing fails by its name, and holds up nobody else.
            json!({ "secret": {
                "name": secret_name(&self.settings, credential), "optional": true, "items": SECRET_PARTS.map(item),
            } })
        });
        let volume = |name: &str, sources: Vec<Value>| match sources.is_empty() {
            true => json!({ "name": name, "emptyDir": {} }),
            false => json!({ "name": name, "projected": { "sources": sources } }),
        };
        let mut volumes = vec![
            json!({ "name": "data", "persistentVolumeClaim": { "claimName": self.name() } }),
            volume("model", model.collect()),
        ];
        volumes.extend(own);
        volumes.push(volume("secrets", credentials.collect()));
        volumes.push(json!({ "name": "tmp", "emptyDir": { "sizeLimit": settings.scratch } }));
        volumes
    }

    fn map_name(&self, number: u32) -> String {
        format!("{}-model-{number:04}", self.name())
    }

    /// A file for each ConfigMap of the model's copy.
    fn maps(&self) -> BTreeMap<String, Vec<Value>> {
        let maps = self.copied.maps().into_iter().map(|map| {
            let suffix = format!("-model-{:04}", map.number);
            (
                format!("model-{:04}.yaml", map.number),
                vec![self.object("v1", "ConfigMap", &suffix, Value::Object(map.content))],
            )
        });
        maps.collect()
    }

    fn parameters(&self) -> Value {
        self.object("v1", "ConfigMap", "-parameters", json!({ "data": { "platform.json": self.parameters } }))
    }

    /// Brings the state to the image's version; a Job of each image, since none can change.
    fn migrate(&self) -> Value {
        let digest: String =
            self.host.image.rsplit(':').next().unwrap_or_default().chars().take(DIGEST_DIGITS).collect();
        let container = merged(self.bare_container("migrate"), json!({ "args": ["migrate", "/model"] }));
        let pod = self.pod(json!({ "containers": [container], "restartPolicy": "OnFailure" }));
        self.object(
            "batch/v1",
            "Job",
            &format!("-migrate-{digest}"),
            json!({ "spec": {
            "backoffLimit": 6,
            "template": { "metadata": { "labels": self.component("migrate") }, "spec": without_volume(pod, "data") },
        } }),
        )
    }

    /// Compares what was delivered with the store, beside the worker that has the volume.
    fn verify(&self) -> Value {
        let container = merged(self.bare_container("verify"), json!({ "args": self.arguments("verify", &[]) }));
        let pod = self.pod(json!({
            "containers": [container], "restartPolicy": "Never",
            "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "labelSelector": { "matchLabels": self.worker() }, "topologyKey": "kubernetes.io/hostname",
            }] } },
        }));
        self.object(
            "batch/v1",
            "CronJob",
            "-verify",
            json!({ "spec": {
            "schedule": self.settings.verify,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3_600,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": { "spec": {
                "activeDeadlineSeconds": VERIFY_SECONDS, "backoffLimit": 0,
                "template": { "metadata": { "labels": self.component("verify") }, "spec": pod },
            } },
        } }),
        )
    }

    fn component(&self, word: &str) -> Value {
        merged(self.labels(), json!({ "app.kubernetes.io/component": word }))
    }

    /// What is different in one environment.
    fn overlay(&self, environment: &Environment) -> Value {
        let name = self.name();
        let target = |kind: &str, suffix: &str| json!({ "kind": kind, "name": format!("{name}{suffix}") });
        let replace = |path: &str, value: &str| json!({ "op": "replace", "path": path, "value": value });
        let mut patches = Vec::new();
        let mut patch = |target: Value, operations: Vec<Value>| {
            if !operations.is_empty() {
                patches.push(json!({ "target": target, "patch": yaml::document(&json!(operations)) }));
            }
        };
        let size = |place: &str| -> Vec<Value> {
            let parts = [("cpu", &environment.cpu), ("memory", &environment.memory)].into_iter();
            let told = parts.filter_map(|(part, value)| Some((part, value.as_ref()?)));
            told.flat_map(|(part, value)| {
                ["requests", "limits"]
                    .map(|bound| replace(&format!("{place}/containers/0/resources/{bound}/{part}"), value))
            })
            .collect()
        };
        patch(target("Deployment", ""), size("/spec/template/spec"));
        if self.is_levada {
            patch(target("CronJob", "-verify"), size("/spec/jobTemplate/spec/template/spec"));
        }
        let storage = environment.storage.iter().map(|storage| replace("/spec/resources/requests/storage", storage));
        patch(target("PersistentVolumeClaim", ""), storage.collect());
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

    /// Which secrets have to be there, for whoever makes them.
    fn secrets(&self) -> String {
        let mut text = format!(
            "# Secrets of {}\n\nThey are never in these files. In namespace `{}` there have to be:\n\n| secret | keys | is |\n|---|---|---|\n",
            plain_text(self.entry.name.as_str()),
            self.host.kubernetes
        );
        let mut line = |secret: &str, keys: &str, is: &str| text.push_str(&format!("| `{secret}` | {keys} | {is} |\n"));
        if self.is_levada {
            let state = &self.settings.state;
            line(&state.secret, &format!("`{}`", state.key), "the state: `postgres://USER:PASSWORD@HOST/DATABASE`");
            line(&self.settings.token, "`token`", "what opens `/metrics`");
        }
        for credential in &self.credentials {
            line(
                &secret_name(&self.settings, credential),
                "`user` and `password`, or `token`",
                &format!("credential `{credential}`"),
            );
        }
        text
    }
}

/// What the model says of a platform, for an image that is not Levada's own.
pub fn parameters(entry: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> String {
    let own = json!({
        "version": 1, "platform": entry.name, "kind": entry.kind.value, "style": entry.style, "status": entry.status,
        "credentials": entry.credentials.iter().map(|it| it.value.as_str()).collect::<Vec<_>>(),
        "locations": entry.locations.iter().map(|it| it.value.to_string()).collect::<Vec<_>>(),
        "settings": without_output(settings(entry, infrastructure)),
    });
    let mut text = serde_json::to_string_pretty(&sorted(own)).expect("plain data with text keys always serialises");
    text.push('\n');
    text
}

/// The secret of a credential: its own name as Kubernetes takes names, unless the settings say another.
pub fn secret_name(settings: &PodSettings, credential: &CredentialName) -> String {
    let usual = || format!("levada-{}", credential.as_str().to_lowercase().replace('_', "-"));
    settings.secrets.get(credential.as_str()).cloned().unwrap_or_else(usual)
}

/// The credentials of a part: of its containers, of its programs, and the platform's own.
pub fn credentials<'a>(entry: &'a PlatformEntry, part: &Part<'a>) -> BTreeSet<&'a CredentialName> {
    let mut found: BTreeSet<&CredentialName> = entry.credentials.iter().map(|it| &it.value).collect();
    for &node in &part.nodes {
        found.extend(network::connection(node).and_then(|connection| connection.credential.as_ref()));
        if let NodeSpec::Transform(spec) = &node.spec
            && let Code::Program(program) = &spec.code
        {
            found.extend(&program.credentials);
        }
    }
    found
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

/// The same keys in the alphabet's order, however the build's JSON keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<String, Value> = object.into_iter().collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key, self::sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
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

/// Kubernetes writes a dollar sign as two.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// A name in a line of Markdown.
fn plain_text(text: &str) -> String {
    let is_mark = |c: char| c.is_ascii_punctuation() && !" .,-'".contains(c);
    text.chars().flat_map(|c| is_mark(c).then_some('\\').into_iter().chain([c])).collect()
}

fn documents(objects: &[Value]) -> String {
    objects.iter().map(yaml::document).collect::<Vec<_>>().join("---\n")
}
