//! The way from one blueprint to the next as it is written down: what changes, and nothing of what stays.

use super::{Blueprint, Choices, Generation, Node, Object, PlatformNature};
use levada_model::Address;
use levada_model::address::NodeAddress;
use levada_model::name::{DatastoreName, GroupName, PlatformName, WorkspaceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of each entry that is different; `None`: it goes.
type Changes<K, V> = BTreeMap<K, Option<V>>;

/// The step that an apply takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Advance {
    /// The blueprint's number.
    pub generation: Generation,
    /// The one it was made on; `None` for the first.
    pub parent: Option<Generation>,
    /// The model's git revision or content fingerprint, for people.
    pub revision: String,
    /// The nodes that are different.
    pub nodes: Changes<NodeAddress, Node>,
    /// The choices that are different.
    pub choices: ChoicesChange,
    /// The objects of the model that are different.
    pub objects: Changes<Address, Object>,
    /// What the platforms of the ecosystem are.
    pub platforms: BTreeMap<PlatformName, PlatformNature>,
}

/// The choices that are different.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the choices")]
pub struct ChoicesChange {
    pub groups: Changes<WorkspaceName, BTreeMap<GroupName, Vec<PlatformName>>>,
    pub primaries: Changes<DatastoreName, PlatformName>,
    pub platforms: Changes<PlatformName, PlatformNature>,
}

impl ChoicesChange {
    /// What leads from one set of choices to the other.
    pub fn between(before: &Choices, after: &Choices) -> Self {
        Self {
            groups: changes(&before.groups, &after.groups),
            primaries: changes(&before.primaries, &after.primaries),
            platforms: changes(&before.platforms, &after.platforms),
        }
    }
}

impl Advance {
    /// The step from one blueprint, or from nothing, to the next.
    pub fn between(parent: Option<&Blueprint>, next: &Blueprint) -> Self {
        let nothing = Blueprint {
            generation: next.generation,
            parent: None,
            revision: String::new(),
            choices: Choices::default(),
            nodes: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        let before = parent.unwrap_or(&nothing);
        Self {
            generation: next.generation,
            parent: next.parent,
            revision: next.revision.clone(),
            nodes: changes(&before.nodes, &next.nodes),
            choices: ChoicesChange::between(&before.choices, &next.choices),
            objects: changes(&before.objects, &next.objects),
            platforms: next.choices.platforms.clone(),
        }
    }
}

/// The entries in which two maps differ. Linear in both.
fn changes<K: Ord + Clone, V: PartialEq + Clone>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> Changes<K, V> {
    let gone = before.keys().filter(|key| !after.contains_key(key)).map(|key| (key.clone(), None));
    let is_other = |(key, value): &(&K, &V)| before.get(key) != Some(value);
    let others = after.iter().filter(is_other).map(|(key, value)| (key.clone(), Some(value.clone())));
    gone.chain(others).collect()
}
