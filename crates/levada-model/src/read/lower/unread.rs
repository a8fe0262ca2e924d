//! What has a name and could not be read otherwise.

use super::Lowering;
use crate::grammar::What;
use crate::model::ObjectKind;
use crate::read::fragment::Fragment;
use crate::syntax::Node;
use std::collections::HashSet;

impl Lowering<'_> {
    /// Notes the objects of a document that did not come into the fragment though they have a name.
    /// The document is the last one that was added.
    pub(super) fn unread(&self, what: What, root: &Node<'_>, fragment: &mut Fragment) {
        let own = |kind: &str| self.own_name(root, kind).and_then(Node::text).map(str::to_lowercase);
        let unread: Vec<(ObjectKind, String)> = match what {
            What::Datastore => {
                let read = fragment.datastores.last().map(|it| it.name.folded());
                let name = own("datastore").filter(|name| read.as_ref() != Some(name));
                name.map(|name| (ObjectKind::Datastore, name)).into_iter().collect()
            }
            What::Workspace => {
                let read = fragment.workspaces.last().map(|it| it.name.folded());
                let name = own("workspace").filter(|name| read.as_ref() != Some(name));
                name.map(|name| (ObjectKind::Workspace, name)).into_iter().collect()
            }
            What::Team => {
                let read = fragment.containers.iter().map(|it| it.name.folded());
                missing(root, "containers", "container", read).map(|name| (ObjectKind::Container, name)).collect()
            }
            What::Zone => {
                let zone = fragment.zones.last();
                let read = zone.into_iter().flat_map(|zone| &zone.regulators).map(|it| it.name.folded());
                missing(root, "regulators", "regulator", read).map(|name| (ObjectKind::Regulator, name)).collect()
            }
            What::Ecosystem => {
                let own = fragment.ecosystems.last();
                let platforms = own.into_iter().flat_map(|it| &it.platforms).map(|it| it.name.folded());
                let platforms = missing(root, "platforms", "platform", platforms);
                let all = own.into_iter().flat_map(|it| &it.infrastructures).map(|it| it.name.folded());
                let infrastructures = missing(root, "infrastructures", "infrastructure", all);
                let platforms = platforms.map(|name| (ObjectKind::Platform, name));
                platforms.chain(infrastructures.map(|name| (ObjectKind::Infrastructure, name))).collect()
            }
            _ => Vec::new(),
        };
        fragment.unread.objects.extend(unread);
    }
}

/// The folded names of a list's items that are not among those that were read.
fn missing<'n>(
    root: &'n Node<'n>,
    list: &str,
    kind: &'n str,
    read: impl Iterator<Item = String>,
) -> impl Iterator<Item = String> + 'n {
    let read: HashSet<String> = read.collect();
    let items = root.get(list).map_or(&[][..], Node::items).iter();
    let names = items.filter_map(move |item| Some(item.get(kind)?.text()?.to_lowercase()));
    names.filter(move |name| !read.contains(name))
}
