//! Teams and their containers.

use super::{Lowering, documentation, parsed, text, texts, word};
use crate::Spanned;
use crate::connection::{Connection, ContainerKind, Place};
use crate::model::Container;
use crate::name::ContainerName;
use crate::read::fragment::TeamPart;
use crate::read::paths;
use crate::syntax::Node;

impl Lowering<'_> {
    pub(super) fn team(&self, root: &Node<'_>) -> Option<TeamPart> {
        let name = self.own(root, "team")?;
        Some(TeamPart { name: name.value, span: name.span, documentation: documentation(root) })
    }

    pub(super) fn container(&self, node: &Node<'_>) -> Option<Container> {
        let name: Spanned<ContainerName> = self.spanned_at(node, "container")?;
        let kind = word(node, "kind")?;
        Some(Container {
            name: name.value.clone(),
            span: name.span,
            owner: self.owner.clone(),
            documentation: documentation(node),
            location: self.location(node.get("location")?)?,
            connection: Connection {
                container: name.value,
                kind,
                place: self.place(node, kind)?,
                credential: parsed(node, "credential"),
                connections_max: parsed(node, "connections_max"),
            },
            calendar: self.spanned_at(node, "calendar"),
        })
    }

    fn place(&self, node: &Node<'_>, kind: ContainerKind) -> Option<Place> {
        use ContainerKind::*;
        Some(match kind {
            Postgres | Mysql | Mariadb | Redshift => Place::Server {
                host: text(node, "host")?,
                port: parsed(node, "port"),
                database: text(node, "database")?,
                schema: text(node, "schema"),
                tls: word(node, "tls").unwrap_or_default(),
            },
            Snowflake => Place::Snowflake {
                account: text(node, "account")?,
                warehouse: text(node, "warehouse")?,
                database: text(node, "database")?,
                schema: text(node, "schema"),
            },
            Sqlite | Files => Place::Path { path: paths::resolve(self.folder, node.get("path")?.text()?) },
            ObjectStore => Place::Url { url: text(node, "url")?, endpoint: text(node, "endpoint") },
            Kafka => Place::Brokers { brokers: texts(node, "brokers") },
        })
    }
}
