//! References: every name that is used is the name of something.

use super::{Context, codes};
use levada_model::address::DatasetRef;
use levada_model::model::{LocationRef, ObjectKind, Origin, Places, Workspace, Zone};
use levada_model::name::{CalendarName, ClassificationName, ContainerName, PlatformName};
use levada_model::{Address, Code, Finding, Findings, Span, Spanned};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let mut pass = Pass { context, findings, places: PlaceIndex::of(context) };
    pass.platforms();
    pass.zones();
    pass.containers();
    pass.datastores();
    pass.classifications();
    pass.workspaces();
    pass.assignments();
}

/// Clouds that a policy may name though no vendor of the ecosystem belongs to them.
const KNOWN_CLOUDS: [&str; 8] = ["aws", "azure", "gcp", "alibaba", "oracle", "ibm", "ovh", "private"];

/// The known vendors, locations and clouds.
struct PlaceIndex<'m> {
    locations: HashMap<&'m str, HashSet<&'m str>>,
    clouds: BTreeSet<&'m str>,
}

impl<'m> PlaceIndex<'m> {
    fn of(context: &Context<'m>) -> Self {
        let vendors = &context.model.ecosystem.vendors;
        let paths = |paths: &'m [String]| paths.iter().map(String::as_str).collect();
        Self {
            locations: vendors.iter().map(|vendor| (vendor.name.as_str(), paths(&vendor.locations))).collect(),
            clouds: vendors.iter().map(|vendor| vendor.cloud.as_str()).collect(),
        }
    }
}

struct Pass<'p, 'm> {
    context: &'p Context<'m>,
    findings: &'p mut Findings,
    places: PlaceIndex<'m>,
}

impl<'m> Pass<'_, 'm> {
    /// Whether a document that nobody could read may answer a finding of this code.
    fn may_be_unread(&self, code: Code) -> bool {
        let unread = &self.context.model.unread;
        match code {
            codes::UNKNOWN_VENDOR
            | codes::UNKNOWN_LOCATION
            | codes::UNKNOWN_PLATFORM
            | codes::UNKNOWN_INFRASTRUCTURE => unread.is_ecosystem_among_them,
            // Its datastore was read as a whole.
            codes::UNKNOWN_DATASET => false,
            _ => unread.has_documents,
        }
    }

    fn unknown<'k>(
        &mut self,
        code: Code,
        message: String,
        span: Span,
        about: Address,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        if self.may_be_unread(code) {
            return;
        }
        let mut finding = Finding::error(code, message).at(span).about(about);
        finding.hint = self.context.did_you_mean(word, known);
        self.findings.push(finding);
    }

    fn platforms(&mut self) {
        let model = self.context.model;
        for platform in &model.ecosystem.platforms {
            let about = Address::Platform(platform.name.clone());
            for location in &platform.locations {
                self.location(&location.value, location.span, &about);
            }
            if let Some(calendar) = platform.follow.as_ref().and_then(|follow| follow.calendar.as_ref()) {
                self.calendar(calendar, &about);
            }
            let Some(named) = &platform.infrastructure else { continue };
            let all = &model.ecosystem.infrastructures;
            match all.iter().find(|infrastructure| infrastructure.name == named.value) {
                None if model.may_have(ObjectKind::Infrastructure, named.value.as_str()) => {}
                None => {
                    let message = format!("no infrastructure is called {:?}", named.value.as_str());
                    let known = all.iter().map(|infrastructure| infrastructure.name.as_str());
                    self.unknown(
                        codes::UNKNOWN_INFRASTRUCTURE,
                        message,
                        named.span,
                        about,
                        named.value.as_str(),
                        known,
                    );
                }
                Some(found) if found.kind != platform.kind => {
                    let (own, its) = (&platform.kind.value, &found.kind.value);
                    let message =
                        format!("the platform is of kind {own}, its infrastructure {} of kind {its}", found.name);
                    let finding = Finding::error(codes::INFRASTRUCTURE_KIND, message);
                    self.findings.push(finding.at(named.span).about(about));
                }
                Some(_) => {}
            }
        }
    }

    fn zones(&mut self) {
        let model = self.context.model;
        for zone in &model.zones {
            let about = Address::Zone(zone.name.clone());
            for policy in &zone.policies {
                for places in policy.allow.iter().chain(&policy.deny) {
                    self.policy_places(places, &about);
                }
                for classification in &policy.classifications {
                    self.policy_classification(zone, classification, &about);
                }
            }
            for dataset in zone.holds.iter().flat_map(|hold| &hold.datasets) {
                self.dataset(dataset, &about);
            }
        }
    }

    /// A policy may speak of whatever any zone calls its data: it binds what comes from elsewhere.
    fn policy_classification(&mut self, zone: &Zone, named: &Spanned<ClassificationName>, about: &Address) {
        let model = self.context.model;
        let own = zone.classifications.iter().chain(&model.ecosystem.classifications);
        if own.chain(model.zones.iter().flat_map(|zone| &zone.classifications)).any(|known| known == named) {
            return;
        }
        let known = zone.classifications.iter().chain(&model.ecosystem.classifications);
        let known: Vec<&str> = known.map(|known| known.value.as_str()).collect();
        let message = format!("no classification is called {:?}", named.value.as_str());
        self.unknown(codes::UNKNOWN_CLASSIFICATION, message, named.span, about.clone(), named.value.as_str(), known);
    }

    fn policy_places(&mut self, places: &Places, about: &Address) {
        for location in &places.locations {
            self.location(&location.value, location.span, about);
        }
        for vendor in &places.vendors {
            self.vendor(vendor.value.as_str(), vendor.span, about);
        }
        for cloud in &places.clouds {
            self.cloud(cloud, about);
        }
        for platform in &places.platforms {
            self.platform(platform, about);
        }
        for container in &places.containers {
            self.container(container, about);
        }
    }

    fn containers(&mut self) {
        for container in &self.context.model.containers {
            let about = Address::Container(container.name.clone());
            self.location(&container.location.value, container.location.span, &about);
            if let Some(calendar) = &container.calendar {
                self.calendar(calendar, &about);
            }
        }
    }

    fn datastores(&mut self) {
        for store in &self.context.model.datastores {
            let about = Address::Datastore(store.name.clone());
            if let Origin::Container { container, ingest } = &store.origin {
                self.container(container, &about);
                if let Some(calendar) = &ingest.calendar {
                    self.calendar(calendar, &about);
                }
            }
            for approved in store.approved.iter().flatten() {
                self.approved(approved, &about);
            }
        }
    }

    /// `WORKSPACE` or `WORKSPACE/GROUP`.
    fn approved(&mut self, approved: &Spanned<String>, about: &Address) {
        let (name, group) = match approved.value.split_once('/') {
            Some((name, group)) => (name, Some(group)),
            None => (approved.value.as_str(), None),
        };
        self.consumer(name, group, approved.span, about);
    }

    fn consumer(&mut self, name: &str, group: Option<&str>, span: Span, about: &Address) {
        let model = self.context.model;
        let found = name.parse().ok().and_then(|name| model.workspace(&name));
        match (found, group) {
            (None, _) if model.may_have(ObjectKind::Workspace, name) => {}
            (None, _) => {
                let message = format!("no workspace is called {name:?}");
                let known = model.workspaces.iter().map(|workspace| workspace.name.as_str());
                self.unknown(codes::UNKNOWN_WORKSPACE, message, span, about.clone(), name, known);
            }
            (Some(found), Some(group)) if !found.groups.iter().any(|it| it.name.as_str() == group) => {
                let message = format!("workspace {} has no group {group:?}", found.name);
                let known = found.groups.iter().map(|group| group.name.as_str());
                self.unknown(codes::UNKNOWN_WORKSPACE, message, span, about.clone(), group, known);
            }
            _ => {}
        }
    }

    /// Classifications of data: the ecosystem's and those of the zone that owns it.
    fn classifications(&mut self) {
        let model = self.context.model;
        let common: Vec<&str> = model.ecosystem.classifications.iter().map(|it| it.value.as_str()).collect();
        let known_in: Vec<Vec<&str>> = model
            .zones
            .iter()
            .map(|zone| common.iter().copied().chain(zone.classifications.iter().map(|it| it.value.as_str())).collect())
            .collect();
        for (store, zone) in model.datastores.iter().zip(&self.context.bindings.zone_of_store) {
            let known = zone.map_or(&common, |zone| &known_in[zone as usize]);
            for dataset in &store.datasets {
                if let Some(named) = &dataset.classification
                    && !known.contains(&named.value.as_str())
                {
                    let about = Address::Dataset(store.name.clone(), dataset.name.clone());
                    self.classification(named.value.as_str(), named.span, about, known);
                }
                for column in &dataset.columns {
                    if let Some(named) = &column.classification
                        && !known.contains(&named.as_str())
                    {
                        let about = Address::Column(store.name.clone(), dataset.name.clone(), column.name.clone());
                        self.classification(named.as_str(), dataset.span, about, known);
                    }
                }
            }
        }
    }

    fn classification(&mut self, named: &str, span: Span, about: Address, known: &[&str]) {
        let message = format!("no classification is called {named:?}");
        self.unknown(codes::UNKNOWN_CLASSIFICATION, message, span, about, named, known.iter().copied());
    }

    fn workspaces(&mut self) {
        for workspace in &self.context.model.workspaces {
            let about = Address::Workspace(workspace.name.clone());
            self.container(&workspace.container, &about);
            for group in &workspace.groups {
                let about = Address::Group(workspace.name.clone(), group.name.clone());
                for sink in &group.sinks {
                    self.dataset(&sink.dataset, &about);
                }
                if let Some(regulator) = group.requires.as_ref().and_then(|requires| requires.regulator.as_ref()) {
                    self.regulator(workspace, regulator, about);
                }
            }
        }
    }

    fn regulator(&mut self, workspace: &Workspace, named: &Spanned<levada_model::name::RuleName>, about: Address) {
        let zone = self.context.model.zone(&workspace.owner.zone);
        let regulators = || zone.into_iter().flat_map(|zone| &zone.regulators).map(|regulator| regulator.name.as_str());
        let may_be_unread = self.context.model.may_have(ObjectKind::Regulator, named.value.as_str());
        if !may_be_unread && !regulators().any(|known| known == named.value.as_str()) {
            let (zone, name) = (&workspace.owner.zone, named.value.as_str());
            let message = format!("zone {:?} has no regulator {name:?}", zone.as_str());
            self.unknown(codes::UNKNOWN_REGULATOR, message, named.span, about, name, regulators());
        }
    }

    fn assignments(&mut self) {
        let model = self.context.model;
        for entry in &model.assignments {
            let about = Address::Group(entry.workspace.clone(), entry.group.clone());
            self.consumer(entry.workspace.as_str(), Some(entry.group.as_str()), entry.span, &about);
            self.platform(&entry.platform, &about);
        }
        for entry in &model.primaries {
            let about = Address::Datastore(entry.datastore.clone());
            if model.datastore(&entry.datastore).is_none() {
                self.unknown_datastore(entry.datastore.as_str(), entry.span, &about);
            }
            self.platform(&entry.platform, &about);
        }
    }

    fn unknown_datastore(&mut self, name: &str, span: Span, about: &Address) {
        if self.context.model.may_have(ObjectKind::Datastore, name) {
            return;
        }
        let message = format!("no datastore is called {name:?}");
        let known = self.context.model.datastores.iter().map(|store| store.name.as_str());
        self.unknown(codes::UNKNOWN_DATASTORE, message, span, about.clone(), name, known);
    }

    fn dataset(&mut self, named: &Spanned<DatasetRef>, about: &Address) {
        let name = &named.value;
        match self.context.model.datastore(&name.datastore) {
            None => self.unknown_datastore(name.datastore.as_str(), named.span, about),
            Some(store) if store.dataset(&name.dataset).is_none() => {
                let message = format!("datastore {} has no dataset {:?}", store.name, name.dataset.as_str());
                let known = store.datasets.iter().map(|dataset| dataset.name.as_str());
                let word = name.dataset.as_str();
                self.unknown(codes::UNKNOWN_DATASET, message, named.span, about.clone(), word, known);
            }
            Some(_) => {}
        }
    }

    fn container(&mut self, named: &Spanned<ContainerName>, about: &Address) {
        let model = self.context.model;
        let may_be_unread = model.may_have(ObjectKind::Container, named.value.as_str());
        if !may_be_unread && model.container(&named.value).is_none() {
            let name = named.value.as_str();
            let known = model.containers.iter().map(|container| container.name.as_str());
            let message = format!("no container is called {name:?}");
            self.unknown(codes::UNKNOWN_CONTAINER, message, named.span, about.clone(), name, known);
        }
    }

    fn platform(&mut self, named: &Spanned<PlatformName>, about: &Address) {
        let model = self.context.model;
        let may_be_unread = model.may_have(ObjectKind::Platform, named.value.as_str());
        if !may_be_unread && model.platform(&named.value).is_none() {
            let name = named.value.as_str();
            let known = model.ecosystem.platforms.iter().map(|platform| platform.name.as_str());
            let message = format!("no platform is called {name:?}");
            self.unknown(codes::UNKNOWN_PLATFORM, message, named.span, about.clone(), name, known);
        }
    }

    fn calendar(&mut self, named: &Spanned<CalendarName>, about: &Address) {
        let model = self.context.model;
        if model.calendar(&named.value).is_none() {
            let name = named.value.as_str();
            let known = model.calendars.iter().map(|calendar| calendar.name.as_str());
            let message = format!("no calendar is called {name:?}");
            self.unknown(codes::UNKNOWN_CALENDAR, message, named.span, about.clone(), name, known);
        }
    }

    /// A policy may deny a cloud that nobody uses: that is what it is for.
    fn cloud(&mut self, named: &Spanned<String>, about: &Address) {
        let name = named.value.as_str();
        if !self.places.clouds.contains(name) && !KNOWN_CLOUDS.contains(&name) {
            let message = format!("no vendor belongs to cloud {name:?}");
            let mut finding = Finding::warning(codes::UNKNOWN_CLOUD, message).at(named.span).about(about.clone());
            let known = self.places.clouds.iter().copied().chain(KNOWN_CLOUDS);
            finding.hint = self.context.did_you_mean(name, known);
            self.findings.push(finding);
        }
    }

    fn vendor(&mut self, name: &str, span: Span, about: &Address) {
        if !self.places.locations.contains_key(name) {
            let known: Vec<&str> = self.context.model.ecosystem.vendors.iter().map(|it| it.name.as_str()).collect();
            let message = format!("no vendor is called {name:?}");
            self.unknown(codes::UNKNOWN_VENDOR, message, span, about.clone(), name, known);
        }
    }

    fn location(&mut self, location: &LocationRef, span: Span, about: &Address) {
        let vendor = location.vendor.as_str();
        let Some(paths) = self.places.locations.get(vendor) else { return self.vendor(vendor, span, about) };
        if !location.path.is_empty() && !paths.contains(location.path.as_str()) {
            let mut known: Vec<&str> = paths.iter().copied().collect();
            known.sort_unstable();
            let message = format!("vendor {vendor} has no location {:?}", location.path);
            self.unknown(codes::UNKNOWN_LOCATION, message, span, about.clone(), &location.path, known);
        }
    }
}
