//! The jobs that are due and have not started: what a worker keeps between two looks at the state.
//!
//! A look brings only what has become due since the one before, so that a long queue is not read again for
//! each job that ends. What is kept here is a hint: a claim decides, and gives the rows as they are.
//!
//! Jobs wait in a queue per container, so that a full one costs nothing however much waits for it: taking the
//! next job is logarithmic in the queues.

use crate::caps::{self, JobKey, job_key};
use levada_model::NodeAddress;
use levada_model::model::Priority;
use levada_model::name::ContainerName;
use levada_state::nodes::HotNode;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// In which order jobs start: the highest priority first, then the longest due.
type Turn = (Reverse<Priority>, i64);

/// What jobs wait for together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Queue {
    /// Nothing but a free place.
    Free,
    /// Nothing at all: a job that goes on without an end.
    Endless,
    /// A connection to a container.
    Container(ContainerName),
}

/// A job with the rows of it that are due.
#[derive(Debug)]
struct Waiting {
    turn: Turn,
    queue: Queue,
    rows: BTreeMap<NodeAddress, HotNode>,
}

/// A job that could start.
#[derive(Debug)]
pub struct Candidate {
    /// Which one.
    pub key: JobKey,
    /// Its rows that are due, by address.
    pub rows: Vec<HotNode>,
    /// Whether it goes on without an end.
    pub is_endless: bool,
}

/// Jobs that wait for their start.
#[derive(Debug, Default)]
pub struct Ready {
    jobs: HashMap<JobKey, Waiting>,
    queues: BTreeMap<Queue, BTreeSet<(Turn, JobKey)>>,
    /// By row, its job.
    known: HashMap<NodeAddress, JobKey>,
}

impl Ready {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Adds a row as it was read; one that is known is replaced.
    pub fn add(&mut self, row: HotNode, is_endless: bool) {
        let (key, address) = (job_key(&row), row.node.address.clone());
        if self.known.get(&address).is_some_and(|before| *before != key) {
            self.remove(&address);
        }
        let turn = (Reverse(row.priority), row.due_at.unwrap_or(i64::MIN));
        let queue = match caps::container(&row.node) {
            _ if is_endless => Queue::Endless,
            Some(container) => Queue::Container(container.clone()),
            None => Queue::Free,
        };
        self.known.insert(address.clone(), key.clone());
        let Some(waiting) = self.jobs.get_mut(&key) else {
            self.queues.entry(queue.clone()).or_default().insert((turn, key.clone()));
            self.jobs.insert(key, Waiting { turn, queue, rows: BTreeMap::from([(address, row)]) });
            return;
        };
        waiting.rows.insert(address, row);
        let before = std::mem::replace(&mut waiting.turn, turn_of(&waiting.rows));
        let (turn, old_queue) = (waiting.turn, std::mem::replace(&mut waiting.queue, queue.clone()));
        self.unqueue(&old_queue, before, &key);
        self.queues.entry(queue).or_default().insert((turn, key));
    }

    /// Forgets a row: it was claimed, or is not there to be claimed.
    pub fn remove(&mut self, address: &NodeAddress) {
        let Some(key) = self.known.remove(address) else { return };
        let Some(waiting) = self.jobs.get_mut(&key) else { return };
        waiting.rows.remove(address);
        let (before, queue) = (waiting.turn, waiting.queue.clone());
        if waiting.rows.is_empty() {
            self.jobs.remove(&key);
            self.unqueue(&queue, before, &key);
            return;
        }
        waiting.turn = turn_of(&waiting.rows);
        let turn = waiting.turn;
        self.unqueue(&queue, before, &key);
        self.queues.entry(queue).or_default().insert((turn, key));
    }

    /// Forgets everything, before it is read again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn unqueue(&mut self, queue: &Queue, turn: Turn, key: &JobKey) {
        if let Some(jobs) = self.queues.get_mut(queue) {
            jobs.remove(&(turn, key.clone()));
            if jobs.is_empty() {
                self.queues.remove(queue);
            }
        }
    }

    /// Gives the jobs that may start, in their order, to `take`, which says what to do next.
    pub fn each(&self, mut take: impl FnMut(Candidate) -> Next) {
        let mut queues: Vec<_> = self.queues.iter().map(|(queue, jobs)| (queue, jobs.iter())).collect();
        let mut heads = BinaryHeap::new();
        for (position, (_, jobs)) in queues.iter_mut().enumerate() {
            heads.extend(jobs.next().map(|job| Reverse((job, position))));
        }
        while let Some(Reverse(((_, key), position))) = heads.pop() {
            let (queue, jobs) = &mut queues[position];
            let rows = self.jobs[key].rows.values().cloned().collect();
            let candidate = Candidate { key: key.clone(), rows, is_endless: **queue == Queue::Endless };
            match take(candidate) {
                Next::Go => heads.extend(jobs.next().map(|job| Reverse((job, position)))),
                Next::QueueIsFull => {}
                Next::OnlyEndless if **queue == Queue::Endless => {
                    heads.extend(jobs.next().map(|job| Reverse((job, position))));
                }
                Next::OnlyEndless => heads.retain(|Reverse((_, position))| *queues[*position].0 == Queue::Endless),
            }
        }
    }
}

/// What comes after a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The next one.
    Go,
    /// The next one that waits for something else.
    QueueIsFull,
    /// Only jobs without an end: there is no place for others.
    OnlyEndless,
}

fn turn_of(rows: &BTreeMap<NodeAddress, HotNode>) -> Turn {
    let turns = rows.values().map(|row| (Reverse(row.priority), row.due_at.unwrap_or(i64::MIN)));
    turns.min().expect("a job that waits has a row")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::tests::export;

    fn started(ready: &Ready, mut next: impl FnMut(&str) -> Next) -> Vec<String> {
        let mut started = Vec::new();
        ready.each(|candidate| {
            let names: Vec<String> = candidate.rows.iter().map(|row| row.node.address.to_string()).collect();
            let next = next(&names[0]);
            if next == Next::Go {
                started.push(names.join(" "));
            }
            next
        });
        started
    }

    #[test]
    fn jobs_start_by_priority_then_by_how_long_they_are_due_each_with_all_of_its_rows() {
        let mut ready = Ready::default();
        for (row, due_at, priority) in [
            ("c/S/a", 9, Priority::Medium),
            ("d/S/a", 5, Priority::Medium),
            ("c/S/b", 3, Priority::Medium),
            ("e/S/a", 7, Priority::High),
        ] {
            ready.add(export(row, due_at, priority), false);
        }
        let all = ["Export/P/e/S/a", "Export/P/c/S/a Export/P/c/S/b", "Export/P/d/S/a"];
        assert_eq!(started(&ready, |_| Next::Go), all);
        ready.remove(&"Export/P/c/S/b".parse().expect("an address"));
        assert_eq!(started(&ready, |_| Next::Go), ["Export/P/e/S/a", "Export/P/d/S/a", "Export/P/c/S/a"]);
        ready.add(export("c/S/a", 1, Priority::Critical), false);
        assert_eq!(started(&ready, |_| Next::Go)[0], "Export/P/c/S/a", "a row that was read again has its new turn");
    }

    #[test]
    fn a_full_container_holds_up_nobody_else() {
        let mut ready = Ready::default();
        for number in 0..1_000 {
            ready.add(export(&format!("full/S{number}/a"), number, Priority::High), false);
        }
        ready.add(export("free/S/a", 2_000, Priority::Low), false);
        let mut looked_at = 0;
        let started = started(&ready, |name| {
            looked_at += 1;
            if name.contains("/full/") { Next::QueueIsFull } else { Next::Go }
        });
        assert_eq!((started, looked_at), (vec!["Export/P/free/S/a".to_owned()], 2));
    }

    #[test]
    fn where_no_place_is_left_only_jobs_without_an_end_go_on() {
        let mut ready = Ready::default();
        for number in 0..10 {
            ready.add(export(&format!("c{number}/S/a"), number, Priority::High), false);
        }
        ready.add(export("log/S/a", 99, Priority::Low), true);
        let mut places = 3;
        let started = started(&ready, |name| match places {
            _ if name.contains("/log/") => Next::Go,
            0 => Next::OnlyEndless,
            _ => {
                places -= 1;
                Next::Go
            }
        });
        assert_eq!(started.len(), 4);
        assert_eq!(started[3], "Export/P/log/S/a");
        ready.clear();
        assert!(ready.is_empty());
    }
}
