//! Transactions that were prepared (`XA PREPARE`): their rows are in the log where that was, and count where they are
//! committed, maybe hours later.
//!
//! Rows are kept in memory, up to a limit. A commit whose rows are not here, because there were too many of them or
//! this log was opened behind them, has the tables read anew that it may have changed.
//!
//! Such a commit is in the log a moment before the server shows what it did, and its snapshots tell places in the log
//! that they may lack. So where prepared transactions are about, what was read of a table is followed by what the log
//! has told of it in the last moment before: whoever changes the same rows later waits until the server shows
//! them, so that, told again in order, they end as they are.

use super::images::Rows;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most bytes in memory of rows of all prepared transactions together, and of what was told lately.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// How long after it was logged the commit of a prepared transaction may be unseen by others.
pub(super) const SEEN_AFTER: Duration = Duration::from_secs(1);

/// Which datasets read a table, by its database and name.
pub(super) type Users = HashMap<(String, String), Vec<usize>>;

/// A prepared transaction.
pub(super) struct Prepared {
    /// Who read which table then: others may lack rows of it.
    users: Arc<Users>,
    /// Whose tables it has changed.
    touched: BTreeSet<usize>,
    /// Its rows; `None`: too many to be kept.
    rows: Option<Vec<Arc<Rows>>>,
    bytes: usize,
}

impl Prepared {
    /// Whether it may have changed something of a dataset that reads this table.
    pub(super) fn may_touch(&self, dataset: usize, table: &(String, String)) -> bool {
        self.touched.contains(&dataset) || !self.users.get(table).is_some_and(|users| users.contains(&dataset))
    }

    /// Its rows, if all of this dataset's are here.
    pub(super) fn has_rows_of(&self, dataset: usize) -> bool {
        self.rows.is_some() && self.touched.contains(&dataset)
    }

    /// Remembers only whose tables it has changed; gives how many bytes that frees.
    fn forget_rows(&mut self) -> usize {
        self.rows = None;
        std::mem::take(&mut self.bytes)
    }

    /// The rows that are here.
    pub(super) fn into_rows(self) -> Vec<Arc<Rows>> {
        self.rows.unwrap_or_default()
    }
}

/// All that were prepared and have not ended, by the name that the application gave them.
#[derive(Default)]
pub(super) struct PreparedTransactions {
    open: HashMap<Vec<u8>, Prepared>,
    bytes: usize,
}

impl PreparedTransactions {
    /// One begins.
    pub(super) fn begin(&mut self, xid: &[u8], users: &Arc<Users>) {
        self.end(xid);
        let prepared =
            Prepared { users: Arc::clone(users), touched: BTreeSet::new(), rows: Some(Vec::new()), bytes: 0 };
        self.open.insert(xid.to_vec(), prepared);
    }

    /// It changes a table of these datasets.
    pub(super) fn keep(&mut self, xid: &[u8], rows: Rows, datasets: &[usize]) {
        let Some(prepared) = self.open.get_mut(xid) else { return };
        prepared.touched.extend(datasets);
        let Some(kept) = &mut prepared.rows else { return };
        self.bytes += rows.bytes;
        prepared.bytes += rows.bytes;
        kept.push(Arc::new(rows));
        while self.bytes > KEPT_BYTES_MAX {
            let Some(largest) = self.open.values_mut().max_by_key(|prepared| prepared.bytes) else { break };
            self.bytes -= largest.forget_rows();
        }
    }

    /// It has done something that its rows don't tell.
    pub(super) fn spoil(&mut self, xid: &[u8]) {
        let Some(prepared) = self.open.get_mut(xid) else { return };
        self.bytes -= prepared.forget_rows();
        prepared.users = Arc::default();
    }

    /// It has ended, one way or the other; `None`: it was not seen, or has no name.
    pub(super) fn end(&mut self, xid: &[u8]) -> Option<Prepared> {
        let prepared = self.open.remove(xid)?;
        self.bytes -= prepared.bytes;
        Some(prepared)
    }
}

/// What the log has told lately of the tables that are read beside it, by dataset.
#[derive(Default)]
pub(super) struct Recent {
    told: HashMap<usize, VecDeque<(Instant, Arc<Rows>)>>,
    bytes: usize,
}

impl Recent {
    /// Adds some; `false`: there are too many to be kept, and now there are none of this dataset.
    pub(super) fn add(&mut self, dataset: usize, rows: &Arc<Rows>) -> bool {
        self.bytes += rows.bytes;
        self.told.entry(dataset).or_default().push_back((Instant::now(), Arc::clone(rows)));
        let has_room = self.bytes <= KEPT_BYTES_MAX;
        if !has_room {
            self.clear(dataset);
        }
        has_room
    }

    /// Forgets what the server shows by now.
    pub(super) fn forget_seen(&mut self, dataset: usize) {
        let Some(told) = self.told.get_mut(&dataset) else { return };
        while let Some((_, rows)) = told.pop_front_if(|(told_at, _)| told_at.elapsed() > SEEN_AFTER) {
            self.bytes -= rows.bytes;
        }
    }

    /// Forgets everything of a dataset.
    pub(super) fn clear(&mut self, dataset: usize) {
        let told = self.told.remove(&dataset).unwrap_or_default();
        self.bytes -= told.iter().map(|(_, rows)| rows.bytes).sum::<usize>();
    }

    /// All of a dataset's, in the order in which it was told.
    pub(super) fn of(&self, dataset: usize) -> Vec<Arc<Rows>> {
        self.told.get(&dataset).into_iter().flatten().map(|(_, rows)| Arc::clone(rows)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::log::images::Layout;

    fn rows(bytes: usize) -> Rows {
        let layout = Arc::new(Layout::named("shop", "orders"));
        Rows { layout, is_full: true, changes: Vec::new(), bytes }
    }

    fn key(table: &str) -> (String, String) {
        ("shop".to_owned(), table.to_owned())
    }

    #[test]
    fn rows_are_kept_until_their_transaction_ends() {
        let users = Arc::new(Users::from([(key("orders"), vec![0]), (key("items"), vec![1])]));
        let mut all = PreparedTransactions::default();
        all.begin(b"a", &users);
        all.keep(b"a", rows(10), &[0]);
        all.keep(b"unknown", rows(10), &[0]);
        let prepared = all.end(b"a").expect("it was seen");
        assert!(prepared.may_touch(0, &key("orders")) && prepared.has_rows_of(0));
        assert!(!prepared.may_touch(1, &key("items")), "it has not changed them");
        assert!(prepared.may_touch(1, &key("others")) && !prepared.has_rows_of(1), "nobody read them then");
        assert_eq!(prepared.into_rows().len(), 1);
        assert!(all.end(b"a").is_none() && all.bytes == 0);
    }

    #[test]
    fn of_too_many_rows_only_their_tables_are_remembered() {
        let users = Arc::new(Users::from([(key("orders"), vec![0])]));
        let mut all = PreparedTransactions::default();
        all.begin(b"a", &users);
        all.begin(b"b", &users);
        all.keep(b"a", rows(KEPT_BYTES_MAX - 1), &[0]);
        all.keep(b"b", rows(2), &[0]);
        all.keep(b"b", rows(1), &[0]);
        let too_many = all.end(b"a").expect("it was seen");
        assert!(too_many.may_touch(0, &key("orders")) && !too_many.has_rows_of(0));
        assert!(all.end(b"b").expect("it was seen").has_rows_of(0) && all.bytes == 0);
    }

    #[test]
    fn one_that_was_more_than_rows_may_have_touched_everything() {
        let users = Arc::new(Users::from([(key("orders"), vec![0]), (key("items"), vec![1])]));
        let mut all = PreparedTransactions::default();
        all.begin(b"a", &users);
        all.keep(b"a", rows(10), &[0]);
        all.spoil(b"a");
        let spoilt = all.end(b"a").expect("it was seen");
        assert!(spoilt.may_touch(1, &key("items")) && !spoilt.has_rows_of(0) && all.bytes == 0);
    }

    #[test]
    fn what_was_told_lately_is_told_again_unless_it_is_too_much() {
        let mut recent = Recent::default();
        assert!(recent.add(0, &Arc::new(rows(KEPT_BYTES_MAX - 2))) && recent.add(0, &Arc::new(rows(1))));
        assert!(recent.add(1, &Arc::new(rows(1))));
        assert_eq!(recent.of(0).iter().map(|rows| rows.bytes).collect::<Vec<_>>(), [KEPT_BYTES_MAX - 2, 1]);
        assert!(!recent.add(0, &Arc::new(rows(1))) && recent.of(0).is_empty());
        assert!(recent.of(1).len() == 1 && recent.bytes == 1);
    }
}
