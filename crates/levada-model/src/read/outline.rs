//! Joins the sketches of all files into the outline of the model, without reading any content.

use super::describe_path;
use super::owners::Owners;
use super::paths::folder;
use crate::address::Address;
use crate::fingerprint::Fingerprint;
use crate::model::Owner;
use crate::outline::{Around, Outlines, Sketch, Sketched};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The outline of a model and the files that say something about each object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outlined {
    /// All objects.
    pub outlines: Arc<Outlines>,
    /// By object, the positions of its files in what was given; sorted.
    pub files: BTreeMap<Address, Vec<u32>>,
}

/// Joins the sketches of files, given with their paths and in the order of these. `read_code` is that of
/// [`super::assemble`].
///
/// `None` where something is wrong that only [`super::assemble`] can tell: two objects with one name, an
/// object that nobody owns, no ecosystem, or a second one. Linear in the objects.
pub fn outline<'a>(
    files: impl Iterator<Item = (&'a str, &'a Sketch)> + Clone,
    read_code: &dyn Fn(&str) -> Option<String>,
) -> Option<Outlined> {
    let owners = owners(files.clone())?;
    let mut pins: HashMap<&Address, (Vec<Fingerprint>, Vec<u32>)> = HashMap::new();
    for (position, (_, sketch)) in (0..).zip(files.clone()) {
        for (address, pin) in &sketch.pins {
            let entry = pins.entry(address).or_default();
            entry.0.push(*pin);
            entry.1.push(position);
        }
    }
    let (mut outlines, mut by_object) = (Outlines::default(), BTreeMap::new());
    let mut folded = HashSet::new();
    for (position, (path, sketch)) in (0..).zip(files) {
        for sketched in &sketch.objects {
            let address = match &sketched.address {
                Address::Team(_, team) => Address::Team(owners.zone(folder(path)), team.clone()),
                address => address.clone(),
            };
            if !folded.insert(address.to_string().to_lowercase()) {
                return None;
            }
            let (pins, mut positions) = pins.remove(&address).unwrap_or_default();
            let outline = join(sketched, path, &owners, pins, read_code)?;
            positions.push(position);
            positions.sort_unstable();
            positions.dedup();
            outlines.insert(address.clone(), outline);
            by_object.insert(address, positions);
        }
    }
    // Whoever pins what is not there hears of it.
    let is_whole = pins.is_empty() && outlines.contains_key(&Address::Ecosystem);
    is_whole.then(|| Outlined { outlines: Arc::new(outlines), files: by_object })
}

/// The folders of zones and teams; `None` where two want one, or a team lies in no zone's.
fn owners<'a>(files: impl Iterator<Item = (&'a str, &'a Sketch)> + Clone) -> Option<Owners> {
    let mut owners = Owners::default();
    for (path, object) in objects(files.clone()) {
        if let Address::Zone(zone) = &object.address
            && owners.add_zone(folder(path), zone).is_some()
        {
            return None;
        }
    }
    for (path, object) in objects(files) {
        if let Address::Team(_, team) = &object.address
            && (owners.add_team(folder(path), team).is_some() || owners.zone(folder(path)) == Owner::unknown_zone())
        {
            return None;
        }
    }
    Some(owners)
}

fn objects<'a>(files: impl Iterator<Item = (&'a str, &'a Sketch)>) -> impl Iterator<Item = (&'a str, &'a Sketched)> {
    files.flat_map(|(path, sketch)| sketch.objects.iter().map(move |object| (path, object)))
}

fn join(
    sketched: &Sketched,
    path: &str,
    owners: &Owners,
    pins: Vec<Fingerprint>,
    read_code: &dyn Fn(&str) -> Option<String>,
) -> Option<crate::outline::Outline> {
    let mut around = Around { owner: None, described: Vec::new(), code: Vec::new(), pins };
    let texts: Vec<Option<String>> = sketched.code.iter().map(|path| read_code(path)).collect();
    around.code = texts.iter().map(Option::as_deref).collect();
    match &sketched.address {
        Address::Container(_) => around.owner = owners.owner(folder(path)),
        Address::Datastore(_) | Address::Workspace(_) => around.owner = Some(owners.owner(folder(path))?),
        Address::Ecosystem if !matches!(path, "ecosystem.yaml" | "ecosystem.yml" | "ecosystem.json") => return None,
        Address::Ecosystem => {
            let text = read_code(&describe_path(path));
            around.described = text.iter().map(|text| Fingerprint::of_bytes(text.as_bytes())).collect();
        }
        _ => {}
    }
    Some(sketched.outline(around))
}
