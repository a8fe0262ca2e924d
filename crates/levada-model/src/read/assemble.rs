//! Joins the fragments of all files into the model.
//!
//! Steps: folders of zones and teams; owners; the ecosystem; duplicate names; code; index. Linear
//! in the objects, but for sorting and for the depth of paths.

use super::check::shown;
use super::fragment::{Fragment, TeamPart};
use super::lower::usual_classifications;
use super::owners::{Owners, nearest_above};
use super::paths::folder;
use crate::address::Address;
use crate::codes;
use crate::locate::line_column;
use crate::model::*;
use crate::{FileId, Finding, Findings, Span};
use std::collections::HashMap;

/// Joins what the files say. `read_code` gives the text of a file by its path from the root; `None`
/// where it can't be read. The order of the fragments makes no difference.
pub fn assemble(
    mut fragments: Vec<(String, Fragment)>,
    read_code: &dyn Fn(&str) -> Option<String>,
) -> (Model, Findings) {
    fragments.sort_by(|(a, _), (b, _)| a.cmp(b));
    let paths = fragments.iter().map(|(path, fragment)| (fragment.file, path.clone())).collect();
    let mut assembly = Assembly { model: Model::default(), findings: Findings::default(), paths, read_code };
    assembly.unread(&fragments);
    let folders = assembly.folders(&fragments);
    assembly.ecosystem(&mut fragments);
    for (path, fragment) in fragments {
        assembly.add(folder(&path), fragment, &folders);
    }
    assembly.drop_duplicates();
    assembly.read_sql();
    assembly.read_descriptions();
    assembly.sort();
    assembly.findings.sort();
    (assembly.model, assembly.findings)
}

/// Which folder is whose, as far as it could be read.
struct Folders {
    owners: Owners,
    /// Folders with documents that could not be read: those of a zone or a team may be among them.
    unread: HashMap<String, ()>,
}

struct Assembly<'c> {
    model: Model,
    findings: Findings,
    paths: HashMap<FileId, String>,
    read_code: &'c dyn Fn(&str) -> Option<String>,
}

impl Assembly<'_> {
    fn unread(&mut self, fragments: &[(String, Fragment)]) {
        for (_, Fragment { unread, .. }) in fragments {
            self.model.unread.has_documents |= unread.has_documents;
            self.model.unread.objects.extend(unread.objects.iter().cloned());
        }
    }

    fn folders(&mut self, fragments: &[(String, Fragment)]) -> Folders {
        let unread = fragments.iter().filter(|(_, fragment)| fragment.unread.has_documents);
        let unread = unread.map(|(path, _)| (folder(path).to_owned(), ())).collect();
        let mut owners = Owners::default();
        for (path, fragment) in fragments {
            for zone in &fragment.zones {
                if let Some(first) = owners.add_zone(folder(path), &zone.name) {
                    self.folder_taken(&format!("zone `{first}`"), zone.span);
                }
            }
        }
        for (path, fragment) in fragments {
            for team in &fragment.teams {
                if let Some(first) = owners.add_team(folder(path), &team.name) {
                    self.folder_taken(&format!("team `{}`", first.team), team.span);
                }
            }
        }
        Folders { owners, unread }
    }

    fn folder_taken(&mut self, first: &str, span: Span) {
        let finding = Finding::error(codes::FOLDER_TAKEN, format!("the folder is already that of {first}")).at(span);
        self.findings.push(finding.hint("give it a folder of its own"));
    }

    /// Takes the ecosystem of the root's `ecosystem.yaml`, and reports all others.
    fn ecosystem(&mut self, fragments: &mut [(String, Fragment)]) {
        let is_root = |path: &str| matches!(path, "ecosystem.yaml" | "ecosystem.yml" | "ecosystem.json");
        let mut all: Vec<(bool, Ecosystem)> = Vec::new();
        for (path, fragment) in fragments.iter_mut() {
            all.extend(fragment.ecosystems.drain(..).map(|ecosystem| (is_root(path), ecosystem)));
        }
        let chosen = all.iter().position(|(is_root, _)| *is_root).unwrap_or(0);
        for (index, (is_root, ecosystem)) in all.into_iter().enumerate() {
            if index == chosen {
                self.model.ecosystem = ecosystem.clone();
            }
            if index != chosen || !is_root {
                let message = "`ecosystem:` stands once, in the root's ecosystem.yaml";
                let finding = Finding::error(codes::ECOSYSTEM_PLACE, message).at(ecosystem.span);
                self.findings.push(finding.about(Address::Ecosystem));
            }
        }
        if self.model.ecosystem.name.is_empty() {
            self.model.ecosystem.classifications.extend(usual_classifications(Span::default()));
            let mut unread = fragments.iter().filter(|(_, fragment)| fragment.unread.has_documents);
            self.model.unread.is_ecosystem_among_them = unread.any(|(path, _)| is_root(path));
            if self.model.unread.is_ecosystem_among_them {
                return;
            }
            let finding = Finding::error(codes::ECOSYSTEM_PLACE, "no document begins with `ecosystem:`");
            self.findings.push(finding.about(Address::Ecosystem).hint("ecosystem.yaml begins with `ecosystem: NAME`"));
        }
    }

    fn add(&mut self, folder: &str, fragment: Fragment, folders: &Folders) {
        let owner = folders.owners.owner(folder).cloned();
        let may_be_owned = owner.is_some() || nearest_above(&folders.unread, folder).is_some();
        self.report_homeless(&fragment, may_be_owned);
        let owner = owner.unwrap_or_else(Owner::unknown);
        let model = &mut self.model;
        model.zones.extend(fragment.zones);
        model.calendars.extend(fragment.calendars);
        model.assignments.extend(fragment.assignments);
        model.primaries.extend(fragment.primaries);
        model.containers.extend(fragment.containers.into_iter().map(|it| Container { owner: owner.clone(), ..it }));
        model.datastores.extend(fragment.datastores.into_iter().map(|it| Datastore { owner: owner.clone(), ..it }));
        model.workspaces.extend(fragment.workspaces.into_iter().map(|it| Workspace { owner: owner.clone(), ..it }));
        let zone = folders.owners.zone(folder);
        for TeamPart { name, span, documentation } in fragment.teams {
            if zone == Owner::unknown_zone() && nearest_above(&folders.unread, folder).is_none() {
                let message = format!("team `{name}` lies in no zone's folder");
                let finding = Finding::error(codes::NO_ZONE, message).at(span);
                self.findings.push(finding.hint("put a zone.yaml that begins with `zone:` into a folder around it"));
            }
            self.model.teams.push(Team { zone: zone.clone(), name, span, documentation });
        }
    }

    fn report_homeless(&mut self, fragment: &Fragment, may_be_owned: bool) {
        if may_be_owned {
            return;
        }
        let datastores = fragment.datastores.iter().filter(|it| matches!(it.origin, Origin::Container { .. }));
        let datastores = datastores.map(|it| (Address::Datastore(it.name.clone()), it.span));
        let workspaces = fragment.workspaces.iter().map(|it| (Address::Workspace(it.name.clone()), it.span));
        for (address, span) in datastores.chain(workspaces) {
            let finding = Finding::error(codes::NO_TEAM, "it lies in no team's folder").at(span).about(address);
            self.findings.push(finding.hint("put a team.yaml that begins with `team:` into a folder around it"));
        }
    }

    /// Of two objects with one name the first one stays, in the order of paths and places.
    fn drop_duplicates(&mut self) {
        let mut model = std::mem::take(&mut self.model);
        self.unique("zone", &mut model.zones, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        self.unique(
            "team",
            &mut model.teams,
            |it| (it.zone.folded(), it.name.folded()),
            |it| (it.name.as_str(), it.span),
        );
        self.unique("container", &mut model.containers, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        self.unique("datastore", &mut model.datastores, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        self.unique("workspace", &mut model.workspaces, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        self.unique("calendar", &mut model.calendars, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        let ecosystem = &mut model.ecosystem;
        self.unique("vendor", &mut ecosystem.vendors, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        self.unique(
            "infrastructure",
            &mut ecosystem.infrastructures,
            |it| it.name.folded(),
            |it| (it.name.as_str(), it.span),
        );
        self.unique("platform", &mut ecosystem.platforms, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        for zone in &mut model.zones {
            self.unique("regulator", &mut zone.regulators, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
            self.unique("hold", &mut zone.holds, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
            self.unique("policy", &mut zone.policies, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        }
        for datastore in &mut model.datastores {
            self.unique("dataset", &mut datastore.datasets, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        }
        for workspace in &mut model.workspaces {
            self.unique("group", &mut workspace.groups, |it| it.name.folded(), |it| (it.name.as_str(), it.span));
        }
        self.unique(
            "assignment of",
            &mut model.assignments,
            |it| (it.workspace.folded(), it.group.folded(), it.platform.value.folded()),
            |it| (it.group.as_str(), it.span),
        );
        self.unique(
            "primary of",
            &mut model.primaries,
            |it| it.datastore.folded(),
            |it| (it.datastore.as_str(), it.span),
        );
        self.model = model;
    }

    fn unique<T, K: Eq + std::hash::Hash>(
        &mut self,
        what: &str,
        objects: &mut Vec<T>,
        key: impl Fn(&T) -> K,
        name_and_place: impl Fn(&T) -> (&str, Span),
    ) {
        if objects.len() < 2 {
            return;
        }
        let mut first: HashMap<K, (String, Span)> = HashMap::with_capacity(objects.len());
        let mut later: Vec<(String, Span, String, Span)> = Vec::new();
        objects.retain(|object| {
            let (name, span) = name_and_place(object);
            match first.entry(key(object)) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert((name.to_owned(), span));
                    true
                }
                std::collections::hash_map::Entry::Occupied(entry) => {
                    let (first_name, first_span) = entry.get();
                    later.push((name.to_owned(), span, first_name.clone(), *first_span));
                    false
                }
            }
        });
        for (name, span, first_name, first_span) in later {
            let as_what = if name == first_name { String::new() } else { format!(" as `{}`", shown(&first_name)) };
            let message =
                format!("{what} `{}` is declared{as_what} in {} already", shown(&name), self.place(first_span));
            let finding = Finding::error(codes::DUPLICATE_NAME, message).at(span);
            self.findings.push(finding.hint("remove or rename one of them; letter case makes no difference"));
        }
    }

    /// `path:line`, or the path alone where the file can't be read again.
    fn place(&self, span: Span) -> String {
        let Some(path) = self.paths.get(&span.file) else { return "another file".to_owned() };
        match (self.read_code)(path) {
            Some(text) => format!("{path}:{}", line_column(&text, span.offset).0),
            None => path.clone(),
        }
    }

    fn read_sql(&mut self) {
        for transformer in self.model.workspaces.iter_mut().filter_map(|workspace| workspace.transformer.as_mut()) {
            if let Code::Sql(files) = &mut transformer.code {
                for file in files {
                    file.text = (self.read_code)(&file.path);
                }
            }
        }
    }

    /// Finds what the programs of platforms said of themselves beside the file that names them.
    fn read_descriptions(&mut self) {
        let mut files: HashMap<String, Option<DescribeFile>> = HashMap::new();
        let mut platforms = std::mem::take(&mut self.model.ecosystem.platforms);
        for platform in platforms.iter_mut().filter(|platform| platform.run.is_some()) {
            let Some(path) = self.paths.get(&platform.span.file).map(|path| describe_path(path)) else { continue };
            if !files.contains_key(&path) {
                let read = self.read_description(&path, platform.span);
                files.insert(path.clone(), read);
            }
            let file = files.get(&path).and_then(Option::as_ref);
            platform.described = file.and_then(|file| file.platforms.get(platform.name.as_str()).cloned());
        }
        self.model.ecosystem.platforms = platforms;
    }

    /// A file that is not there is none; one that can't be read is a finding.
    fn read_description(&mut self, path: &str, span: Span) -> Option<DescribeFile> {
        let text = (self.read_code)(path)?;
        let problem = match serde_json::from_str::<DescribeFile>(&text) {
            Ok(file) if file.version == DESCRIBE_VERSION => return Some(file),
            Ok(file) => format!("{path} has version {}, this build knows {DESCRIBE_VERSION}", file.version),
            Err(error) => format!("{path} can't be read: {error}"),
        };
        let finding = Finding::error(codes::DESCRIBE_UNREADABLE, problem).at(span);
        self.findings
            .push(finding.hint("remove it, then ask the platforms again: `levada platform describe PLATFORM`"));
        None
    }

    fn sort(&mut self) {
        let model = &mut self.model;
        model.index();
        model.ecosystem.vendors.sort_by_cached_key(|vendor| vendor.name.folded());
        model.ecosystem.infrastructures.sort_by_cached_key(|infrastructure| infrastructure.name.folded());
        model
            .assignments
            .sort_by_cached_key(|it| (it.workspace.folded(), it.group.folded(), it.platform.value.folded()));
        model.primaries.sort_by_cached_key(|it| it.datastore.folded());
    }
}

/// Where the programs of the platforms in a file are described.
pub fn describe_path(path: &str) -> String {
    match folder(path) {
        "" => DESCRIBE_FILE.to_owned(),
        folder => format!("{folder}/{DESCRIBE_FILE}"),
    }
}
