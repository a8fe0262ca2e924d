//! `settings.kubernetes`: how a platform's pods are to be; everything has a default.
//!
//! Levada's own, whatever kind of platform is hosted; the kind never sees it.

use crate::output::HOST;
use core::net::IpAddr;
use levada_model::model::{Infrastructure, PlatformEntry};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How the pods of a platform are to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSettings {
    /// Pods at once.
    pub replicas: u32,
    /// Where the store lies; `None`: on the volume.
    pub data: Option<String>,
    /// The size of a pod: what it asks for, and what it gets at most.
    pub size: Size,
    /// The class of its volume; `None`: the cluster's usual one.
    pub storage_class: Option<String>,
    /// The size of its scratch space.
    pub scratch: String,
    /// Jobs at once in a pod.
    pub jobs: u32,
    /// The port that answers whether it is well.
    pub port: u32,
    /// The path that does.
    pub health: String,
    /// When deliveries are compared with the store, in cron's five fields.
    pub verify: String,
    /// The secret with the state's URL, and where the state is.
    pub state: StateSecret,
    /// The secret whose `token` opens `/metrics`.
    pub token: String,
    /// The namespace of whoever reads `/metrics`; `None`: nobody does.
    pub scraped_from: Option<String>,
    /// Other names for the secrets of credentials.
    pub secrets: BTreeMap<String, String>,
    /// The networks that hosts lie in, in CIDR notation.
    pub networks: BTreeMap<String, Vec<String>>,
    /// What is different where.
    pub environments: BTreeMap<String, Environment>,
}

/// How large a pod is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Size {
    /// Processors.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// The volume.
    pub storage: String,
}

/// How pods reach the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateSecret {
    /// The secret.
    pub secret: String,
    /// Its key with the `postgres://…`.
    pub key: String,
    /// The host in it; `None`: not said.
    pub host: Option<String>,
    /// The port in it.
    pub port: u32,
}

/// What is different in one environment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Environment {
    pub namespace: Option<String>,
    pub image: Option<String>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub storage: Option<String>,
}

impl PodSettings {
    /// Reads the settings of a platform; those of its infrastructure lie under them, key by key.
    ///
    /// # Errors
    /// Everything that is wrong with them, in words.
    pub fn of(platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut left = Map::new();
        for settings in infrastructure.map(|it| &it.settings).into_iter().chain([&platform.settings]) {
            match settings.get(HOST) {
                None => {}
                Some(Value::Object(given)) => left.extend(given.clone()),
                Some(other) => wrong.push(format!("settings.{HOST} is {other}, and an object is wanted")),
            }
        }
        let mut reader = Reader { place: format!("settings.{HOST}"), left: &mut left, wrong: &mut wrong };
        let read = Self::read(&mut reader);
        reader.end();
        if wrong.is_empty() { Ok(read) } else { Err(wrong) }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            replicas: reader.number("replicas", 1, 0..=1_000),
            data: reader.text("data"),
            size: Size {
                cpu: reader.quantity("cpu").unwrap_or_else(|| "1".to_owned()),
                memory: reader.quantity("memory").unwrap_or_else(|| "2Gi".to_owned()),
                storage: reader.quantity("storage").unwrap_or_else(|| "50Gi".to_owned()),
            },
            storage_class: reader.name("storage_class"),
            scratch: reader.quantity("scratch").unwrap_or_else(|| "10Gi".to_owned()),
            jobs: reader.number("jobs", 8, 1..=1_024),
            port: reader.number("port", 8_080, 1..=65_535),
            health: reader.text("health").unwrap_or_else(|| "/healthz".to_owned()),
            verify: reader.cron("verify").unwrap_or_else(|| "17 3 * * *".to_owned()),
            state: reader.state(),
            token: reader.name("token").unwrap_or_else(|| "levada-token".to_owned()),
            scraped_from: reader.name("scraped_from"),
            secrets: reader.secrets(),
            networks: reader.networks(),
            environments: reader.environments(),
        }
    }
}

/// Takes keys one by one, and remembers what was wrong.
struct Reader<'a> {
    place: String,
    left: &'a mut Map<String, Value>,
    wrong: &'a mut Vec<String>,
}

impl Reader<'_> {
    /// Whatever was not taken is unknown.
    fn end(self) {
        for key in self.left.keys() {
            self.wrong.push(format!("there is no setting {}.{key}", self.place.trim_start_matches("settings.")));
        }
    }

    fn complain(&mut self, key: &str, value: &Value, wanted: &str) {
        self.wrong.push(format!("{}.{key} is {value}, and {wanted} is wanted", self.place));
    }

    /// A text for which something holds.
    fn text_that(&mut self, key: &str, wanted: &str, holds: impl Fn(&str) -> bool) -> Option<String> {
        match self.left.remove(key)? {
            Value::String(text) if holds(&text) => Some(text),
            other => {
                self.complain(key, &other, wanted);
                None
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.text_that(key, "a text", |text| !text.is_empty())
    }

    fn name(&mut self, key: &str) -> Option<String> {
        self.text_that(key, NAME, is_name)
    }

    /// An amount as Kubernetes writes it; a bare number is one, too.
    fn quantity(&mut self, key: &str) -> Option<String> {
        if let Some(Value::Number(number)) = self.left.get(key) {
            let text = number.to_string();
            self.left.insert(key.to_owned(), Value::String(text));
        }
        self.text_that(key, "an amount such as 500m, 2 or 4Gi", is_quantity)
    }

    fn cron(&mut self, key: &str) -> Option<String> {
        self.text_that(key, "cron's five fields", |text| {
            let is_field = |field: &str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*/,-?".contains(&b));
            text.split(' ').count() == 5 && text.split(' ').all(|field| !field.is_empty() && is_field(field))
        })
    }

    fn number(&mut self, key: &str, default: u32, allowed: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.left.remove(key) else { return default };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| allowed.contains(number)) {
            Some(number) => number,
            None => {
                self.complain(key, &value, &format!("a number from {} to {}", allowed.start(), allowed.end()));
                default
            }
        }
    }

    /// An object below a key, read by keys of its own; absent: as an empty one.
    fn part<T>(&mut self, key: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let mut left = match self.left.remove(key) {
            None => Map::new(),
            Some(Value::Object(given)) => given,
            Some(other) => {
                self.complain(key, &other, "an object");
                Map::new()
            }
        };
        let mut part = Reader { place: format!("{}.{key}", self.place), left: &mut left, wrong: self.wrong };
        let read = read(&mut part);
        part.end();
        read
    }

    /// An object of one's own names below a key.
    fn each<T>(&mut self, key: &str, read: impl Fn(&mut Reader<'_>, &str) -> T) -> BTreeMap<String, T> {
        self.part(key, |part| {
            let names: Vec<String> = part.left.keys().cloned().collect();
            names.into_iter().map(|name| (name.clone(), read(part, &name))).collect()
        })
    }

    fn state(&mut self) -> StateSecret {
        self.part("state", |part| StateSecret {
            secret: part.name("secret").unwrap_or_else(|| "levada-state".to_owned()),
            key: part.text_that("key", "a key of a secret", is_key).unwrap_or_else(|| "url".to_owned()),
            host: part.text("host"),
            port: part.number("port", 5_432, 1..=65_535),
        })
    }

    fn secrets(&mut self) -> BTreeMap<String, String> {
        self.each("secrets", |part, credential| part.name(credential).unwrap_or_default())
    }

    fn networks(&mut self) -> BTreeMap<String, Vec<String>> {
        self.each("networks", |part, host| {
            let value = part.left.remove(host).unwrap_or_default();
            match serde_json::from_value::<Vec<String>>(value.clone()) {
                Ok(networks) if !networks.is_empty() && networks.iter().all(|it| is_network(it)) => networks,
                _ => {
                    part.complain(host, &value, "a list of networks such as 10.1.0.0/16");
                    Vec::new()
                }
            }
        })
    }

    fn environments(&mut self) -> BTreeMap<String, Environment> {
        self.each("environments", |part, name| {
            if !is_name(name) {
                part.wrong.push(format!("{} has {name:?}, and {NAME} is wanted", part.place));
            }
            part.part(name, |part| Environment {
                namespace: part.name("namespace"),
                image: part.text_that("image", IMAGE, is_image),
                cpu: part.quantity("cpu"),
                memory: part.quantity("memory"),
                storage: part.quantity("storage"),
            })
        })
    }
}

/// What a name of Kubernetes is.
pub const NAME: &str = "a name of small letters, digits and -, up to 63";
/// What an image is.
pub const IMAGE: &str = "an image by its digest, NAME@sha256:…";

/// Whether a text is a label of RFC 1123, which names most of what Kubernetes has.
pub fn is_name(text: &str) -> bool {
    let is_end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Whether a text names an image that never changes.
pub fn is_image(text: &str) -> bool {
    let Some((name, digest)) = text.split_once("@sha256:") else { return false };
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_/:".contains(&b))
        && digest.len() == 64
        && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_key(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_quantity(text: &str) -> bool {
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    number.parse::<f64>().is_ok_and(|number| number > 0.0)
        && ["", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"].contains(&unit)
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_images_amounts_and_networks_are_what_kubernetes_takes() {
        assert!(["a", "levada-lake", "1a"].into_iter().all(is_name));
        assert!(!["", "-a", "a-", "A", "a.b", "a_b", &"x".repeat(64)].into_iter().any(is_name));
        let digest = "0123456789abcdef".repeat(4);
        assert!(is_image(&format!("registry.example:5000/levada@sha256:{digest}")));
        assert!(!["levada:1.0", "levada", "levada@sha256:12", "a b@sha256:0"].into_iter().any(is_image));
        assert!(["1", "0.5", "500m", "2Gi", "10T"].into_iter().all(is_quantity));
        assert!(!["", "Gi", "2GB", "-1", "0", "1e3", "."].into_iter().any(is_quantity));
        assert!(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"].into_iter().all(is_network));
        assert!(!["10.0.0.0", "10.0.0.0/33", "x/8", "::/129"].into_iter().any(is_network));
    }
}
