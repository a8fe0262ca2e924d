//! From the objects that changed to everything that they can reach.

use super::Reach;
use levada_model::name::WorkspaceName;
use levada_model::{Address, Outlines};
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl Reach {
    /// The reach of objects that changed; `former` says whom they named in force. `None`: everything, for
    /// the ecosystem or a zone is among them. Linear in the outlines' names and in what is reached.
    pub fn of(
        outlines: &Outlines,
        changed: BTreeSet<Address>,
        former: BTreeMap<Address, Vec<Address>>,
    ) -> Option<Self> {
        let map = Map::of(outlines, &former);
        let (changed, focus) = map.begin(changed)?;
        Some(Self::grow(&map, focus, changed, former.clone()))
    }

    /// The same, and whatever these workspaces reach, whose outcome is another.
    pub(super) fn wider(&self, outlines: &Outlines, workspaces: BTreeSet<Address>) -> Self {
        let map = Map::of(outlines, &self.former);
        let changed = self.changed.union(&workspaces).cloned().collect();
        Self::grow(&map, self.focus.clone(), changed, self.former.clone())
    }

    fn grow(
        map: &Map<'_>,
        focus: BTreeSet<Address>,
        changed: BTreeSet<Address>,
        former: BTreeMap<Address, Vec<Address>>,
    ) -> Self {
        let mut stores: BTreeSet<Address> = changed.iter().filter(|it| is_store(it)).cloned().collect();
        let mut workspaces: BTreeSet<Address> = changed.iter().filter(|it| is_workspace(it)).cloned().collect();
        stores.extend(workspaces.iter().flat_map(|workspace| map.stores_of(workspace)));
        // Whoever asks for a datastore that changed may be delivered by others, or otherwise.
        workspaces.extend(changed.iter().filter(|it| is_store(it)).flat_map(|store| map.consumers_of(store)));
        workspaces.extend(changed.iter().flat_map(|workspace| map.namesakes_of(workspace)));
        // Where a transformer runs depends on everything that it reads.
        stores.extend(workspaces.iter().filter_map(|workspace| map.output_of(workspace)));
        workspaces.extend(stores.iter().flat_map(|store| map.writers_of(store)));
        let mut objects: BTreeSet<Address> = stores.union(&workspaces).cloned().collect();
        objects.extend(focus.iter().cloned());
        objects.extend(workspaces.iter().flat_map(|workspace| map.stores_of(workspace)));
        // Whom a consumer serves decides what it demands: on and on, along the transformers.
        let mut open: Vec<Address> = stores.iter().flat_map(|store| map.consumers_of(store)).collect();
        open.extend(objects.iter().filter(|it| is_workspace(it)).cloned());
        let mut served = BTreeSet::new();
        while let Some(workspace) = open.pop() {
            if served.insert(workspace.clone())
                && let Some(output) = map.output_of(&workspace)
            {
                open.extend(map.consumers_of(&output));
                objects.insert(output);
            }
        }
        objects.extend(served.iter().cloned());
        let named: Vec<Address> = objects.iter().flat_map(|object| map.names_of(object)).collect();
        objects.extend(named.iter().filter(|it| matches!(it, Address::Container(_))).cloned());
        // A datastore names workspaces and groups that it approves, and another that comes instead: they are
        // looked for.
        let looked_for = focus.iter().filter(|it| is_store(it)).flat_map(|store| map.names_of(store));
        objects.extend(looked_for.filter(|it| is_store(it) || is_workspace(it)));
        objects.retain(|object| map.outlines.contains_key(object));
        Self { focus, changed, former, stores, workspaces, served, objects }
    }
}

/// The focus that [`Reach::of`] gives, without all that is reached.
pub(super) fn focus(
    outlines: &Outlines,
    changed: BTreeSet<Address>,
    former: &BTreeMap<Address, Vec<Address>>,
) -> Option<BTreeSet<Address>> {
    Map::of(outlines, former).begin(changed).map(|(_, focus)| focus)
}

fn is_store(address: &Address) -> bool {
    matches!(address, Address::Datastore(_))
}

fn is_workspace(address: &Address) -> bool {
    matches!(address, Address::Workspace(_))
}

/// Who names whom, in both directions; for objects that changed also as it was.
struct Map<'m> {
    outlines: &'m Outlines,
    former: &'m BTreeMap<Address, Vec<Address>>,
    users: HashMap<&'m Address, Vec<&'m Address>>,
}

impl<'m> Map<'m> {
    fn of(outlines: &'m Outlines, former: &'m BTreeMap<Address, Vec<Address>>) -> Self {
        let mut users: HashMap<&Address, Vec<&Address>> = HashMap::with_capacity(outlines.len());
        for (address, outline) in outlines {
            outline.names.iter().for_each(|named| users.entry(named).or_default().push(address));
        }
        Self { outlines, former, users }
    }

    /// The objects with those that stand on them, and their focus. `None`: that is everything.
    fn begin(&self, changed: BTreeSet<Address>) -> Option<(BTreeSet<Address>, BTreeSet<Address>)> {
        if changed.iter().any(|address| matches!(address, Address::Ecosystem | Address::Zone(_))) {
            return None;
        }
        let changed = self.with_dependants(changed);
        let focus = self.focus(&changed);
        Some((changed, focus))
    }

    /// The objects, and those that stand on a container or calendar among them.
    fn with_dependants(&self, changed: BTreeSet<Address>) -> BTreeSet<Address> {
        let mut all = changed.clone();
        let mut open: Vec<Address> = changed.into_iter().collect();
        while let Some(address) = open.pop() {
            if !matches!(address, Address::Container(_) | Address::Calendar(_)) {
                continue;
            }
            for user in self.users_of(&address) {
                let stands_on_it =
                    matches!(user, Address::Container(_) | Address::Datastore(_) | Address::Workspace(_));
                if stands_on_it && all.insert(user.clone()) {
                    open.push(user.clone());
                }
            }
        }
        all
    }

    /// The objects that findings may be about that were not there before: those that changed, whoever
    /// names them, and whatever workspaces among them name, with who writes that.
    fn focus(&self, changed: &BTreeSet<Address>) -> BTreeSet<Address> {
        let mut focus = changed.clone();
        focus.extend(changed.iter().flat_map(|address| self.users_of(address)).cloned());
        for workspace in changed.iter().filter(|it| is_workspace(it)) {
            let named: Vec<Address> = self.names_of(workspace).collect();
            focus.extend(named.iter().filter(|it| is_store(it)).flat_map(|store| self.writers_of(store)));
            focus.extend(named);
        }
        focus
    }

    fn users_of(&self, address: &Address) -> impl Iterator<Item = &'m Address> {
        self.users.get(address).into_iter().flatten().copied()
    }

    /// Whom an object names, or named.
    fn names_of(&self, address: &Address) -> impl Iterator<Item = Address> {
        let now = self.outlines.get(address).map_or(&[][..], |outline| &outline.names);
        let former = self.former.get(address).map_or(&[][..], Vec::as_slice);
        now.iter().chain(former).cloned()
    }

    /// The datastores that a workspace asks for, or asked for, and the one that it writes.
    fn stores_of(&self, workspace: &Address) -> impl Iterator<Item = Address> {
        self.names_of(workspace).filter(is_store)
    }

    /// The workspaces that ask for a datastore or write it.
    fn consumers_of(&self, store: &Address) -> impl Iterator<Item = Address> {
        self.users_of(store).filter(|it| is_workspace(it)).cloned()
    }

    /// The workspaces whose transformers write a datastore.
    fn writers_of(&self, store: &Address) -> impl Iterator<Item = Address> {
        let writes = |workspace: &Address| self.output_of(workspace).as_ref() == Some(store);
        self.consumers_of(store).filter(writes).collect::<Vec<_>>().into_iter()
    }

    fn output_of(&self, workspace: &Address) -> Option<Address> {
        self.outlines.get(workspace)?.output.clone().map(Address::Datastore)
    }

    /// The workspaces of the same container whose views could be called as this one's, where views are
    /// called `WORKSPACE__VIEW`.
    fn namesakes_of(&self, workspace: &Address) -> Vec<Address> {
        let Address::Workspace(name) = workspace else { return Vec::new() };
        let Some(outline) = self.outlines.get(workspace) else { return Vec::new() };
        let containers = outline.names.iter().filter(|it| matches!(it, Address::Container(_)));
        let neighbours = containers.flat_map(|container| self.consumers_of(container));
        let is_namesake = |other: &Address| match other {
            Address::Workspace(other) => begins(name, other) || begins(other, name),
            _ => false,
        };
        neighbours.filter(is_namesake).collect()
    }
}

/// Whether one name is the other and more behind `__`.
fn begins(name: &WorkspaceName, other: &WorkspaceName) -> bool {
    other.folded().strip_prefix(&name.folded()).is_some_and(|rest| rest.starts_with("__"))
}
