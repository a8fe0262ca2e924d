//! The command line: what can be typed, and its help.

use clap::{Args, Parser, Subcommand, ValueEnum};
use levada_model::name::PlatformName;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Data platforms that need no pipeline code.
///
/// Describe in git what teams produce and need; Levada chooses platforms, moves the data, keeps
/// every version and delivers the difference. Start with `levada demo`.
#[derive(Parser, Debug)]
#[command(name = "levada", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The model's folder, always the last positional.
#[derive(Args, Debug, Clone)]
pub struct Dir {
    /// The folder with ecosystem.yaml
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
}

/// How to print.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How to print a graph.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GraphFormat {
    /// An indented list.
    #[default]
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// For programs.
    Json,
}

/// How to print a plan.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PlanFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For a comment on a change.
    Markdown,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// SARIF 2.1.0, for services that annotate a change.
    Sarif,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write a small ecosystem to start from
    #[command(after_help = "Example: levada init my-ecosystem")]
    Init(ListArgs),
    /// Print the JSON Schema of model files
    #[command(after_help = "Example: levada schema > levada.schema.json")]
    Schema,
    /// Run the worked example on real databases, start to finish
    #[command(after_help = "Example: levada demo --target postgres://me:secret@localhost/reporting")]
    Demo(DemoArgs),
    /// Load the model and report every mistake in it
    #[command(
        after_help = "Examples:\n  levada check --format json\n  levada check --against origin/main --format sarif > levada.sarif"
    )]
    Check(CheckArgs),
    /// Print the intention graphs
    #[command(after_help = "Example: levada graph --format mermaid")]
    Graph(GraphArgs),
    /// Say why something is as it is
    #[command(after_help = "Example: levada explain Dataset/NW_Data/customers")]
    Explain(ExplainArgs),
    /// Show what would change
    #[command(after_help = "Examples:\n  levada plan --detailed-exitcode\n  levada plan --save friday.plan")]
    Plan(PlanArgs),
    /// Make the model the target
    #[command(after_help = "Examples:\n  levada apply --yes\n  levada apply --plan friday.plan")]
    Apply(ApplyArgs),
    /// Run the worker: ingest, transform, deliver
    #[command(after_help = "Example: levada run --until-idle")]
    Run(RunArgs),
    /// Bring the state's tables to this build's version
    #[command(after_help = "Example: levada migrate")]
    Migrate(ListArgs),
    /// Show what runs, lags and failed
    #[command(after_help = "Example: levada status --format json")]
    Status(ListArgs),
    /// Show past runs, the newest first
    #[command(after_help = "Example: levada jobs --limit 20")]
    Jobs(LimitArgs),
    /// Show committed batches, the newest first
    #[command(after_help = "Example: levada batches --limit 20")]
    Batches(LimitArgs),
    /// Show what is kept, for whom, until when
    #[command(after_help = "Example: levada store")]
    Store(ListArgs),
    /// Query the store
    #[command(
        after_help = "Examples:\n  levada sql 'SELECT count(*) FROM NW_Data.customers'\n  levada sql 'SELECT * FROM NW_Data.customers FOR VERSION AS OF 1'\n  levada sql 'SELECT * FROM NW_Data.\"customers$history\"'"
    )]
    Sql(SqlArgs),
    /// Rebuild a consumer's data from the store
    #[command(after_help = "Example: levada rehydrate Reporting/NW_Data.customers")]
    Rehydrate(RehydrateArgs),
    /// Compare store, delivered copies and producers row by row
    #[command(after_help = "Example: levada verify --source")]
    Verify(VerifyArgs),
    /// Answer questions about the model over HTTP, and follow its files
    #[command(after_help = "Example: levada serve --listen 127.0.0.1:8080")]
    Serve(ServeArgs),
    /// Make the branch of the model's git repository the target, as far as it holds, and have each platform
    /// take it up in its windows
    #[command(
        after_help = "Examples:\n  levada follow /srv/model\n  as a line for cron: */5 * * * * levada follow --once /srv/model"
    )]
    Follow(FollowArgs),
    /// Agree that a platform takes up what waits for somebody to agree
    #[command(after_help = "Example: levada approve Production")]
    Approve(ApproveArgs),
    /// Bring an earlier blueprint back, as a new generation
    #[command(after_help = "Example: levada rollback 41")]
    Rollback(RollbackArgs),
    /// Write one platform's part as files
    #[command(
        after_help = "Examples:\n  levada render --platform Lake --out deployment\n  levada render --platform Lake --git ../deployment.git#main"
    )]
    Render(RenderArgs),
    /// Ask or try the programs of external platforms
    #[command(subcommand)]
    Platform(PlatformCommand),
}

/// `levada platform`
#[derive(Subcommand, Debug)]
pub enum PlatformCommand {
    /// Ask a platform's program what it can do, and keep the answer for `check`
    #[command(after_help = "Example: levada platform describe Partner")]
    Describe(DescribeArgs),
    /// Print the JSON Schema of the platform protocol
    #[command(after_help = "Example: levada platform schema > protocol.schema.json")]
    Schema,
    /// Try a program against the platform protocol
    #[command(after_help = "Example: levada platform test ./partner.py")]
    Test(TestArgs),
}

/// `levada demo`
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Use this database as the producer: postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// Use this database as the consumer
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Work in this folder and leave it there
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

/// `levada check`
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Also tell what changed since this commit, branch or tag of the model's git repository for whoever
    /// consumed it, and refuse what breaks them
    #[arg(long, value_name = "REV")]
    pub against: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada graph`
#[derive(Args, Debug)]
pub struct GraphArgs {
    /// Only this platform's graph
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// What to explain, such as Group/WORKSPACE/GROUP or Ingest/PLATFORM/STORE
    #[arg(value_name = "ADDRESS")]
    pub address: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada plan`
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Exit with 3 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Show every node and every line, however many there are
    #[arg(long)]
    pub details: bool,
    /// Keep the plan in this file, for levada apply --plan
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada apply`
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// Apply this saved plan, as it is or not at all, and don't ask
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada run`
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Jobs at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Pull every stream once now, follow all that results, and end
    #[arg(long)]
    pub until_idle: bool,
    /// Do the work of this platform's pods: for a platform that is hosted on Kubernetes
    #[arg(long, value_name = "NAME")]
    pub platform: Option<PlatformName>,
    /// Serve /healthz and /metrics here; on another address than a loopback one /metrics needs a token
    /// (LEVADA_SERVE_TOKEN)
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// How to print what happens; json: one object a line
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// Commands with nothing to tell them but how to print.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// Commands that list the newest of many.
#[derive(Args, Debug)]
pub struct LimitArgs {
    /// At most so many rows
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada sql`
#[derive(Args, Debug)]
pub struct SqlArgs {
    /// The query
    pub query: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada rehydrate`
#[derive(Args, Debug)]
pub struct RehydrateArgs {
    /// WORKSPACE or WORKSPACE/STORE.DATASET
    pub what: String,
    /// How to print what happens; json: one object a line
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada serve`
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Where to listen; port 0: any that is free. Another address than a loopback one needs a token
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada follow`
#[derive(Args, Debug)]
pub struct FollowArgs {
    /// Once, and end
    #[arg(long)]
    pub once: bool,
    /// How often to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub every: u64,
    /// How to print; json: one object for each round that changed something
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada approve`
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// Which platform may take up what waits for it
    #[arg(value_name = "PLATFORM")]
    pub platform: PlatformName,
    /// Only if it is this generation; unless told: the target
    #[arg(long, value_name = "NUMBER")]
    pub generation: Option<i64>,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada rollback`
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Which generation comes back
    #[arg(value_name = "GENERATION")]
    pub generation: i64,
    /// Don't ask
    #[arg(long)]
    pub yes: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada render`
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// Whose part
    #[arg(long, value_name = "NAME")]
    pub platform: String,
    /// Into this folder; unless told: settings.out or settings.git of the platform
    #[arg(long, value_name = "FOLDER", conflicts_with = "git")]
    pub out: Option<PathBuf>,
    /// Onto this branch: one push, and only if something differs
    #[arg(long, value_name = "REPOSITORY#BRANCH")]
    pub git: Option<String>,
    /// Write over files that somebody edited
    #[arg(long)]
    pub force: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada platform describe`
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// Whose program
    #[arg(value_name = "PLATFORM")]
    pub platform: String,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}

/// `levada platform test`
#[derive(Args, Debug)]
pub struct TestArgs {
    /// The program
    #[arg(value_name = "PATH")]
    pub program: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `levada verify`
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Only what this workspace sees
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<String>,
    /// What this platform's pods run, for a platform that is hosted on Kubernetes; its store lies there
    #[arg(long, value_name = "NAME")]
    pub platform: Option<PlatformName>,
    /// Also read every producer once
    #[arg(long)]
    pub source: bool,
    /// Compare what delivered histories and store say of this moment, such as 2026-03-31T18:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "source")]
    pub as_of: Option<jiff::Timestamp>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub dir: Dir,
}
