//! Where data may be: the policies of both zones, against containers and platforms.
//!
//! A policy binds what its zone produces, wherever it goes, or what its zone consumes, wherever it
//! comes from. An `allow` restricts a container or a platform only where it says something about
//! locations or about that very sort of place; a `deny` hits what lies in, or around, its places. A
//! platform that names no location may be anywhere: it breaks both.

use crate::binding::Bindings;
use levada_model::Model;
use levada_model::model::{Binds, Container, Dataset, LocationRef, Places, PlatformEntry, Policy};
use levada_model::name::{ClassificationName, ContainerName, PlatformName, RuleName, VendorName, ZoneName};
use serde::Serialize;
use std::collections::HashMap;

/// Why a policy doesn't want data in a place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// The policy allows other places only; what this place is.
    NotAllowed(String),
    /// The policy denies it; what this place is.
    Denied(String),
    /// The policy allows or denies certain places, and this platform names none.
    NoLocation,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAllowed(place) => write!(f, "does not allow {place}"),
            Self::Denied(place) => write!(f, "denies {place}"),
            Self::NoLocation => f.write_str("depends on locations, and the platform names none"),
        }
    }
}

/// A policy broken by a place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct BrokenPolicy {
    /// Whose policy.
    pub zone: ZoneName,
    /// Its name.
    pub policy: RuleName,
    /// What it doesn't want.
    pub breach: Breach,
}

impl std::fmt::Display for BrokenPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy {:?} of zone {:?} {}", self.policy.as_str(), self.zone.as_str(), self.breach)
    }
}

/// A policy's position in a [`PolicyBook`].
pub(crate) type PolicyId = u32;

/// All policies of a model, by the zone and the side they bind, with clouds by vendor.
pub(crate) struct PolicyBook<'m> {
    policies: Vec<(&'m ZoneName, &'m Policy)>,
    produced: Vec<Vec<PolicyId>>,
    consumed: Vec<Vec<PolicyId>>,
    clouds: HashMap<&'m VendorName, &'m str>,
}

impl<'m> PolicyBook<'m> {
    pub fn of(model: &'m Model) -> Self {
        let mut book = Self {
            policies: Vec::new(),
            produced: vec![Vec::new(); model.zones.len()],
            consumed: vec![Vec::new(); model.zones.len()],
            clouds: model.ecosystem.vendors.iter().map(|vendor| (&vendor.name, vendor.cloud.as_str())).collect(),
        };
        for (zone_position, zone) in model.zones.iter().enumerate() {
            for policy in &zone.policies {
                let id = book.policies.len() as PolicyId;
                book.policies.push((&zone.name, policy));
                if matches!(policy.binds, Binds::Produced | Binds::Both) {
                    book.produced[zone_position].push(id);
                }
                if matches!(policy.binds, Binds::Consumed | Binds::Both) {
                    book.consumed[zone_position].push(id);
                }
            }
        }
        book
    }

    /// The policies that follow a dataset from its producer.
    pub fn produced(&self, zone: Option<u32>) -> &[PolicyId] {
        zone.map_or(&[], |zone| &self.produced[zone as usize])
    }

    /// The policies of a consumer about whatever it consumes.
    pub fn consumed(&self, zone: Option<u32>) -> &[PolicyId] {
        zone.map_or(&[], |zone| &self.consumed[zone as usize])
    }

    pub fn policy(&self, id: PolicyId) -> &'m Policy {
        self.policies[id as usize].1
    }

    pub fn zone(&self, id: PolicyId) -> &'m ZoneName {
        self.policies[id as usize].0
    }

    /// All policies on the way of a dataset from its producer to a consumer's zone.
    pub fn on_the_way(&self, bindings: &Bindings, store: u32, workspace: u32) -> impl Iterator<Item = PolicyId> + '_ {
        let produced = self.produced(bindings.zone_of_store[store as usize]);
        let consumed = self.consumed(bindings.zone_of_workspace[workspace as usize]);
        // A policy of one zone that binds both sides is in both lists.
        produced.iter().chain(consumed.iter().filter(|id| !produced.contains(id))).copied()
    }

    /// Checks a container.
    pub fn check_container(&self, id: PolicyId, container: &Container) -> Option<BrokenPolicy> {
        let place = [&container.location.value];
        self.check(id, &place, &|places| names_container(places, &container.name), &|places| places.containers.len())
    }

    /// Checks a platform.
    pub fn check_platform(&self, id: PolicyId, platform: &PlatformEntry) -> Option<BrokenPolicy> {
        let places: Vec<&LocationRef> = platform.locations.iter().map(|location| &location.value).collect();
        self.check(id, &places, &|places| names_platform(places, &platform.name), &|places| places.platforms.len())
    }

    fn check(
        &self,
        id: PolicyId,
        locations: &[&LocationRef],
        is_named: &dyn Fn(&Places) -> bool,
        own_list_length: &dyn Fn(&Places) -> usize,
    ) -> Option<BrokenPolicy> {
        let (zone, policy) = self.policies[id as usize];
        let breach = self
            .breach_of_deny(policy.deny.as_ref(), locations, is_named)
            .or_else(|| self.breach_of_allow(policy.allow.as_ref(), locations, is_named, own_list_length))?;
        Some(BrokenPolicy { zone: zone.clone(), policy: policy.name.clone(), breach })
    }

    fn breach_of_deny(
        &self,
        deny: Option<&Places>,
        locations: &[&LocationRef],
        is_named: &dyn Fn(&Places) -> bool,
    ) -> Option<Breach> {
        let deny = deny?;
        if is_named(deny) {
            return Some(Breach::Denied("it by name".to_owned()));
        }
        if says_where(deny) && locations.is_empty() {
            return Some(Breach::NoLocation);
        }
        let denied = locations.iter().find(|location| {
            let overlaps = |place: &LocationRef| place.covers(location) || location.covers(place);
            deny.locations.iter().any(|place| overlaps(&place.value)) || self.is_hosted_in(deny, location)
        })?;
        Some(Breach::Denied(denied.to_string()))
    }

    fn breach_of_allow(
        &self,
        allow: Option<&Places>,
        locations: &[&LocationRef],
        is_named: &dyn Fn(&Places) -> bool,
        own_list_length: &dyn Fn(&Places) -> usize,
    ) -> Option<Breach> {
        let allow = allow?;
        let says_where = says_where(allow);
        if is_named(allow) || (!says_where && own_list_length(allow) == 0) {
            return None;
        }
        if !says_where {
            return Some(Breach::NotAllowed("it by name".to_owned()));
        }
        if locations.is_empty() {
            return Some(Breach::NoLocation);
        }
        let is_allowed = |location: &LocationRef| {
            allow.locations.iter().any(|place| place.value.covers(location)) || self.is_hosted_in(allow, location)
        };
        let outside = locations.iter().find(|location| !is_allowed(location))?;
        Some(Breach::NotAllowed(outside.to_string()))
    }

    fn is_hosted_in(&self, places: &Places, location: &LocationRef) -> bool {
        let cloud = self.clouds.get(&location.vendor);
        places.vendors.iter().any(|vendor| vendor.value == location.vendor)
            || places.clouds.iter().any(|wanted| cloud.is_some_and(|cloud| *cloud == wanted.value))
    }
}

/// Whether the places are parts of the world, and not only containers and platforms by name.
fn says_where(places: &Places) -> bool {
    !(places.locations.is_empty() && places.clouds.is_empty() && places.vendors.is_empty())
}

fn names_container(places: &Places, name: &ContainerName) -> bool {
    places.containers.iter().any(|container| container.value == *name)
}

fn names_platform(places: &Places, name: &PlatformName) -> bool {
    places.platforms.iter().any(|platform| platform.value == *name)
}

/// All classifications of a dataset: its own, or those of its columns.
pub(crate) fn classifications(dataset: &Dataset) -> impl Iterator<Item = &ClassificationName> {
    let own = dataset.classification.iter().map(|classification| &classification.value);
    own.chain(dataset.columns.iter().filter_map(|column| column.classification.as_ref()))
}

/// Whether a policy is about a dataset.
pub(crate) fn is_about(policy: &Policy, dataset: &Dataset) -> bool {
    policy.classifications.is_empty()
        || classifications(dataset).any(|of| policy.classifications.iter().any(|wanted| wanted.value == *of))
}
