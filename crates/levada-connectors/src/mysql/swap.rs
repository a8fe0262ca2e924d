//! What readers see of a delivery: which tables carry the names, views, grants, and what goes.
//!
//! Takes what is wanted and what is there, gives the difference ([`Publication`]) and brings it
//! about. Every step does nothing where it was done already. [`super::delivery`] has the order.

use super::config::Session;
use super::error::During;
use super::grants::{self, GrantPlan};
use super::tables::{self, Applied, next_name, old_name, physical, physical_names};
use super::views::{self, ViewName, WantedView};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, UnknownReader};
use mysql_async::prelude::Queryable;
use std::collections::{BTreeMap, BTreeSet};

/// A table that was built beside the one it replaces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beside {
    pub(super) name: String,
    pub(super) token: String,
}

/// The difference between what readers see and what they have to see.
pub(super) struct Publication {
    wanted: BTreeMap<ViewName, WantedView>,
    /// Views to put.
    changed: Vec<ViewName>,
    /// Those of them whose table is swapped under them.
    narrowed: Vec<ViewName>,
    /// Views of ours that nobody wants any more.
    gone: Vec<ViewName>,
    /// Tables that are not named any more.
    former: Vec<String>,
    /// What earlier deliveries left behind.
    leftovers: Vec<String>,
    grants: GrantPlan,
}

impl Publication {
    /// Compares; `built` are the tables that this delivery builds beside.
    ///
    /// # Errors
    /// A view's name is somebody else's.
    pub(super) async fn plan(
        session: &mut Session,
        place: &str,
        all: &[&DeliveredTable],
        found: &[Applied],
        built: &BTreeSet<String>,
    ) -> Result<Self, FlowError> {
        let former: Vec<String> = found.iter().flat_map(|found| found.former.iter().cloned()).collect();
        let mut names: Vec<&str> = all.iter().flat_map(|table| physical_names(table)).collect();
        names.extend(former.iter().map(String::as_str));
        let wanted = views::wanted(all)?;
        let wanted_names: Vec<&ViewName> = wanted.keys().collect();
        let own = views::own(session, &names, &wanted_names).await?;
        let there = views::there(session, &wanted_names).await?;
        views::check_owners(&wanted, &own, &there)?;
        let is_same = |name: &ViewName, view: &WantedView| {
            let is_there = there.contains_key(name);
            own.get(name).is_some_and(|own| is_there && own.table == view.table && own.definition == view.definition())
        };
        let changed: Vec<ViewName> =
            wanted.iter().filter(|(name, view)| !is_same(name, view)).map(|(name, _)| name.clone()).collect();
        let is_swapped = |name: &&ViewName| {
            let table = &wanted[*name].table;
            there.contains_key(*name) && own.get(*name).is_some_and(|own| own.table == *table) && built.contains(table)
        };
        let narrowed = changed.iter().filter(is_swapped).cloned().collect();
        let gone: Vec<ViewName> = own.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let grants = grants::plan(session, place, all, &gone.iter().collect::<Vec<_>>()).await?;
        let leftovers = found.iter().flat_map(|found| found.leftovers.iter().cloned()).collect();
        Ok(Self { wanted, changed, narrowed, gone, former, leftovers, grants })
    }

    /// Clears what earlier deliveries left behind.
    pub(super) async fn clear(&self, session: &mut Session) -> Result<(), FlowError> {
        tables::drop_leftovers(session, &self.leftovers).await
    }

    /// Lets all tables that were built beside take the places of the old ones, at once.
    pub(super) async fn swap(&self, session: &mut Session, beside: &[Beside]) -> Result<(), FlowError> {
        for name in &self.narrowed {
            views::narrow(session, name, &self.wanted[name]).await?;
        }
        let names: Vec<String> = beside.iter().map(|table| table.name.clone()).collect();
        let there = tables::tokens(session, &names).await?;
        let mut moves = Vec::new();
        for Beside { name, token } in beside {
            if let Some(old) = there.get(name) {
                let old = old_name(old.as_deref().unwrap_or(token));
                moves.push(format!("{} TO {}", physical(name), physical(&old)));
            }
            moves.push(format!("{} TO {}", physical(&next_name(token)), physical(name)));
        }
        let rename = format!("RENAME TABLE {}", moves.join(", "));
        session.define(&rename, || format!("tables {} can't be replaced", names.join(", "))).await?;
        Ok(())
    }

    /// Brings views and grants forward and takes away what nobody wants any more.
    pub(super) async fn publish(
        mut self,
        session: &mut Session,
        all: &[&DeliveredTable],
        replaced: &[String],
    ) -> Result<Vec<UnknownReader>, FlowError> {
        for name in &self.changed {
            views::put(session, name, &self.wanted[name]).await?;
        }
        if !self.grants.is_empty() {
            self.grants.run(session).await?;
        }
        for name in &self.gone {
            views::remove(session, name).await?;
        }
        drop_tables(session, &self.former).await?;
        tables::drop_leftovers(session, replaced).await?;
        Ok(grants::told(all, &self.grants.unknown))
    }
}

/// Drops physical tables, and their marks with them.
pub(super) async fn drop_tables(session: &mut Session, names: &[String]) -> Result<(), FlowError> {
    for name in names {
        let failed = || format!("table levada.{name} can't be dropped");
        session.define(&format!("DROP TABLE IF EXISTS {}", physical(name)), failed).await?;
        session.exec_drop("DELETE FROM levada.applied WHERE table_name = ?", (name,)).await.during(failed)?;
    }
    Ok(())
}

/// Takes views, grants, tables and marks of these datasets away.
pub(super) async fn remove(
    session: &mut Session,
    place: &str,
    all: &[&DeliveredTable],
    found: &[Applied],
) -> Result<(), FlowError> {
    let mut names: Vec<String> = all.iter().flat_map(|table| physical_names(table)).map(str::to_owned).collect();
    names.extend(found.iter().flat_map(|found| found.former.iter().cloned()));
    let own = views::own(session, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await?;
    grants::plan(session, place, &[], &own.keys().collect::<Vec<_>>()).await?.run(session).await?;
    for name in own.keys() {
        views::remove(session, name).await?;
    }
    for found in found {
        tables::drop_leftovers(session, &found.leftovers).await?;
    }
    drop_tables(session, &names).await
}
