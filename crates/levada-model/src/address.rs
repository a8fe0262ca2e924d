//! Typed addresses of everything, printed and parsed one way.
//!
//! `Dataset/NW_Data/customers` means the same in a file, on the command line, in the API and in
//! the store. No name holds a `/`, so splitting is exact.

use crate::name::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where something is in the ecosystem.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// The whole model.
    Ecosystem,
    /// `Zone/Z`
    Zone(ZoneName),
    /// `Team/Z/T`
    Team(ZoneName, TeamName),
    /// `Container/C`
    Container(ContainerName),
    /// `Datastore/D`
    Datastore(DatastoreName),
    /// `Dataset/D/d`
    Dataset(DatastoreName, DatasetName),
    /// `Column/D/d/c`; a column's own slashes are written `%2F`.
    Column(DatastoreName, DatasetName, ColumnName),
    /// `Workspace/W`
    Workspace(WorkspaceName),
    /// `Group/W/G`
    Group(WorkspaceName, GroupName),
    /// `Transformer/W`
    Transformer(WorkspaceName),
    /// `Platform/P`
    Platform(PlatformName),
    /// `Infrastructure/I`
    Infrastructure(InfrastructureName),
    /// `Calendar/C`
    Calendar(CalendarName),
    /// A node of an intention graph.
    Node(NodeAddress),
}

/// What a node of an intention graph does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Takes a stream's data in, once.
    Ingest,
    /// Receives a stream from the platform that ingests it.
    Link,
    /// Delivers one dataset into one consumer container.
    Export,
    /// Decides when a transformer runs.
    Trigger,
    /// Runs a transformer.
    Transform,
}

impl NodeKind {
    /// The first word of the address: `Ingest`, `Link`, …
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingest => "Ingest",
            Self::Link => "Link",
            Self::Export => "Export",
            Self::Trigger => "Trigger",
            Self::Transform => "Transform",
        }
    }
}

/// What is pulled together: a whole datastore (`multi`), or one dataset of it (`single`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stream {
    /// The producer's datastore.
    pub datastore: DatastoreName,
    /// The one dataset, or `None` for all of them.
    pub dataset: Option<DatasetName>,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dataset {
            None => write!(f, "{}", self.datastore),
            Some(dataset) => write!(f, "{}/{}", self.datastore, dataset),
        }
    }
}

/// One dataset of the whole ecosystem; prints as SQL and the model write it, `STORE.DATASET`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetRef {
    /// The datastore.
    pub datastore: DatastoreName,
    /// The dataset in it.
    pub dataset: DatasetName,
}

impl DatasetRef {
    /// Joins both names.
    pub fn new(datastore: DatastoreName, dataset: DatasetName) -> Self {
        Self { datastore, dataset }
    }

    /// The address of the same dataset.
    pub fn address(&self) -> Address {
        Address::Dataset(self.datastore.clone(), self.dataset.clone())
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.datastore, self.dataset)
    }
}

/// Where a node is in the intention graph of its platform.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NodeAddress {
    /// `Ingest/P/D` or `Ingest/P/D/d`
    Ingest(PlatformName, Stream),
    /// `Link/P/D` or `Link/P/D/d`
    Link(PlatformName, Stream),
    /// `Export/P/C/D/d`
    Export(PlatformName, ContainerName, DatasetRef),
    /// `Trigger/P/W`
    Trigger(PlatformName, WorkspaceName),
    /// `Transform/P/W`
    Transform(PlatformName, WorkspaceName),
}

impl NodeAddress {
    /// The platform whose graph holds the node.
    pub fn platform(&self) -> &PlatformName {
        match self {
            Self::Ingest(platform, _)
            | Self::Link(platform, _)
            | Self::Export(platform, _, _)
            | Self::Trigger(platform, _)
            | Self::Transform(platform, _) => platform,
        }
    }

    /// What the node does.
    pub fn kind(&self) -> NodeKind {
        match self {
            Self::Ingest(..) => NodeKind::Ingest,
            Self::Link(..) => NodeKind::Link,
            Self::Export(..) => NodeKind::Export,
            Self::Trigger(..) => NodeKind::Trigger,
            Self::Transform(..) => NodeKind::Transform,
        }
    }

    /// The address without its kind and platform, for people who already see both.
    pub fn tail(&self) -> String {
        match self {
            Self::Ingest(_, stream) | Self::Link(_, stream) => stream.to_string(),
            Self::Export(_, container, of) => format!("{container}/{}/{}", of.datastore, of.dataset),
            Self::Trigger(_, workspace) | Self::Transform(_, workspace) => workspace.to_string(),
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind().word(), self.platform(), self.tail())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecosystem => f.write_str("Ecosystem"),
            Self::Zone(zone) => write!(f, "Zone/{zone}"),
            Self::Team(zone, team) => write!(f, "Team/{zone}/{team}"),
            Self::Container(name) => write!(f, "Container/{name}"),
            Self::Datastore(name) => write!(f, "Datastore/{name}"),
            Self::Dataset(store, name) => write!(f, "Dataset/{store}/{name}"),
            Self::Column(store, dataset, name) => {
                let name = name.as_str().replace('%', "%25").replace('/', "%2F");
                write!(f, "Column/{store}/{dataset}/{name}")
            }
            Self::Workspace(name) => write!(f, "Workspace/{name}"),
            Self::Group(workspace, name) => write!(f, "Group/{workspace}/{name}"),
            Self::Transformer(name) => write!(f, "Transformer/{name}"),
            Self::Platform(name) => write!(f, "Platform/{name}"),
            Self::Infrastructure(name) => write!(f, "Infrastructure/{name}"),
            Self::Calendar(name) => write!(f, "Calendar/{name}"),
            Self::Node(node) => node.fmt(f),
        }
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The first word or the number of parts is unknown.
    #[error("{0:?} is not an address; examples: Dataset/STORE/DATASET, Workspace/NAME, Ingest/PLATFORM/STORE")]
    Shape(String),
    /// A part is not a name.
    #[error("{part:?} in the address can't be a name")]
    Part {
        /// The part.
        part: String,
        /// The rule it breaks.
        #[source]
        source: NameError,
    },
}

fn part<T: FromStr<Err = NameError>>(text: &str) -> Result<T, AddressError> {
    text.parse().map_err(|source| AddressError::Part { part: text.to_owned(), source })
}

fn stream(datastore: &str, dataset: Option<&str>) -> Result<Stream, AddressError> {
    Ok(Stream { datastore: part(datastore)?, dataset: dataset.map(part).transpose()? })
}

impl FromStr for NodeAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts[..] {
            ["Ingest", platform, store] => Self::Ingest(part(platform)?, stream(store, None)?),
            ["Ingest", platform, store, set] => Self::Ingest(part(platform)?, stream(store, Some(set))?),
            ["Link", platform, store] => Self::Link(part(platform)?, stream(store, None)?),
            ["Link", platform, store, set] => Self::Link(part(platform)?, stream(store, Some(set))?),
            ["Export", platform, container, store, set] => {
                Self::Export(part(platform)?, part(container)?, DatasetRef::new(part(store)?, part(set)?))
            }
            ["Trigger", platform, workspace] => Self::Trigger(part(platform)?, part(workspace)?),
            ["Transform", platform, workspace] => Self::Transform(part(platform)?, part(workspace)?),
            _ => return Err(AddressError::Shape(text.to_owned())),
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts[..] {
            ["Ecosystem"] => Self::Ecosystem,
            ["Zone", zone] => Self::Zone(part(zone)?),
            ["Team", zone, team] => Self::Team(part(zone)?, part(team)?),
            ["Container", name] => Self::Container(part(name)?),
            ["Datastore", name] => Self::Datastore(part(name)?),
            ["Dataset", store, name] => Self::Dataset(part(store)?, part(name)?),
            ["Column", store, dataset, name] => {
                let name = name.replace("%2F", "/").replace("%25", "%");
                Self::Column(part(store)?, part(dataset)?, part(&name)?)
            }
            ["Workspace", name] => Self::Workspace(part(name)?),
            ["Group", workspace, name] => Self::Group(part(workspace)?, part(name)?),
            ["Transformer", name] => Self::Transformer(part(name)?),
            ["Platform", name] => Self::Platform(part(name)?),
            ["Infrastructure", name] => Self::Infrastructure(part(name)?),
            ["Calendar", name] => Self::Calendar(part(name)?),
            _ => Self::Node(text.parse()?),
        })
    }
}

impl FromStr for Stream {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once('/') {
            None => stream(text, None),
            Some((store, set)) => stream(store, Some(set)),
        }
    }
}

impl FromStr for DatasetRef {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (store, set) = text.split_once('.').ok_or_else(|| AddressError::Shape(text.to_owned()))?;
        Ok(Self::new(part(store)?, part(set)?))
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = AddressError;
            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )*};
}

as_text!(Address, NodeAddress, Stream, DatasetRef);

impl From<NodeAddress> for Address {
    fn from(node: NodeAddress) -> Self {
        Self::Node(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for text in [
            "Zone/USA",
            "Team/USA/NorthWindTeam",
            "Container/Test Azure SQL",
            "Dataset/NW_Data/customers",
            "Column/NW_Data/customers/a%2Fb%25",
            "Group/W/G",
            "Ingest/Azure Platform/NW_Data",
            "Ingest/Azure Platform/NW_Data/customers",
            "Export/Azure Platform/Test Azure SQL/NW_Data/customers",
            "Trigger/Azure Platform/W",
            "Link/P/D/d",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_so() {
        for text in ["", "Zone", "Zone/a/b", "Dataset/1/x", "Export/P/C/D", "nonsense/x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
