//! Who may read which view.
//!
//! Takes the readers of views, grants what is missing and takes back what was ours and is no longer
//! wanted. `levada.grants` holds the accounts that we have seen to, and whether the grant is ours or
//! was there before; what others granted is never taken away. A record is made before its grant and
//! forgotten after it, and compared with what is there: a grant that a crash left out is made up for.
//!
//! An account of MySQL's is a user and the host it comes from. A reader `eva` is every account of that
//! user, `eva@10.0.0.%` one of them. MariaDB's roles have no host, MySQL's are accounts like others.
//!
//! Who has which grant stands in the database `mysql`. Where we may not read it, a reader without a
//! host is taken for `eva@%`, and our own records have to do.

use super::config::Session;
use super::error::{During, code, failed};
use super::quote::identifier;
use super::tables::placeholders;
use super::views::ViewName;
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, UnknownReader};
use levada_model::model::Reader;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row, Value};
use std::collections::{BTreeMap, BTreeSet};

/// No right to a table, a column or a database.
const DENIED: [u16; 4] = [1044, 1142, 1143, 1227];

/// A GRANT to an account that is not there.
const NO_SUCH_ACCOUNT: [u16; 5] = [1133, 1410, 1449, 1959, 1396];

/// A REVOKE of what is not granted, or from an account that is not there.
const NOTHING_TO_REVOKE: [u16; 5] = [1133, 1141, 1147, 1269, 3619];

/// User and host; a role of MariaDB's has no host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Account {
    name: String,
    host: String,
}

impl Account {
    fn quoted(&self) -> String {
        match self.host.as_str() {
            "" => identifier(&self.name),
            host => format!("{}@{}", identifier(&self.name), identifier(host)),
        }
    }
}

/// One step towards the wanted readers.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Let in, and remember that we did.
    Grant(Account),
    /// Remember that somebody else let them in.
    Note(Account),
    /// Let out, where we let in, and forget.
    Forget(Account, bool),
}

/// What is to do about readers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct GrantPlan {
    steps: Vec<(ViewName, Step)>,
    /// Readers by account, for those that the server refuses in the end.
    readers: BTreeMap<Account, String>,
    /// Readers whom the server does not know.
    pub(super) unknown: BTreeSet<String>,
}

impl GrantPlan {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Does it all; readers whom the server turns out not to know join the unknown ones.
    pub(super) async fn run(&mut self, session: &mut Session) -> Result<(), FlowError> {
        for (view, step) in std::mem::take(&mut self.steps) {
            match step {
                Step::Note(account) => remember(session, &view, &account, false).await?,
                Step::Forget(account, is_ours) => {
                    if is_ours {
                        revoke(session, &view, &account).await?;
                    }
                    forget(session, &view, &account).await?;
                }
                Step::Grant(account) => {
                    remember(session, &view, &account, true).await?;
                    if !grant(session, &view, &account).await? {
                        forget(session, &view, &account).await?;
                        self.unknown.extend(self.readers.get(&account).cloned());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Finds out what is to do so that these views have these readers, and that `gone` have none of ours.
pub(super) async fn plan(
    session: &mut Session,
    place: &str,
    tables: &[&DeliveredTable],
    gone: &[&ViewName],
) -> Result<GrantPlan, FlowError> {
    let views = || tables.iter().flat_map(|table| &table.views);
    let names: BTreeSet<ViewName> = views()
        .map(|view| (view.schema.clone(), view.name.clone()))
        .chain(gone.iter().map(|name| (*name).clone()))
        .collect();
    let readers: BTreeSet<&Reader> = views().flat_map(|view| &view.readers).collect();
    let recorded = recorded(session, &names).await?;
    if readers.is_empty() && recorded.is_empty() {
        return Ok(GrantPlan::default());
    }
    let accounts = accounts(session, place, &readers).await?;
    let granted = granted(session, &names).await?;
    let mut plan = GrantPlan::default();
    let mut wanted: BTreeMap<ViewName, BTreeSet<Account>> = BTreeMap::new();
    for view in views() {
        let of_view = wanted.entry((view.schema.clone(), view.name.clone())).or_default();
        for reader in &view.readers {
            let found = accounts.get(reader).map_or(&[][..], Vec::as_slice);
            if found.is_empty() {
                plan.unknown.insert(name_of(reader).to_owned());
            }
            of_view.extend(found.iter().cloned());
            plan.readers.extend(found.iter().map(|account| (account.clone(), name_of(reader).to_owned())));
        }
    }
    let nobody = BTreeSet::new();
    for view in names {
        let seen_to = |account: &Account| recorded.get(&(view.clone(), account.clone())).copied();
        let has = |account: &Account| granted.as_ref().map(|all| all.contains(&(view.clone(), account.clone())));
        let of_view = wanted.get(&view).unwrap_or(&nobody);
        for account in of_view {
            match (seen_to(account), has(account)) {
                (Some(_), Some(true) | None) => {}
                (None, Some(true)) => plan.steps.push((view.clone(), Step::Note(account.clone()))),
                (_, _) => plan.steps.push((view.clone(), Step::Grant(account.clone()))),
            }
        }
        let of_others = recorded.iter().filter(|((name, account), _)| *name == view && !of_view.contains(account));
        let forget = of_others.map(|((_, account), is_ours)| (view.clone(), Step::Forget(account.clone(), *is_ours)));
        plan.steps.extend(forget);
    }
    Ok(plan)
}

/// The readers of these tables that are among the unknown ones.
pub(super) fn told(tables: &[&DeliveredTable], unknown: &BTreeSet<String>) -> Vec<UnknownReader> {
    let views = tables.iter().flat_map(|table| table.views.iter().map(move |view| (table, view)));
    let told = views.flat_map(|(table, view)| {
        let names = view.readers.iter().map(name_of).filter(|name| unknown.contains(*name));
        names.map(|reader| UnknownReader {
            source: table.source.clone(),
            workspace: view.workspace.clone(),
            reader: reader.to_owned(),
        })
    });
    told.collect::<BTreeSet<_>>().into_iter().collect()
}

fn name_of(reader: &Reader) -> &str {
    let (Reader::Role(name) | Reader::User(name)) = reader;
    name
}

/// What we have seen to, and whether the grant is ours.
async fn recorded(
    session: &mut Session,
    names: &BTreeSet<ViewName>,
) -> Result<BTreeMap<(ViewName, Account), bool>, FlowError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pairs = vec!["(?, ?)"; names.len()].join(", ");
    let query = format!(
        "SELECT view_schema, view_name, account, host, is_ours FROM levada.grants \
         WHERE (view_schema, view_name) IN ({pairs})"
    );
    let rows: Result<Vec<Row>, _> = session.exec(&query, Params::Positional(name_values(names))).await;
    let rows = rows.during(|| "levada.grants can't be read".to_owned())?;
    let recorded = rows.into_iter().map(|row| {
        let (schema, view, name, host, is_ours) = mysql_async::from_row(row);
        (((schema, view), Account { name, host }), is_ours)
    });
    Ok(recorded.collect())
}

fn name_values(names: &BTreeSet<ViewName>) -> Vec<Value> {
    names.iter().flat_map(|(schema, name)| [Value::from(schema), Value::from(name)]).collect()
}

/// Who may read these views by a grant on the view itself; `None`: we may not know.
async fn granted(
    session: &mut Session,
    names: &BTreeSet<ViewName>,
) -> Result<Option<BTreeSet<(ViewName, Account)>>, FlowError> {
    let pairs = vec!["(?, ?)"; names.len()].join(", ");
    let query = format!(
        "SELECT db, table_name, user, host FROM mysql.tables_priv \
         WHERE FIND_IN_SET('Select', table_priv) AND (db, table_name) IN ({pairs})"
    );
    let rows: Result<Vec<(String, String, String, String)>, _> =
        session.exec(&query, Params::Positional(name_values(names))).await;
    match rows {
        Ok(rows) => {
            let granted = rows.into_iter().map(|(schema, view, name, host)| ((schema, view), Account { name, host }));
            Ok(Some(granted.collect()))
        }
        Err(error) if code(&error).is_some_and(|code| DENIED.contains(&code)) => Ok(None),
        Err(error) => Err(failed("mysql.tables_priv can't be read", error)),
    }
}

/// The accounts of each reader.
async fn accounts<'r>(
    session: &mut Session,
    place: &str,
    readers: &BTreeSet<&'r Reader>,
) -> Result<BTreeMap<&'r Reader, Vec<Account>>, FlowError> {
    if readers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: BTreeSet<&str> = readers.iter().flat_map(|reader| [name_of(reader), split(name_of(reader)).0]).collect();
    let query = format!("SELECT user, host FROM mysql.user WHERE user IN ({})", placeholders(names.len()));
    let parameters = names.iter().map(|name| Value::from(*name)).collect();
    let rows: Result<Vec<(String, String)>, _> = session.exec(&query, Params::Positional(parameters)).await;
    let is_mariadb = session.is_mariadb;
    match rows {
        Ok(rows) => {
            let known: Vec<Account> = rows.into_iter().map(|(name, host)| Account { name, host }).collect();
            Ok(readers.iter().map(|reader| (*reader, known_accounts(reader, &known, is_mariadb))).collect())
        }
        Err(error) if code(&error).is_some_and(|code| DENIED.contains(&code)) => {
            Ok(readers.iter().map(|reader| (*reader, vec![assumed_account(reader, is_mariadb)])).collect())
        }
        Err(error) => Err(failed(format!("the accounts at {place} can't be read"), error)),
    }
}

/// User and host of `eva@10.0.0.%`.
fn split(name: &str) -> (&str, Option<&str>) {
    name.rsplit_once('@').map_or((name, None), |(user, host)| (user, Some(host)))
}

fn known_accounts(reader: &Reader, known: &[Account], is_mariadb: bool) -> Vec<Account> {
    let is_role = |account: &&Account| account.host.is_empty();
    let of = |name: &str| known.iter().filter(move |account| account.name == name).collect::<Vec<_>>();
    let found: Vec<&Account> = match reader {
        Reader::Role(name) if is_mariadb => of(name).into_iter().filter(is_role).collect(),
        Reader::Role(name) | Reader::User(name) => {
            let whole: Vec<&Account> = of(name).into_iter().filter(|account| !is_role(account)).collect();
            match split(name) {
                (user, Some(host)) if whole.is_empty() => {
                    of(user).into_iter().filter(|account| account.host == host).collect()
                }
                _ => whole,
            }
        }
    };
    found.into_iter().cloned().collect()
}

fn assumed_account(reader: &Reader, is_mariadb: bool) -> Account {
    let (name, host) = match reader {
        Reader::Role(name) if is_mariadb => (name.as_str(), ""),
        Reader::Role(name) => (name.as_str(), "%"),
        Reader::User(name) => {
            let (user, host) = split(name);
            (user, host.unwrap_or("%"))
        }
    };
    Account { name: name.to_owned(), host: host.to_owned() }
}

fn right((schema, view): &ViewName) -> String {
    format!("SELECT ON {}.{}", identifier(schema), identifier(view))
}

/// Whether the server knows the account.
async fn grant(session: &mut Session, view: &ViewName, account: &Account) -> Result<bool, FlowError> {
    match session.query_drop(format!("GRANT {} TO {}", right(view), account.quoted())).await {
        Ok(()) => Ok(true),
        Err(error) if code(&error).is_some_and(|code| NO_SUCH_ACCOUNT.contains(&code)) => Ok(false),
        Err(error) => Err(failed(format!("view {}.{} can't be granted to {:?}", view.0, view.1, account.name), error)),
    }
}

async fn revoke(session: &mut Session, view: &ViewName, account: &Account) -> Result<(), FlowError> {
    match session.query_drop(format!("REVOKE {} FROM {}", right(view), account.quoted())).await {
        Ok(()) => Ok(()),
        Err(error) if code(&error).is_some_and(|code| NOTHING_TO_REVOKE.contains(&code)) => Ok(()),
        Err(error) => Err(failed(format!("view {}.{} can't be taken from {:?}", view.0, view.1, account.name), error)),
    }
}

async fn remember(
    session: &mut Session,
    (schema, view): &ViewName,
    account: &Account,
    is_ours: bool,
) -> Result<(), FlowError> {
    let statement =
        "REPLACE INTO levada.grants (view_schema, view_name, account, host, is_ours) VALUES (?, ?, ?, ?, ?)";
    let remembered = session.exec_drop(statement, (schema, view, &account.name, &account.host, is_ours)).await;
    remembered.during(|| format!("the grant to {:?} can't be recorded", account.name))
}

async fn forget(session: &mut Session, (schema, view): &ViewName, account: &Account) -> Result<(), FlowError> {
    let statement = "DELETE FROM levada.grants WHERE view_schema = ? AND view_name = ? AND account = ? AND host = ?";
    let forgotten = session.exec_drop(statement, (schema, view, &account.name, &account.host)).await;
    forgotten.during(|| format!("the grant to {:?} can't be forgotten", account.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, host: &str) -> Account {
        Account { name: name.to_owned(), host: host.to_owned() }
    }

    #[test]
    fn a_reader_is_every_account_of_the_user_or_the_one_that_is_named() {
        let known = [
            account("eva", "%"),
            account("eva", "localhost"),
            account("eva", ""),
            account("i@d", "%"),
            account("i", "d"),
        ];
        let of = |reader: Reader, is_mariadb| known_accounts(&reader, &known, is_mariadb);
        assert_eq!(of(Reader::User("eva".to_owned()), true), known[..2]);
        assert_eq!(of(Reader::User("eva@localhost".to_owned()), true), known[1..2]);
        assert_eq!(of(Reader::User("i@d".to_owned()), true), known[3..4], "a user's name may have an @");
        assert_eq!(of(Reader::Role("eva".to_owned()), true), known[2..3]);
        assert_eq!(of(Reader::Role("eva".to_owned()), false), known[..2]);
        assert_eq!(of(Reader::User("ev".to_owned()), true), []);
        assert_eq!(account("e`va", "%").quoted(), "`e``va`@`%`");
    }
}
