//! Delivers to consumers in a folder.
//!
//! Rows are Parquet files under `levada/STORE/DATASET/`, written once whoever reads them:
//! `changes/batch=N.parquet`, `live/batch=N/part-*.parquet`, `history/batch=N/part-*.parquet`. A
//! workspace reads what `WORKSPACE/STORE/DATASET/_latest.json` names, the workspace's name as the
//! model writes it; it is replaced last. A second platform that delivers the dataset writes its files
//! under `levada/STORE/DATASET~HASH/`. A `.levadaignore` in `levada` and in each workspace's folder
//! keeps all of it out of a model that the container lies in. Where
//! `batch=N` is taken (the same batch in a new shape), the folder is `batch=N.2` and so on. The files
//! of the delivery before stay one more delivery, for readers that have them open.
//!
//! **All or nothing** holds for each dataset; of several in one delivery all files are written
//! before the first is committed, but a crash in between leaves some a batch behind, which their
//! marks tell. **Fencing** is by the marks, under a lock of the dataset's folder. **Readers** have
//! no image: grants are the file system's.

use super::applied::{Applied, CHANGES_MAX, DELIVERED, DatasetFolder, Files, Row};
use super::config::{failed, folder};
use super::parquet;
use super::replace::{make_folder, sync_folder};
use crate::thread;
use async_trait::async_trait;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::sink::{
    Content, Delivered, DeliveredTable, Form, Mark, TableDelivery, fence, fence_epoch, history_schema,
};
use levada_flow::{FlowError, RowStream, Sink};
use levada_model::Schema;
use levada_model::connection::Connection;
use std::path::{Path, PathBuf};

pub use super::applied::Latest;

/// A consumer's folder.
pub struct FilesSink {
    root: PathBuf,
}

/// Opens a consumer's folder; relative paths start at `root`. A missing folder is made by the
/// first delivery.
///
/// # Errors
/// The connection has no path, or something else than a folder is there.
pub fn open(connection: &Connection, root: &Path) -> Result<FilesSink, FlowError> {
    let root = folder(connection, root)?;
    match root.exists() && !root.is_dir() {
        true => Err(FlowError::never(format!("{} is not a folder", root.display()))),
        false => Ok(FilesSink { root }),
    }
}

#[async_trait]
impl Sink for FilesSink {
    fn form(&self) -> Form {
        Form::Everything
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        let (root, tables) = (self.root.clone(), tables.to_vec());
        thread::run(move || tables.iter().map(|table| mark(&root, table)).collect()).await
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let root = self.root.clone();
        thread::run(move || deliver(&root, deliveries)).await
    }

    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        let (root, tables) = (self.root.clone(), tables.to_vec());
        thread::run(move || tables.iter().try_for_each(|table| remove(&root, table, epoch))).await
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        let folder = DatasetFolder::new(&self.root, table);
        let missing = || FlowError::never(format!("{} was not delivered", table.source));
        let (_, row) = row_of(&folder.read()?, table).ok_or_else(missing)?;
        let files = if is_history { row.history } else { row.live }.ok_or_else(missing)?;
        let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
        // What was delivered has the consumer's names.
        let columns = schema.columns.into_iter().map(|column| levada_model::SchemaColumn { from: None, ..column });
        let schema = Schema { columns: columns.collect() };
        let root = self.root.clone();
        Ok(thread::rows(move |out| {
            for name in &files.names {
                let path = root.join(&files.folder).join(name);
                parquet::read(&path, &schema, |rows| thread::put(out, Ok(rows)))?;
            }
            Ok(())
        }))
    }
}

/// The platform's row, whatever its tables were named when it was written.
fn row_of(applied: &Applied, table: &DeliveredTable) -> Option<(String, Row)> {
    let is_own = |row: &Row| row.platform.as_deref() == Some(table.platform.as_str());
    let own = applied.rows.iter().find(|(_, row)| is_own(row));
    let mut names = table.live.iter().chain(&table.history);
    let found = own.or_else(|| names.find_map(|name| applied.rows.get_key_value(name)));
    found.map(|(name, row)| (name.clone(), row.clone()))
}

fn mark(root: &Path, table: &DeliveredTable) -> Result<Option<Mark>, FlowError> {
    let folder = DatasetFolder::new(root, table);
    let applied = folder.read()?;
    let mark = row_of(&applied, table).map(|(_, row)| row.mark());
    if mark.is_some()
        && let Ok(folder) = DatasetFolder::lock(root, table)
    {
        // After a crash some workspace may not know yet what was committed.
        folder.tell(folder.read()?)?;
    }
    Ok(mark)
}

/// A dataset whose new files are written and not yet committed.
struct Written {
    folder: DatasetFolder,
    before: Applied,
    after: Applied,
}

fn deliver(root: &Path, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
    make_folder(root)?;
    let mut locked = Vec::new();
    for delivery in deliveries {
        let folder = DatasetFolder::lock(root, &delivery.table)?;
        let before = folder.read()?;
        let there = row_of(&before, &delivery.table);
        let there = there.as_ref().map(|(_, row)| row.mark());
        fence(&delivery.table.source, there.as_ref(), &delivery.mark, delivery.expected.as_ref())?;
        locked.push((folder, before, delivery));
    }
    let mut all = Delivered::default();
    let mut written = Vec::new();
    for (folder, before, delivery) in locked {
        let (after, delivered) = write(&folder, &before, delivery)?;
        all.rows += delivered.rows;
        all.bytes += delivered.bytes;
        written.push(Written { folder, before, after });
    }
    for Written { folder, before, after } in &written {
        folder.commit(before, after.clone())?;
    }
    for Written { folder, before, after } in &written {
        folder.sweep(before, after)?;
    }
    Ok(all)
}

/// Writes all files of one delivery and says what will be valid.
fn write(folder: &DatasetFolder, before: &Applied, delivery: TableDelivery) -> Result<(Applied, Delivered), FlowError> {
    let TableDelivery { table, content, mark, expected: _ } = delivery;
    let mut after = before.clone();
    let name = table.live.as_ref().or(table.history.as_ref()).cloned();
    let name =
        name.ok_or_else(|| FlowError::never(format!("{} has neither a live nor a history table", table.source)))?;
    let old = row_of(before, &table).map(|(name, row)| {
        after.rows.remove(&name);
        row
    });
    let kept = |files: fn(&Row) -> &Option<Files>| old.as_ref().and_then(|row| files(row).clone());
    let mut row = Row {
        platform: Some(table.platform.to_string()),
        batch: mark.batch,
        incarnation: mark.incarnation,
        epoch: mark.epoch,
        shape: mark.shape,
        live: kept(|row| &row.live).filter(|_| table.live.is_some()),
        history: kept(|row| &row.history).filter(|_| table.history.is_some()),
        changes: old.as_ref().map_or(Vec::new(), |row| row.changes.clone()),
        previous: Vec::new(),
        workspaces: Default::default(),
    };
    let mut delivered = Delivered::default();
    let (root, place) = (&folder.root, folder.rows_folder(&name));
    match content {
        Content::Nothing => {}
        Content::Changes { .. } => return Err(FlowError::never("a folder of files takes everything, not changes")),
        Content::Everything { changes, live, history } => {
            if let Some((rows, _)) = changes {
                row.changes.extend(write_changes(root, &place, row.batch, rows, &mut delivered)?);
            }
            if let Some(rows) = live.filter(|_| table.live.is_some()) {
                row.live = Some(write_reading(root, &place, "live", row.batch, &table.schema, rows, &mut delivered)?);
            }
            if let Some(rows) = history.filter(|_| table.history.is_some()) {
                let schema = history_schema(&table.schema);
                row.history = Some(write_reading(root, &place, "history", row.batch, &schema, rows, &mut delivered)?);
            }
        }
    }
    row.previous = previous(old.as_ref(), &row);
    let surplus = row.changes.len().saturating_sub(CHANGES_MAX);
    row.previous.extend(row.changes.drain(..surplus));
    row.show(&table)?;
    after.rows.values_mut().for_each(|other| other.leave_to(&row));
    after.rows.insert(name, row);
    Ok((after, delivered))
}

/// What the row named before and names no more; where nothing changed, what was kept already.
fn previous(old: Option<&Row>, new: &Row) -> Vec<String> {
    let Some(old) = old else { return Vec::new() };
    let folders = |row: &Row| row.live.iter().chain(&row.history).map(|files| files.folder.clone()).collect::<Vec<_>>();
    let now = folders(new);
    let gone: Vec<String> = folders(old).into_iter().filter(|folder| !now.contains(folder)).collect();
    if gone.is_empty() { old.previous.clone() } else { gone }
}

/// Writes one reading beside, then gives it its name.
fn write_reading(
    root: &Path,
    place: &str,
    reading: &str,
    batch: i64,
    schema: &Schema,
    rows: RowStream,
    delivered: &mut Delivered,
) -> Result<Files, FlowError> {
    let parent = root.join(place).join(reading);
    let beside = parent.join(".new");
    if beside.exists() {
        std::fs::remove_dir_all(&beside).map_err(|error| failed("removed", &beside, error))?;
    }
    make_folder(&beside)?;
    let (names, written) = parquet::write(&beside, &arrow_schema(schema), rows)?;
    sync_folder(&beside)?;
    let name = free_name(&parent, batch, "");
    let path = parent.join(&name);
    std::fs::rename(&beside, &path).map_err(|error| failed("named", &path, error))?;
    sync_folder(&parent)?;
    delivered.rows += written.rows;
    delivered.bytes += written.bytes;
    Ok(Files { folder: format!("{place}/{reading}/{name}"), names, rows: written.rows })
}

/// Writes the net changes; no file where there are none.
fn write_changes(
    root: &Path,
    place: &str,
    batch: i64,
    rows: RowStream,
    delivered: &mut Delivered,
) -> Result<Option<String>, FlowError> {
    let parent = root.join(place).join("changes");
    make_folder(&parent)?;
    let beside = parent.join(".new");
    let written = parquet::write_one(&beside, rows)?;
    if written.rows == 0 {
        return Ok(None);
    }
    let name = free_name(&parent, batch, ".parquet");
    let path = parent.join(&name);
    std::fs::rename(&beside, &path).map_err(|error| failed("named", &path, error))?;
    sync_folder(&parent)?;
    delivered.rows += written.rows;
    delivered.bytes += written.bytes;
    Ok(Some(format!("{place}/changes/{name}")))
}

/// `batch=N`, or the next number behind it where that is taken.
fn free_name(parent: &Path, batch: i64, ending: &str) -> String {
    let names = std::iter::once(format!("batch={batch}{ending}"));
    let mut names = names.chain((2..).map(|number: u64| format!("batch={batch}.{number}{ending}")));
    names.find(|name| !parent.join(name).exists()).expect("numbers don't end")
}

fn remove(root: &Path, table: &DeliveredTable, epoch: i64) -> Result<(), FlowError> {
    if !DatasetFolder::new(root, table).path().is_dir() {
        return Ok(());
    }
    let folder = DatasetFolder::lock(root, table)?;
    let before = folder.read()?;
    let mut after = before.clone();
    if let Some((name, row)) = row_of(&before, table) {
        fence_epoch(&table.source, &row.mark(), epoch)?;
        after.rows.remove(&name);
    }
    // Also where a crash came between the commit and the rest.
    folder.commit(&before, after.clone())?;
    folder.sweep(&before, &after)?;
    match after.rows.is_empty() {
        false => Ok(()),
        true => {
            let (path, all) = (folder.path(), root.join(DELIVERED));
            std::fs::remove_dir_all(&path).map_err(|error| failed("removed", &path, error))?;
            sync_folder(path.parent().unwrap_or(&all))
        }
    }
}
