//! A small builder of models, without files: every object stands at a place of its own.

use levada_model::connection::{Connection, ContainerKind, Place, Tls};
use levada_model::model::*;
use levada_model::{DataType, FileId, Model, Span, Spanned};
use std::str::FromStr;

pub fn name<T: FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

/// Builds a model of one zone and one team.
pub struct Builder {
    pub model: Model,
    offset: u32,
}

impl Builder {
    pub fn new() -> Self {
        let mut builder = Self { model: Model::default(), offset: 0 };
        let span = builder.span();
        builder.model.ecosystem.name = "test".to_owned();
        for classification in ["pub", "internal", "pc1", "pc2", "pc3"] {
            builder.model.ecosystem.classifications.push(Spanned::new(name(classification), span));
        }
        builder.model.ecosystem.vendors.push(Vendor {
            name: name("azure"),
            span,
            documentation: None,
            cloud: "azure".to_owned(),
            locations: vec!["us".into(), "us/east".into(), "eu".into(), "eu/west".into()],
        });
        builder.zone("USA").team("USA", "Team")
    }

    pub fn span(&mut self) -> Span {
        self.offset += 10;
        Span::new(FileId(0), self.offset)
    }

    pub fn spanned<T>(&mut self, value: T) -> Spanned<T> {
        let span = self.span();
        Spanned::new(value, span)
    }

    pub fn zone(mut self, zone: &str) -> Self {
        let span = self.span();
        self.model.zones.push(Zone {
            name: name(zone),
            span,
            documentation: None,
            classifications: Vec::new(),
            regulators: Vec::new(),
            holds: Vec::new(),
            policies: Vec::new(),
        });
        self
    }

    pub fn team(mut self, zone: &str, team: &str) -> Self {
        let span = self.span();
        self.model.teams.push(Team { zone: name(zone), name: name(team), span, documentation: None });
        self
    }

    /// Lets a zone deny a platform to all that it produces.
    pub fn deny_platform(mut self, zone: &str, platform: &str) -> Self {
        let span = self.span();
        let deny = Places { platforms: vec![Spanned::new(name(platform), span)], ..Places::default() };
        let policy = Policy {
            name: name(&format!("not on {platform}")),
            span,
            documentation: None,
            binds: Binds::Produced,
            classifications: Vec::new(),
            allow: None,
            deny: Some(deny),
            retention_at_least: None,
        };
        self.model.zones.iter_mut().find(|it| it.name == name(zone)).expect("a zone").policies.push(policy);
        self
    }

    pub fn platform(self, platform: &str, style: Style) -> Self {
        self.platform_with(platform, style, |_| {})
    }

    pub fn platform_with(mut self, platform: &str, style: Style, change: impl FnOnce(&mut PlatformEntry)) -> Self {
        let span = self.span();
        let location = LocationRef { vendor: name("azure"), path: "us/east".to_owned() };
        let mut entry = PlatformEntry {
            name: name(platform),
            span,
            documentation: None,
            kind: Spanned::new("embedded".to_owned(), span),
            infrastructure: None,
            style,
            status: Status::Development,
            cost_milli: None,
            locations: vec![Spanned::new(location, span)],
            follow: None,
            host: None,
            run: None,
            credentials: Vec::new(),
            settings: Settings::new(),
            described: None,
        };
        change(&mut entry);
        self.model.ecosystem.platforms.push(entry);
        self
    }

    pub fn container(self, container: &str) -> Self {
        self.container_with(container, |_| {})
    }

    pub fn container_with(mut self, container: &str, change: impl FnOnce(&mut Container)) -> Self {
        let span = self.span();
        let location = LocationRef { vendor: name("azure"), path: "us/east".to_owned() };
        let place = Place::Server {
            host: "db.example.com".to_owned(),
            port: None,
            database: "db".to_owned(),
            schema: None,
            tls: Tls::Prefer,
        };
        let mut entry = Container {
            name: name(container),
            span,
            owner: owner(),
            documentation: None,
            location: Spanned::new(location, span),
            connection: Connection {
                container: name(container),
                kind: ContainerKind::Postgres,
                place,
                credential: Some(name("reader")),
                connections_max: None,
            },
            calendar: None,
        };
        change(&mut entry);
        self.model.containers.push(entry);
        self
    }

    pub fn store(self, store: &str, container: &str, datasets: &[&str]) -> Self {
        self.store_with(store, container, datasets, |_| {})
    }

    pub fn store_with(
        mut self,
        store: &str,
        container: &str,
        datasets: &[&str],
        change: impl FnOnce(&mut Datastore),
    ) -> Self {
        let span = self.span();
        let cron = Cron { expression: "*/10 * * * *".to_owned(), timezone: None };
        let ingest = Ingest {
            span,
            kind: IngestKind::Snapshot,
            is_multi: true,
            trigger: Some(CronTrigger { cron, catch_up: CatchUp::Latest, jitter: None }),
            calendar: None,
        };
        let container = Spanned::new(name(container), span);
        let mut entry = self.datastore(store, datasets, Origin::Container { container, ingest });
        change(&mut entry);
        self.model.datastores.push(entry);
        self
    }

    fn datastore(&mut self, store: &str, datasets: &[&str], origin: Origin) -> Datastore {
        let span = self.span();
        Datastore {
            name: name(store),
            span,
            owner: owner(),
            documentation: None,
            status: Status::Development,
            origin,
            approved: None,
            deprecated: None,
            datasets: datasets.iter().map(|dataset| self.dataset(dataset)).collect(),
        }
    }

    pub fn dataset(&mut self, dataset: &str) -> Dataset {
        let span = self.span();
        Dataset {
            name: name(dataset),
            span,
            documentation: None,
            classification: Some(Spanned::new(name("pub"), span)),
            deprecated: None,
            table: None,
            watermark: None,
            partition: Vec::new(),
            columns: vec![column("id", DataType::Int64, true), column("label", DataType::Varchar(40), false)],
        }
    }

    pub fn workspace(self, workspace: &str, container: &str) -> Self {
        self.workspace_with(workspace, container, |_| {})
    }

    pub fn workspace_with(mut self, workspace: &str, container: &str, change: impl FnOnce(&mut Workspace)) -> Self {
        let span = self.span();
        let mut entry = Workspace {
            name: name(workspace),
            span,
            owner: owner(),
            documentation: None,
            status: Status::Development,
            container: Spanned::new(name(container), span),
            priority: Priority::Medium,
            readers: Vec::new(),
            groups: Vec::new(),
            transformer: None,
        };
        change(&mut entry);
        self.model.workspaces.push(entry);
        self
    }

    /// Adds a group to the last workspace; terms as `latency milestoning retention`.
    pub fn group(mut self, group: &str, terms: Option<&str>, datasets: &[&str]) -> Self {
        let span = self.span();
        let sinks = datasets
            .iter()
            .map(|dataset| Sink { dataset: self.spanned(name(dataset)), is_deprecated_allowed: false })
            .collect();
        let requires = terms.map(|terms| requirements(terms, span));
        let group = Group { name: name(group), span, documentation: None, requires, sinks };
        self.model.workspaces.last_mut().expect("a workspace").groups.push(group);
        self
    }

    /// Gives the last workspace a transformer.
    pub fn transformer(mut self, output: &str, datasets: &[&str]) -> Self {
        let span = self.span();
        let workspace = self.model.workspaces.last().expect("a workspace").name.clone();
        let origin = Origin::Transformer { workspace: workspace.clone(), mode: OutputMode::Snapshot };
        let store = self.datastore(output, datasets, origin);
        self.model.datastores.push(store);
        let files = datasets.iter().map(|dataset| SqlFile {
            dataset: Some(name(dataset)),
            path: format!("{dataset}.sql"),
            text: Some("select 1".to_owned()),
        });
        self.model.workspaces.last_mut().expect("a workspace").transformer = Some(Transformer {
            name: name(&format!("Make{output}")),
            span,
            documentation: None,
            output: Spanned::new(name(output), span),
            mode: OutputMode::Snapshot,
            trigger: TransformTrigger::OnChange,
            code: Code::Sql(files.collect()),
        });
        self
    }

    pub fn assign(mut self, workspace: &str, group: &str, platform: &str, state: AssignmentState) -> Self {
        let span = self.span();
        self.model.assignments.push(AssignmentEntry {
            span,
            workspace: name(workspace),
            group: name(group),
            platform: Spanned::new(name(platform), span),
            state,
        });
        self
    }

    pub fn primary(mut self, store: &str, platform: &str) -> Self {
        let span = self.span();
        let platform = Spanned::new(name(platform), span);
        self.model.primaries.push(PrimaryEntry { span, datastore: name(store), platform });
        self
    }

    pub fn build(mut self) -> Model {
        self.model.index();
        self.model.outlined()
    }
}

pub fn owner() -> Owner {
    Owner { zone: name("USA"), team: name("Team") }
}

pub fn column(column: &str, data_type: DataType, key: bool) -> Column {
    Column { name: name(column), documentation: None, from: None, data_type, nullable: !key, key, classification: None }
}

pub fn requirements(terms: &str, span: Span) -> Requirements {
    let words: Vec<&str> = terms.split(' ').collect();
    let latency = match words[0] {
        "seconds" => Latency::Seconds,
        "minutes" => Latency::Minutes,
        "hours" => Latency::Hours,
        "days" => Latency::Days,
        other => panic!("{other} is no latency"),
    };
    let milestoning = match words[1] {
        "live" => Milestoning::Live,
        "history" => Milestoning::History,
        "both" => Milestoning::Both,
        other => panic!("{other} is no milestoning"),
    };
    Requirements { span, latency, milestoning, retention: words[2].parse().expect("a period"), regulator: None }
}

/// The worked example of the model reference.
pub fn northwind() -> Builder {
    Builder::new()
        .platform("Azure Platform", Style::Batch)
        .container("nw_db")
        .container("Test Azure SQL")
        .store("NW_Data", "nw_db", &["customers", "products", "suppliers"])
        .workspace("MaskCustomersWorkSpace", "Test Azure SQL")
        .group("MaskCustomers", None, &["NW_Data.customers"])
        .transformer("Masked_NW_Data", &["customers"])
        .workspace_with("WorkspaceUsingTransformerOutput", "Test Azure SQL", |it| it.priority = Priority::Critical)
        .group(
            "LiveReporting",
            Some("minutes live 30d"),
            &["Masked_NW_Data.customers", "NW_Data.products", "NW_Data.suppliers"],
        )
}
