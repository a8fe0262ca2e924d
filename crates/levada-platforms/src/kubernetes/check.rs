//! What is against a platform's standing on Kubernetes.

use super::copy::{FILE_BYTES_MAX, LIST_BYTES_MAX};
use super::manifests::{Pods, secret_name};
use super::settings::{IMAGE, NAME, PodSettings, is_image, is_name};
use crate::about::about;
use crate::output::HOST;
use levada_model::model::{Infrastructure, PlatformEntry};
use levada_model::{Code, Finding, Findings};
use std::collections::BTreeMap;

/// A setting of the pods is unknown, or makes no sense.
pub const SETTINGS_WRONG: Code = Code("E-KUBERNETES-001");
/// `host:` is missing, or names no namespace or no image by its digest.
pub const HOST_WRONG: Code = Code("E-KUBERNETES-002");
/// More pods than one store takes.
pub const REPLICAS_UNSUPPORTED: Code = Code("E-KUBERNETES-003");
/// The store is to lie elsewhere than on the volume.
pub const DATA_ELSEWHERE: Code = Code("E-KUBERNETES-004");
/// Two things would be read from one secret.
pub const SECRETS_COLLIDE: Code = Code("E-KUBERNETES-005");
/// A file can't be copied into a ConfigMap.
pub const FILE_TOO_LARGE: Code = Code("E-KUBERNETES-006");
/// A host that is let through by its port alone.
pub const EGRESS_WIDE: Code = Code("E-KUBERNETES-007");
/// More files than a pod can have.
pub const FILES_TOO_MANY: Code = Code("E-KUBERNETES-008");

/// How a platform says where it stands.
pub const HOST_HINT: &str = "`host: { kubernetes: NAMESPACE, image: \"NAME@sha256:…\" }`";

/// What can be said without its nodes.
pub fn platform(platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
    let mut findings = Findings::default();
    let name = &platform.name;
    let error = |code, message: String| about(platform, Finding::error(code, message));
    let Some(host) = &platform.host else {
        if platform.settings.contains_key(HOST) {
            let message = format!("platform {name} has settings.{HOST}, and nothing says where it stands");
            findings.push(error(SETTINGS_WRONG, message).hint(HOST_HINT));
        }
        return findings;
    };
    if !is_name(&host.kubernetes) {
        let message = format!("platform {name} stands in namespace {:?}, and {NAME} is wanted", host.kubernetes);
        findings.push(error(HOST_WRONG, message).hint(HOST_HINT));
    }
    if !is_image(&host.image) {
        let message = format!("platform {name} has the image {:?}, and {IMAGE} is wanted", host.image);
        findings.push(error(HOST_WRONG, message).hint("what a tag names may change: a digest is the image itself"));
    }
    let settings = match PodSettings::of(platform, infrastructure) {
        Ok(settings) => settings,
        Err(problems) => {
            let problems = problems.into_iter().map(|it| error(SETTINGS_WRONG, format!("platform {name}: {it}")));
            findings.extend(Findings(problems.collect()));
            return findings;
        }
    };
    if settings.replicas > 1 {
        let message =
            format!("platform {name} is to have {} pods, and its volume is one pod's at a time", settings.replicas);
        findings
            .push(error(REPLICAS_UNSUPPORTED, message).hint("`replicas: 1`; `jobs` is how many jobs it runs at once"));
    }
    if let Some(data) = &settings.data {
        let message =
            format!("platform {name} is to keep its store in {data:?}, and this build keeps it on the pods' volume");
        findings.push(error(DATA_ELSEWHERE, message).hint("leave `data` out; `storage` is the size of the volume"));
    }
    findings
}

/// What its nodes and the model's files bring up.
pub fn pods(pods: &Pods<'_>) -> Findings {
    let (entry, name) = (pods.entry, &pods.entry.name);
    let mut findings = Findings::default();
    let mut taken = BTreeMap::new();
    if pods.is_levada {
        taken.insert(pods.settings.state.secret.clone(), "the state".to_owned());
        taken.insert(pods.settings.token.clone(), "the token".to_owned());
    }
    for &credential in &pods.credentials {
        let secret = secret_name(&pods.settings, credential);
        if let Some(other) = taken.insert(secret.clone(), format!("credential {credential}")) {
            let message =
                format!("secret {secret} of platform {name} would be read as {other} and as credential {credential}");
            let finding = about(entry, Finding::error(SECRETS_COLLIDE, message));
            findings.push(finding.hint(format!("settings.{HOST}.secrets: {{ {credential}: ANOTHER }}")));
        }
    }
    for (path, bytes) in pods.copied.too_large() {
        let message = format!(
            "{path} has {} KiB, and a file of the model's copy for platform {name} has {} KiB at most",
            bytes >> 10,
            FILE_BYTES_MAX >> 10
        );
        let finding = about(entry, Finding::error(FILE_TOO_LARGE, message));
        findings.push(finding.hint("put it into the image, or name it in .gitignore"));
    }
    if pods.copied.list_bytes() > LIST_BYTES_MAX {
        let message = format!(
            "the copy of the model for platform {name} has so many files that their list alone is {} KiB of its pods",
            pods.copied.list_bytes() >> 10
        );
        let finding = about(entry, Finding::error(FILES_TOO_MANY, message));
        findings.push(finding.hint("put what is no model into the image, or name it in .gitignore"));
    }
    let wide = pods.egress.wide();
    if !wide.is_empty() {
        let message = format!(
            "pods of platform {name} may reach any address on the ports of {}: a NetworkPolicy knows no names of hosts",
            wide.join(", ")
        );
        let finding = about(entry, Finding::warning(EGRESS_WIDE, message));
        findings.push(finding.hint(format!(
            "say where they are: settings.{HOST}.networks: {{ HOST: [10.1.0.0/16] }}, settings.{HOST}.state.host"
        )));
    }
    findings
}
