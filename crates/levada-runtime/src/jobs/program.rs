//! Programs as transformers: any executable that reads files from a folder and writes files to one.
//!
//! It runs in the folder of the model file that names it, with nothing but these variables and the
//! usual ones to find programs (`PATH`, `HOME`, `LANG`, `TMPDIR`):
//!
//! | variable | meaning |
//! |---|---|
//! | `LEVADA_INPUT` | a folder with one `STORE.DATASET.parquet` per input |
//! | `LEVADA_OUTPUT` | an empty folder for one `DATASET.parquet` per output dataset |
//! | `LEVADA_RUN`, `LEVADA_WORKSPACE` | which run of which workspace |
//! | `LEVADA_VECTOR` | JSON: stream → batch that the inputs show |
//! | `LEVADA_CREDENTIAL_NAME_USER/_PASSWORD/_TOKEN` | the secrets that the model grants it |
//!
//! Exit code 0 means done; anything else, with the end of its standard error, is the reason of a
//! failed try. It and all that it started in its process group are killed at its time limit, when
//! it has ended, and when its worker stops or dies.

use super::staging::{create_folder, open_input, output_columns, staging, write_parquet};
use super::trigger::Firing;
use crate::{JobError, Runtime};
use futures::StreamExt;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::fit::Fit;
use levada_flow::{BATCH_ROWS_MAX, FlowError, RowStream};
use levada_model::model::{OutputMode, Program, Run};
use levada_planner::blueprint::{TransformOutput, TransformSpec};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The longest run of a program that names no `timeout`, in seconds.
const TIMEOUT_SECONDS_DEFAULT: u64 = 3_600;
/// How much of the end of its standard error a failed program's reason shows, in bytes.
const STDERR_BYTES_MAX: usize = 4_096;
/// Variables of the worker that a program may see.
const VARIABLES_PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

pub(super) async fn run(
    runtime: &Runtime,
    spec: &TransformSpec,
    program: &Program,
    firing: &Firing,
    folder: &Path,
) -> Result<i64, JobError> {
    let input = create_folder(&folder.join("input"))?;
    let output = create_folder(&folder.join("output"))?;
    for dataset in &spec.inputs {
        let rows = open_input(runtime, dataset, firing).await?;
        let columns = arrow_schema(&dataset.schema);
        write_parquet(rows, columns, &input.join(format!("{}.parquet", dataset.source))).await?;
    }
    let mut command = command(runtime, spec, program, firing)?;
    command.env("LEVADA_INPUT", absolute(&input)?).env("LEVADA_OUTPUT", absolute(&output)?);
    run_to_end(command, spec, program).await?;

    let mut rows = 0;
    for dataset in &spec.outputs {
        let made = output.join(format!("{}.parquet", dataset.dataset));
        let fitted = read_fitted(&made, spec, dataset)?;
        let columns = output_columns(dataset, spec.mode);
        rows += write_parquet(fitted, columns, &folder.join(format!("{}.parquet", dataset.dataset))).await?;
    }
    for used in [input, output] {
        std::fs::remove_dir_all(&used).map_err(|source| staging("remove", &used, source))?;
    }
    Ok(rows)
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, JobError> {
    std::path::absolute(path).map_err(|source| staging("resolve", path, source))
}

fn command(runtime: &Runtime, spec: &TransformSpec, program: &Program, firing: &Firing) -> Result<Command, JobError> {
    let words = match &program.run {
        Run::Command(words) => words,
        Run::Image(image) => {
            return Err(FlowError::never(format!("this platform runs no container images, such as {image}"))
                .hint("use command: [...], or a platform that runs images")
                .into());
        }
    };
    let (first, rest) =
        words.split_first().ok_or_else(|| FlowError::never("the command of the transformer is empty"))?;
    let mut command = Command::new(first);
    command.args(rest).current_dir(runtime.root.join(&program.folder)).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in VARIABLES_PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LEVADA_RUN", &firing.run).env("LEVADA_WORKSPACE", spec.workspace.as_str());
    command.env("LEVADA_VECTOR", serde_json::to_string(&firing.vector).expect("plain data always serialises"));
    command.envs(runtime.connect.environment(&program.credentials)?);
    if let Some(bytes) = program.memory_bytes {
        limit_memory(&mut command, bytes);
    }
    Ok(command)
}

/// Makes the kernel bound the program's memory.
fn limit_memory(command: &mut Command, bytes: u64) {
    let set = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the call is async-signal-safe and touches only the new process.
        #[expect(unsafe_code, reason = "the kernel's limits have no safe interface in std")]
        let is_set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } == 0;
        if is_set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes an async-signal-safe call.
    #[expect(unsafe_code, reason = "limits must be set between fork and exec")]
    unsafe {
        command.pre_exec(set);
    }
}

async fn run_to_end(mut command: Command, spec: &TransformSpec, program: &Program) -> Result<(), JobError> {
    let name = &spec.transformer;
    let group = ProcessGroup::new().map_err(|error| {
        FlowError::never(format!("nothing can watch over the program of transformer {name}"))
            .because(error)
            .hint("the machine of the worker needs /bin/sh")
    })?;
    let mut child = command.process_group(group.id()).spawn().map_err(|error| {
        FlowError::never(format!("the program of transformer {name} can't be started"))
            .because(error)
            .hint(format!("it is looked up on PATH and runs in {}", program.folder))
    })?;
    let seconds = program.timeout.map_or(TIMEOUT_SECONDS_DEFAULT, |timeout| timeout.approximate_seconds());
    let mut stderr = child.stderr.take().expect("standard error is piped");
    // What it left running in its group holds its standard error open.
    let wait = async { child.wait().await.inspect(|_| group.kill()) };
    let end = async { tokio::join!(read_tail(&mut stderr), wait) };
    let ended = tokio::time::timeout(Duration::from_secs(seconds), end).await;
    let Ok((tail, status)) = ended else {
        return Err(FlowError::never(format!("the program of transformer {name} ran longer than {seconds} s"))
            .hint("raise code.timeout, or make it faster")
            .into());
    };
    let status = status.map_err(|error| FlowError::later(format!("lost the program of {name}")).because(error))?;
    match status.success() {
        true => Ok(()),
        false => Err(FlowError::later(format!("the program of transformer {name} ended with {status}: {tail}")).into()),
    }
}

/// The process group of a program and whatever it starts; killed when this is dropped.
///
/// Its first member is a guard that waits for the end of a pipe which only this process holds open,
/// and then kills the group: so it dies with its worker, however that dies.
struct ProcessGroup {
    guard: std::process::Child,
}

/// Reads until the pipe is closed; nothing is ever written to it. 0 is the group of whoever asks.
const GUARD: &str = "read -r nothing; kill -KILL 0";

impl ProcessGroup {
    fn new() -> std::io::Result<Self> {
        let mut guard = std::process::Command::new("/bin/sh");
        guard.args(["-c", GUARD]).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { guard: guard.process_group(0).spawn()? })
    }

    fn id(&self) -> i32 {
        i32::try_from(self.guard.id()).expect("process ids fit")
    }

    /// Kills all members.
    fn kill(&self) {
        // SAFETY: a negative id names a process group; the guard that gave it its id was not waited
        // for yet, so the id can't name anybody else's.
        #[expect(unsafe_code, reason = "process groups have no safe interface in std")]
        unsafe {
            libc::kill(-self.id(), libc::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
        // The wait only collects the dead guard; its status says nothing new.
        drop(self.guard.wait());
    }
}

async fn read_tail(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut tail = Vec::new();
    let mut piece = [0; STDERR_BYTES_MAX];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tail.extend_from_slice(&piece[..length]);
        let surplus = tail.len().saturating_sub(STDERR_BYTES_MAX);
        tail.drain(..surplus);
    }
    String::from_utf8_lossy(&tail).trim().to_owned()
}

fn read_fitted(path: &Path, spec: &TransformSpec, output: &TransformOutput) -> Result<RowStream, JobError> {
    let of = format!("{}.{}", spec.output, output.dataset);
    let file = File::open(path).map_err(|error| {
        FlowError::never(format!("transformer {} left no {}.parquet", spec.transformer, output.dataset))
            .because(error)
            .hint("write one Parquet file per output dataset into the folder LEVADA_OUTPUT")
    })?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>, of: &str| {
        FlowError::never(format!("the output for {of} is no readable Parquet file")).because(error)
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS_MAX).build())
        .map_err(|error| unreadable(error.into(), &of))?;
    let columns = arrow::array::RecordBatchReader::schema(&reader);
    let named = |error: FlowError, of: &str| FlowError { message: format!("output {of}: {}", error.message), ..error };
    let mut fit =
        Fit::new(&columns, &output.schema, spec.mode == OutputMode::Changes).map_err(|error| named(error, &of))?;
    let rows = reader.map(move |rows| {
        rows.map_err(|error| unreadable(error.into(), &of))
            .and_then(|rows| fit.apply(&rows).map_err(|error| named(error, &of)))
    });
    Ok(futures::stream::iter(rows).boxed())
}
