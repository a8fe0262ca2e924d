//! Sources and sinks that fail where a test tells them to.

use crate::sink::{Delivered, DeliveredTable, Form, Mark, TableDelivery};
use crate::source::{PullEnd, PullRequest, Pulled};
use crate::{FlowError, Position, RowStream, Sink, Source};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// Where to fail, once; calls and batches count from 1 over the life of the wrapper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// At the n-th call, before it does anything.
    Before(u64),
    /// At the n-th call, after all of it was done: the answer is lost.
    After(u64),
    /// After passing so many batches of rows on.
    Batch(u64),
}

fn broken(what: &str) -> FlowError {
    FlowError::later(format!("{what} broke off, as the test wants it"))
}

/// Counts calls and batches against one fault.
struct Countdown {
    fault: Fault,
    calls: u64,
    batches: u64,
}

impl Countdown {
    fn new(fault: Fault) -> Self {
        Self { fault, calls: 0, batches: 0 }
    }

    fn before(&mut self) -> Result<(), FlowError> {
        self.calls += 1;
        if self.fault == Fault::Before(self.calls) { Err(broken("the call")) } else { Ok(()) }
    }

    fn after<T>(&self, value: T) -> Result<T, FlowError> {
        if self.fault == Fault::After(self.calls) { Err(broken("the answer")) } else { Ok(value) }
    }

    /// Whether the next batch still goes through.
    fn batch(&mut self) -> Result<(), FlowError> {
        self.batches += 1;
        if self.fault == Fault::Batch(self.batches - 1) { Err(broken("the rows")) } else { Ok(()) }
    }
}

/// A source that fails once.
pub struct FaultySource<S> {
    inner: S,
    countdown: Countdown,
}

impl<S> FaultySource<S> {
    /// Wraps a source.
    pub fn new(inner: S, fault: Fault) -> Self {
        Self { inner, countdown: Countdown::new(fault) }
    }
}

#[async_trait]
impl<S: Source> Source for FaultySource<S> {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        self.countdown.before()?;
        self.inner.inspect(request).await?;
        self.countdown.after(())
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        self.countdown.before()?;
        let (sender, mut receiver) = mpsc::channel(1);
        let countdown = &mut self.countdown;
        let pass = async {
            while let Some(pulled) = receiver.recv().await {
                countdown.batch()?;
                out.send(pulled).await.map_err(|_| FlowError::later("the pull was given up by its receiver"))?;
            }
            Ok(())
        };
        let (end, ()) = futures::try_join!(self.inner.pull(request, sender), pass)?;
        self.countdown.after(end)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<(), FlowError> {
        self.countdown.before()?;
        self.inner.acknowledge(position).await?;
        self.countdown.after(())
    }

    async fn forget(&mut self, reader: &str) -> Result<(), FlowError> {
        self.countdown.before()?;
        self.inner.forget(reader).await?;
        self.countdown.after(())
    }
}

/// A sink that fails once; [`Fault::Batch`] has no meaning here.
pub struct FaultySink<S> {
    inner: S,
    countdown: Countdown,
}

impl<S> FaultySink<S> {
    /// Wraps a sink.
    pub fn new(inner: S, fault: Fault) -> Self {
        Self { inner, countdown: Countdown::new(fault) }
    }
}

#[async_trait]
impl<S: Sink> Sink for FaultySink<S> {
    fn form(&self) -> Form {
        self.inner.form()
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        self.countdown.before()?;
        let marks = self.inner.marks(tables).await?;
        self.countdown.after(marks)
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        self.countdown.before()?;
        let delivered = self.inner.deliver(deliveries).await?;
        self.countdown.after(delivered)
    }

    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        self.countdown.before()?;
        self.inner.remove(tables, epoch).await?;
        self.countdown.after(())
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        self.countdown.before()?;
        let rows = self.inner.read_back(table, is_history).await?;
        self.countdown.after(rows)
    }
}
