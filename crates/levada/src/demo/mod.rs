//! `levada demo`: the worked example on real databases, start to finish, with every command's real
//! output.

mod company;
mod database;

use crate::cli::{
    ApplyArgs, CheckArgs, CheckFormat, DemoArgs, Dir, Format, GraphArgs, GraphFormat, LimitArgs, PlanArgs, PlanFormat,
    RunArgs, SqlArgs, VerifyArgs,
};
use crate::{commands, show, stop};
use anyhow::{Context, Result, bail};
use database::Database;
use std::path::{Path, PathBuf};

/// The worked example, as it stands in the repository.
pub const EXAMPLE: [(&str, &str); 5] = [
    FILES[0],
    FILES[1],
    FILES[2],
    FILES[3],
    (
        "zones/usa/teams/northwind/team.yaml",
        include_str!("../../../../examples/northwind/zones/usa/teams/northwind/team.yaml"),
    ),
];

/// The example's files that the demo takes as they are.
const FILES: [(&str, &str); 4] = [
    ("ecosystem.yaml", include_str!("../../../../examples/northwind/ecosystem.yaml")),
    ("zones/usa/zone.yaml", include_str!("../../../../examples/northwind/zones/usa/zone.yaml")),
    (
        "zones/usa/teams/northwind/nw_data.yaml",
        include_str!("../../../../examples/northwind/zones/usa/teams/northwind/nw_data.yaml"),
    ),
    (
        "zones/usa/teams/northwind/mask_customers.sql",
        include_str!("../../../../examples/northwind/zones/usa/teams/northwind/mask_customers.sql"),
    ),
];
const NW_DATA: &str = "zones/usa/teams/northwind/nw_data.yaml";

/// Runs the demo.
pub async fn run(args: &DemoArgs) -> Result<bool> {
    let producer = Database::parse(args.source.as_deref(), "data/nw.db")?;
    let consumer = Database::parse(args.target.as_deref(), "data/warehouse.db")?;
    stop::signal()?;
    let root = folder(args)?;
    let dir = Dir { dir: root.clone() };
    write_model(&root, &producer, &consumer)?;
    producer.clear(&root).await?;
    producer.run(&root, &company::script()).await?;
    show::data(format!(
        "A trading company with {} customers, {} products, {} suppliers and {} orders.\nIts model is in {}",
        company::CUSTOMERS,
        company::PRODUCTS,
        company::SUPPLIERS,
        company::ORDERS,
        root.display()
    ));

    title("The model is checked, and woven into a graph", "levada check && levada graph")?;
    succeed(commands::check::run(&CheckArgs { against: None, format: CheckFormat::Text, dir: dir.clone() })?)?;
    let graph = GraphArgs { platform: None, format: GraphFormat::Text, dir: dir.clone() };
    succeed(commands::graph::run(&graph)?)?;

    title("What would become real, and making it so", "levada plan && levada apply --yes")?;
    plan(&dir).await?;
    apply(&dir).await?;

    title("The data flows: one load of the producer, a transformer, four deliveries", "levada run --until-idle")?;
    work(&dir).await?;
    batches(&dir).await?;
    title(
        "What the analysts see: names and phones are masked",
        "SELECT * FROM workspaceusingtransformeroutput.masked_nw_data_customers",
    )?;
    sample(&consumer, &root, "masked_nw_data_customers").await?;

    title("A day later the producer has changed five rows; only they move", "levada run --until-idle")?;
    producer.run(&root, company::A_DAY_LATER).await?;
    work(&dir).await?;
    batches(&dir).await?;

    title("Every version is kept: customer C0007 at the first batch, and now", "levada sql")?;
    let select = "SELECT customer_id, contact_name, city FROM NW_Data.customers";
    sql(&dir, &format!("{select} FOR VERSION AS OF 1 WHERE customer_id = 'C0007'")).await?;
    sql(&dir, &format!("{select} WHERE customer_id = 'C0007'")).await?;

    title(
        "The analysts need orders too: one line in git, and the plan is only that",
        "levada plan && levada apply --yes",
    )?;
    add_orders(&root)?;
    plan(&dir).await?;
    apply(&dir).await?;
    work(&dir).await?;
    sample(&consumer, &root, "nw_data_orders").await?;

    title("Store, consumers and producer hold the same rows", "levada verify --source")?;
    let verify = VerifyArgs {
        workspace: None,
        platform: None,
        source: true,
        as_of: None,
        format: Format::Text,
        dir: dir.clone(),
    };
    succeed(commands::verify::run(&verify).await?)?;

    let shown = root.display();
    show::data(format!(
        "\nTry next:\n  levada graph --format mermaid {shown}\n  levada explain Dataset/NW_Data/customers {shown}\n  levada sql 'SELECT * FROM NW_Data.\"customers$changes\" WHERE lv_batch = 2' {shown}"
    ));
    Ok(true)
}

fn folder(args: &DemoArgs) -> Result<PathBuf> {
    let Some(folder) = &args.keep else {
        return Ok(tempfile::Builder::new().prefix("levada-demo-").tempdir()?.keep());
    };
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    if std::fs::read_dir(folder)?.next().is_some() {
        bail!("{} is not empty; name a new folder", folder.display());
    }
    Ok(folder.canonicalize()?)
}

fn write_model(root: &Path, producer: &Database, consumer: &Database) -> Result<()> {
    let team = format!(
        "team: NorthWindTeam\ncontainers:\n  - container: nw_db\n    location: \"azure:us/east\"\n{}  - container: Test Azure SQL\n    location: \"azure:us/east\"\n{}",
        producer.container_yaml("nw_reader", true),
        consumer.container_yaml("warehouse_writer", false),
    );
    let files = FILES
        .into_iter()
        .chain([("zones/usa/teams/northwind/team.yaml", team.as_str()), ("levada.toml", "secrets = \"secrets\"\n")]);
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("every file lies in the model's folder"))?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    producer.write_secret(&root.join("secrets"), "nw_reader")?;
    consumer.write_secret(&root.join("secrets"), "warehouse_writer")
}

/// The change that a team would make in git.
fn add_orders(root: &Path) -> Result<()> {
    let path = root.join(NW_DATA);
    let before = std::fs::read_to_string(&path)?;
    let after =
        before.replace("NW_Data.products, NW_Data.suppliers]", "NW_Data.products, NW_Data.suppliers, NW_Data.orders]");
    if after == before {
        bail!("the example's workspace has changed; the demo no longer knows where to add a dataset");
    }
    Ok(std::fs::write(&path, after)?)
}

/// Begins the next step, unless the demo was stopped.
fn title(what: &str, command: &str) -> Result<()> {
    stop::check()?;
    show::data(format!("\n── {what}\n$ {command}\n"));
    Ok(())
}

fn succeed(is_done: bool) -> Result<()> {
    if is_done { Ok(()) } else { bail!("this step of the demo failed; the lines above say why") }
}

async fn plan(dir: &Dir) -> Result<()> {
    let args =
        PlanArgs { detailed_exitcode: false, details: false, save: None, format: PlanFormat::Text, dir: dir.clone() };
    commands::plan::run(&args).await.map(drop)
}

async fn apply(dir: &Dir) -> Result<()> {
    succeed(commands::apply::run(&ApplyArgs { plan: None, yes: true, format: Format::Text, dir: dir.clone() }).await?)
}

async fn work(dir: &Dir) -> Result<()> {
    let args =
        RunArgs { workers: 8, until_idle: true, platform: None, listen: None, format: Format::Text, dir: dir.clone() };
    succeed(commands::run::run(&args).await?)?;
    stop::check()
}

async fn batches(dir: &Dir) -> Result<()> {
    let args = LimitArgs { limit: 4, format: Format::Text, dir: dir.clone() };
    commands::status::batches(&args).await.map(drop)
}

async fn sql(dir: &Dir, query: &str) -> Result<()> {
    show::data(format!("-- {query}"));
    let args = SqlArgs { query: query.to_owned(), format: Format::Text, dir: dir.clone() };
    commands::sql::run(&args).await.map(drop)
}

async fn sample(consumer: &Database, root: &Path, view: &str) -> Result<()> {
    let (count, head, rows) = consumer.sample(root, "workspaceusingtransformeroutput", view).await?;
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    show::data(show::table(&head, &rows));
    show::data(format!("… {count} rows"));
    Ok(())
}
