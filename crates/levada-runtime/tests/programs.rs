//! Transformers that are programs end with whoever started them, and so does what they started.

use crate::world::{Nodes, World, address, nodes, rows};
use levada_flow::sink::Form;
use levada_model::model::{Code, Program, Run};
use levada_planner::NodeSpec;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the folder in which a worker of [`a_worker_in_a_process_of_its_own`] works.
const FOLDER: &str = "LEVADA_TEST_FOLDER";

/// How long processes may take to be gone, in seconds.
const GONE_SECONDS_MAX: u64 = 30;

/// The nodes of the world, its transformer a shell script that leaves its own process id and
/// that of a child in `pids`.
fn by_script(folder: &Path, end: &str) -> Nodes {
    let pids = folder.join("pids");
    let script = format!("sleep 4711 & echo $$ $! > '{0}.new'; mv '{0}.new' '{0}'; {end}", pids.display());
    let mut nodes = nodes("Shop");
    let node = nodes.get_mut(&address("Transform/P/W")).expect("it is there");
    let NodeSpec::Transform(spec) = &mut node.spec else { unreachable!("it is a transformer") };
    spec.code = Code::Program(Program {
        run: Run::Command(vec!["sh".to_owned(), "-c".to_owned(), script]),
        folder: String::new(),
        timeout: None,
        memory_bytes: None,
        credentials: Vec::new(),
    });
    nodes
}

async fn world(folder: &Path, end: &str) -> World {
    let world = World::of(Form::Changes, by_script(folder, end)).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world
}

/// Waits for the script to have started its child.
async fn started(folder: &Path) -> Vec<PathBuf> {
    loop {
        if let Ok(pids) = std::fs::read_to_string(folder.join("pids")) {
            let processes = pids.split_whitespace().map(|pid| Path::new("/proc").join(pid));
            return processes.collect();
        }
        tokio::task::yield_now().await;
    }
}

async fn are_gone(processes: &[PathBuf]) {
    let since = Instant::now();
    // A dead process that nobody has collected yet has no command line any more.
    let is_alive = |process: &PathBuf| std::fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty());
    while let Some(process) = processes.iter().find(|process| is_alive(process)) {
        assert!(since.elapsed() < Duration::from_secs(GONE_SECONDS_MAX), "{} lives on", process.display());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_takes_its_children_along() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = world(folder.path(), "sleep 4712").await;
    let processes = tokio::select! {
        _ = world.run() => panic!("the script does not end"),
        processes = started(folder.path()) => processes,
    };
    // The worker was dropped in the middle of its job.
    are_gone(&processes).await;
}

#[tokio::test]
async fn a_program_that_ends_leaves_nobody_behind_and_is_not_waited_for_longer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = world(folder.path(), "exit 0").await;
    let both = async { tokio::join!(world.run(), started(folder.path())) };
    let both = tokio::time::timeout(Duration::from_secs(GONE_SECONDS_MAX), both).await;
    let (ending, processes) = both.expect("nobody waits for what the program left behind");
    let reason = ending.failed.get(&address("Transform/P/W")).expect("it fails");
    assert!(reason.contains("left no orders.parquet"), "{reason}");
    are_gone(&processes).await;
}

#[tokio::test]
async fn a_killed_worker_takes_its_programs_and_their_children_along() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut worker = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "programs::a_worker_in_a_process_of_its_own"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started again");
    let processes = started(folder.path()).await;
    worker.kill().expect("it runs");
    worker.wait().expect("it was started here");
    are_gone(&processes).await;
}

/// The worker that the test above starts and kills; does nothing by itself.
#[tokio::test]
async fn a_worker_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    world(Path::new(&folder), "sleep 4712").await.run().await;
}
