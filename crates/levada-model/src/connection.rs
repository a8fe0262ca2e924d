//! How a container is reached, without places in files and without secrets.

use crate::name::{ContainerName, CredentialName};
use serde::{Deserialize, Serialize};

/// The kind of system behind a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ContainerKind {
    Postgres,
    Mysql,
    Mariadb,
    Redshift,
    Snowflake,
    Sqlite,
    Files,
    ObjectStore,
    Kafka,
}

impl ContainerKind {
    /// All kinds, in the order of the model reference.
    pub const ALL: [Self; 9] = [
        Self::Postgres,
        Self::Mysql,
        Self::Mariadb,
        Self::Redshift,
        Self::Snowflake,
        Self::Sqlite,
        Self::Files,
        Self::ObjectStore,
        Self::Kafka,
    ];

    /// The word in the model.
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Redshift => "redshift",
            Self::Snowflake => "snowflake",
            Self::Sqlite => "sqlite",
            Self::Files => "files",
            Self::ObjectStore => "object-store",
            Self::Kafka => "kafka",
        }
    }

    /// Whether the system asks who is there.
    pub fn needs_credential(self) -> bool {
        !matches!(self, Self::Sqlite | Self::Files)
    }
}

/// How much a client insists on encryption.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Encrypted where the server offers it.
    #[default]
    Prefer,
    /// Encrypted or not at all.
    Require,
    /// Encrypted, and the certificate and host name are checked.
    VerifyFull,
}

/// The coordinates of a container, by family of systems.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A database server.
    Server {
        /// Host name or address.
        host: String,
        /// `None`: the kind's usual port.
        port: Option<u16>,
        /// The database in it.
        database: String,
        /// The schema that tables without one are in; `None`: the kind's usual one.
        schema: Option<String>,
        /// Encryption.
        tls: Tls,
    },
    /// A Snowflake account.
    Snowflake {
        /// Account locator.
        account: String,
        /// Virtual warehouse.
        warehouse: String,
        /// Database.
        database: String,
        /// Schema; `None`: `PUBLIC`.
        schema: Option<String>,
    },
    /// A file or folder; relative paths start at the model's root.
    Path {
        /// The path, `/`-separated.
        path: String,
    },
    /// A bucket and prefix.
    Url {
        /// Such as `s3://bucket/prefix`.
        url: String,
        /// Another endpoint than the provider's own.
        endpoint: Option<String>,
    },
    /// A Kafka cluster.
    Brokers {
        /// `HOST:PORT` each.
        brokers: Vec<String>,
    },
}

/// Everything a connector needs to reach a container, but the secret itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// The container.
    pub container: ContainerName,
    /// Its system.
    pub kind: ContainerKind,
    /// Its coordinates.
    pub place: Place,
    /// The secret's name.
    pub credential: Option<CredentialName>,
    /// How many connections Levada may hold at once; `None`: the default cap.
    pub connections_max: Option<u32>,
}
