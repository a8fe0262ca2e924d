//! The outline of a model: which objects it has, what each says as a fingerprint, and whom each names.
//!
//! Two models are compared by their outlines, and only what a difference can reach is looked at in
//! full. An outline knows no places: moving a line changes nothing in it. What operations say about a
//! workspace or a datastore (`assign:`, `primary:`), who owns it, and the text of its SQL belong to what
//! the object says.

use crate::address::Address;
use crate::fingerprint::{Fingerprint, fingerprint};
use crate::model::*;
use crate::name::{DatastoreName, WorkspaceName};
use crate::span::unplaced;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All objects of a model, by address: the ecosystem, zones, teams, containers, datastores, workspaces,
/// calendars.
pub type Outlines = BTreeMap<Address, Outline>;

/// One object without its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// Differs where the object says something else.
    pub content: Fingerprint,
    /// The objects that it names, whether they are there or not; sorted, none twice.
    pub names: Vec<Address>,
    /// The datastore that its transformer writes.
    pub output: Option<DatastoreName>,
}

/// What one file says, without its content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sketch {
    pub(crate) objects: Vec<Sketched>,
    /// What operations say about an object, in their order.
    pub(crate) pins: Vec<(Address, Fingerprint)>,
}

/// An object as its file has it: without its owner, whom other files know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Sketched {
    /// A team's zone is not known yet.
    pub address: Address,
    pub content: Fingerprint,
    pub names: Vec<Address>,
    pub output: Option<DatastoreName>,
    /// The files of its code, from the root.
    pub code: Vec<String>,
}

impl Sketch {
    /// Sketches the objects of an assembled model, which need not come from files.
    fn of_model(model: &Model) -> Self {
        let mut sketch = Self::default();
        sketch.ecosystem(&model.ecosystem);
        model.zones.iter().for_each(|zone| sketch.zone(zone));
        model.calendars.iter().for_each(|calendar| sketch.calendar(calendar));
        for team in &model.teams {
            sketch.team(team);
        }
        for container in &model.containers {
            sketch.container(&Container { owner: Owner::unknown(), ..container.clone() });
        }
        for store in &model.datastores {
            sketch.datastore(&Datastore { owner: Owner::unknown(), ..store.clone() });
        }
        for workspace in &model.workspaces {
            let mut workspace = Workspace { owner: Owner::unknown(), ..workspace.clone() };
            if let Some(Transformer { code: Code::Sql(files), .. }) = &mut workspace.transformer {
                files.iter_mut().for_each(|file| file.text = None);
            }
            sketch.workspace(&workspace);
        }
        model.assignments.iter().for_each(|entry| sketch.assignment(entry));
        model.primaries.iter().for_each(|entry| sketch.primary(entry));
        sketch
    }

    fn add<T: Serialize>(&mut self, address: Address, object: &T, names: Vec<Address>) -> &mut Sketched {
        let mut names = names;
        names.sort();
        names.dedup();
        let content = unplaced(|| fingerprint(object));
        self.objects.push(Sketched { address, content, names, output: None, code: Vec::new() });
        self.objects.last_mut().expect("it was just added")
    }

    pub(crate) fn ecosystem(&mut self, ecosystem: &Ecosystem) {
        let follows = ecosystem.platforms.iter().filter_map(|platform| platform.follow.as_ref()?.calendar.as_ref());
        let names = follows.map(|calendar| Address::Calendar(calendar.value.clone())).collect();
        self.add(Address::Ecosystem, ecosystem, names);
    }

    pub(crate) fn zone(&mut self, zone: &Zone) {
        let held = zone.holds.iter().flat_map(|hold| &hold.datasets);
        let held = held.map(|dataset| Address::Datastore(dataset.value.datastore.clone()));
        let places = zone.policies.iter().flat_map(|policy| policy.allow.iter().chain(&policy.deny));
        let containers = places.flat_map(|places| &places.containers);
        let names = held.chain(containers.map(|container| Address::Container(container.value.clone()))).collect();
        self.add(Address::Zone(zone.name.clone()), zone, names);
    }

    pub(crate) fn calendar(&mut self, calendar: &Calendar) {
        self.add(Address::Calendar(calendar.name.clone()), calendar, Vec::new());
    }

    pub(crate) fn team(&mut self, team: &Team) {
        let content = (&team.name, &team.documentation);
        self.add(Address::Team(Owner::unknown_zone(), team.name.clone()), &content, Vec::new());
    }

    pub(crate) fn container(&mut self, container: &Container) {
        let names = container.calendar.iter().map(|calendar| Address::Calendar(calendar.value.clone())).collect();
        self.add(Address::Container(container.name.clone()), container, names);
    }

    pub(crate) fn datastore(&mut self, store: &Datastore) {
        let mut names = Vec::new();
        match &store.origin {
            Origin::Container { container, ingest } => {
                names.push(Address::Container(container.value.clone()));
                names.extend(ingest.calendar.iter().map(|calendar| Address::Calendar(calendar.value.clone())));
            }
            Origin::Transformer { workspace, .. } => names.push(Address::Workspace(workspace.clone())),
        }
        let approved = store.approved.iter().flatten();
        let approved = approved.filter_map(|approved| approved.value.split('/').next()?.parse::<WorkspaceName>().ok());
        names.extend(approved.map(Address::Workspace));
        let ends = store.deprecated.iter().chain(store.datasets.iter().filter_map(|it| it.deprecated.as_ref()));
        let instead = ends.filter_map(|end| end.instead.as_ref()?.split('.').next()?.parse::<DatastoreName>().ok());
        names.extend(instead.map(Address::Datastore));
        self.add(Address::Datastore(store.name.clone()), store, names);
    }

    pub(crate) fn workspace(&mut self, workspace: &Workspace) {
        let sinks = workspace.groups.iter().flat_map(|group| &group.sinks);
        let mut names: Vec<Address> =
            sinks.map(|sink| Address::Datastore(sink.dataset.value.datastore.clone())).collect();
        names.push(Address::Container(workspace.container.value.clone()));
        let transformer = workspace.transformer.as_ref();
        let output = transformer.map(|transformer| transformer.output.value.clone());
        names.extend(output.iter().cloned().map(Address::Datastore));
        let files = transformer.map_or(&[][..], |transformer| match &transformer.code {
            Code::Sql(files) => files,
            Code::Program(_) => &[],
        });
        let code = files.iter().map(|file| file.path.clone()).collect();
        let sketched = self.add(Address::Workspace(workspace.name.clone()), workspace, names);
        (sketched.output, sketched.code) = (output, code);
    }

    pub(crate) fn assignment(&mut self, entry: &AssignmentEntry) {
        let said = (&entry.group, &entry.platform.value, entry.state);
        self.pins.push((Address::Workspace(entry.workspace.clone()), fingerprint(&said)));
    }

    pub(crate) fn primary(&mut self, entry: &PrimaryEntry) {
        self.pins.push((Address::Datastore(entry.datastore.clone()), fingerprint(&entry.platform.value)));
    }
}

/// What the other files say about an object.
pub(crate) struct Around<'a> {
    pub owner: Option<&'a Owner>,
    /// Of the ecosystem: what the programs of its platforms said of themselves.
    pub described: Vec<Fingerprint>,
    /// The texts of its code; `None`: the file can't be read.
    pub code: Vec<Option<&'a str>>,
    /// In any order.
    pub pins: Vec<Fingerprint>,
}

impl Sketched {
    /// The outline of the object among all that others say about it.
    pub(crate) fn outline(&self, around: Around<'_>) -> Outline {
        let Around { owner, described, code, mut pins } = around;
        pins.sort_unstable();
        let code: Vec<Option<Fingerprint>> =
            code.into_iter().map(|text| text.map(|text| Fingerprint::of_bytes(text.as_bytes()))).collect();
        let around = fingerprint(&(owner, described, code, pins));
        Outline {
            content: Fingerprint::of_all([self.content, around]),
            names: self.names.clone(),
            output: self.output.clone(),
        }
    }
}

/// What the programs of an ecosystem's platforms said, in the order of the platforms' names.
pub(crate) fn described(ecosystem: &Ecosystem) -> Vec<Fingerprint> {
    let mut described: Vec<_> = ecosystem
        .platforms
        .iter()
        .filter_map(|platform| Some((platform.name.folded(), fingerprint(platform.described.as_ref()?))))
        .collect();
    described.sort();
    described.into_iter().map(|(_, described)| described).collect()
}

impl Model {
    /// Outlines a model that was not assembled from files. As expensive as a copy of it.
    #[must_use]
    pub fn outlined(mut self) -> Self {
        let Sketch { objects, pins: entries } = Sketch::of_model(&self);
        let mut pins: BTreeMap<Address, Vec<Fingerprint>> = BTreeMap::new();
        entries.into_iter().for_each(|(address, pin)| pins.entry(address).or_default().push(pin));
        let mut teams = self.teams.iter();
        let mut outlines = Outlines::new();
        for sketched in objects {
            let (mut address, mut owner, mut texts, mut said) =
                (sketched.address.clone(), None, Vec::new(), Vec::new());
            match &mut address {
                Address::Ecosystem => said = described(&self.ecosystem),
                Address::Team(zone, _) => zone.clone_from(&teams.next().expect("a sketch has every team").zone),
                Address::Container(name) => owner = self.container(name).map(|it| &it.owner),
                Address::Datastore(name) => owner = self.datastore(name).map(|it| &it.owner),
                Address::Workspace(name) => {
                    let workspace = self.workspace(name);
                    owner = workspace.map(|it| &it.owner);
                    if let Some(Code::Sql(files)) = workspace.and_then(|it| Some(&it.transformer.as_ref()?.code)) {
                        texts = files.iter().map(|file| file.text.as_deref()).collect();
                    }
                }
                _ => {}
            }
            let pins = pins.remove(&address).unwrap_or_default();
            let outline = sketched.outline(Around { owner, described: said, code: texts, pins });
            outlines.entry(address).or_insert(outline);
        }
        self.outlines = outlines.into();
        self
    }

    /// Whether an object is declared, be it in this value or, where this is a part, elsewhere; or may have
    /// been, where something could not be read.
    pub fn may_have(&self, kind: ObjectKind, name: &str) -> bool {
        let address = match kind {
            ObjectKind::Container => name.parse().ok().map(Address::Container),
            ObjectKind::Datastore => name.parse().ok().map(Address::Datastore),
            ObjectKind::Workspace => name.parse().ok().map(Address::Workspace),
            ObjectKind::Platform | ObjectKind::Infrastructure | ObjectKind::Regulator => None,
        };
        address.is_some_and(|address| self.outlines.contains_key(&address)) || self.unread.may_have(kind, name)
    }

    /// The part of a model that these objects are, with everything that all objects stand on: the
    /// ecosystem, zones, teams and calendars. It still knows the outline of the whole.
    #[must_use]
    pub fn part(mut self, objects: &std::collections::BTreeSet<Address>) -> Self {
        self.containers.retain(|it| objects.contains(&Address::Container(it.name.clone())));
        self.datastores.retain(|it| objects.contains(&Address::Datastore(it.name.clone())));
        self.workspaces.retain(|it| objects.contains(&Address::Workspace(it.name.clone())));
        self.assignments.retain(|it| objects.contains(&Address::Workspace(it.workspace.clone())));
        self.primaries.retain(|it| objects.contains(&Address::Datastore(it.datastore.clone())));
        self.index();
        self
    }
}

impl Address {
    /// The object that an outline has for an address: that of the whole for its parts.
    pub fn object(&self) -> Address {
        use crate::address::NodeAddress as N;
        match self {
            Self::Dataset(store, _) | Self::Column(store, _, _) => Self::Datastore(store.clone()),
            Self::Group(workspace, _) | Self::Transformer(workspace) => Self::Workspace(workspace.clone()),
            Self::Platform(_) | Self::Infrastructure(_) => Self::Ecosystem,
            Self::Node(N::Ingest(_, stream) | N::Link(_, stream)) => Self::Datastore(stream.datastore.clone()),
            Self::Node(N::Export(_, _, of)) => Self::Datastore(of.datastore.clone()),
            Self::Node(N::Trigger(_, workspace) | N::Transform(_, workspace)) => Self::Workspace(workspace.clone()),
            object => object.clone(),
        }
    }
}
