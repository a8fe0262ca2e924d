//! Two platforms in one ecosystem: each group gets the one that fits, each stream is ingested once.

use crate::ecosystem::Ecosystem;
use std::time::{Duration, Instant};

const ECOSYSTEM: &str = "\
ecosystem: two
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms:
  - { platform: Cheap, kind: embedded, style: batch, locations: [\"here:lab\"] }
  - { platform: Archive, kind: embedded, style: forensic, locations: [\"here:lab\"] }
";

const TEAM: &str = "\
team: T
containers:
  - { container: shop, kind: sqlite, location: \"here:lab\", path: ../../shop.db }
  - { container: now, kind: sqlite, location: \"here:lab\", path: ../../now.db }
  - { container: past, kind: sqlite, location: \"here:lab\", path: ../../past.db }
";

const MODEL: &str = "\
datastore: Shop
container: shop
ingest: { kind: snapshot, trigger: { cron: \"0 * * * *\" } }
datasets:
  orders:
    classification: pub
    columns:
      id: { type: int64, key: true }
      customer: text
      total: decimal(10,2)
  returns:
    classification: pub
    columns:
      id: { type: int64, key: true }
---
workspace: Totals
container: now
groups:
  G: { datasets: [Shop.orders] }
transformer:
  transformer: Totals
  output: Summed
  trigger: on-change
  code: { sql: totals.sql }
datasets:
  totals:
    classification: pub
    columns:
      customer: { type: text, key: true }
      total: decimal(20,2)
---
workspace: Now
container: now
groups:
  G:
    requires: { latency: minutes, milestoning: live, retention: 30d }
    datasets: [Shop.orders, Summed.totals]
---
workspace: Past
container: past
groups:
  G:
    requires: { latency: hours, milestoning: both, retention: 7y }
    datasets: [Shop.orders, Shop.returns, Summed.totals]
";

const TOTALS: &str = "SELECT customer, CAST(sum(total) AS decimal(20,2)) AS total FROM Shop.orders GROUP BY customer";

const TABLES: &str = "\
CREATE TABLE returns (id INTEGER PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total DECIMAL(10,2));
INSERT INTO orders VALUES (1, 'ana', 10.50), (2, 'bo', 3), (3, 'ana', 1.25);";

fn two_platforms() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    ecosystem.write("ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("z/zone.yaml", "zone: Z\n");
    ecosystem.write("z/t/team.yaml", TEAM);
    ecosystem.write("z/t/model.yaml", MODEL);
    ecosystem.write("z/t/totals.sql", TOTALS);
    ecosystem
}

#[test]
fn each_group_gets_the_platform_that_fits_and_each_stream_one_ingest() {
    let ecosystem = two_platforms();
    let explained = ecosystem.levada(&["explain", "Group/Past/G"]).succeeded().stdout;
    assert!(explained.contains("Archive") && explained.contains("Cheap"), "{explained}");

    let graph = ecosystem.levada(&["graph", "--format", "json"]).succeeded().json();
    let addresses: Vec<String> = graph["platforms"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|platform| platform["nodes"].as_array().expect("a list"))
        .map(|node| node["address"].as_str().expect("a text").to_owned())
        .collect();
    for stream in ["Shop", "Summed"] {
        let ingests =
            addresses.iter().filter(|a| a.starts_with("Ingest/") && a.ends_with(&format!("/{stream}"))).count();
        assert_eq!(ingests, 1, "{stream} in {addresses:?}");
    }
    assert_eq!(addresses.iter().filter(|address| address.starts_with("Transform/")).count(), 1, "{addresses:?}");
    assert!(addresses.iter().any(|address| address.starts_with("Link/")), "{addresses:?}");
    assert!(addresses.contains(&"Export/Archive/past/Shop/orders".to_owned()), "{addresses:?}");
    assert!(addresses.contains(&"Export/Cheap/now/Shop/orders".to_owned()), "{addresses:?}");
}

#[test]
fn history_and_live_arrive_through_ingest_link_and_transformer() {
    let ecosystem = two_platforms();
    ecosystem.sqlite("shop.db", TABLES);
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    ecosystem.sqlite("shop.db", "UPDATE orders SET total = 4 WHERE id = 2; DELETE FROM orders WHERE id = 3;");
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    ecosystem.levada(&["verify", "--source"]).succeeded();

    let now = ecosystem.sqlite_rows("now.db", "SELECT customer, total FROM now__summed_totals ORDER BY 1");
    assert_eq!(now, ["ana|10.50", "bo|4.00"]);
    let versions =
        "SELECT customer, total, valid_to IS NULL FROM past__summed_totals_history ORDER BY customer, valid_from";
    assert_eq!(ecosystem.sqlite_rows("past.db", versions), ["ana|11.75|0", "ana|10.50|1", "bo|3.00|0", "bo|4.00|1"]);
    let orders = "SELECT id, total, valid_to IS NULL FROM past__shop_orders_history ORDER BY id, valid_from";
    assert_eq!(ecosystem.sqlite_rows("past.db", orders), ["1|10.5|1", "2|3|0", "2|4|1", "3|1.25|0"]);
    assert_eq!(ecosystem.sqlite_rows("past.db", "SELECT count(*) FROM past__shop_orders"), ["2"]);
    let empty = ecosystem.sqlite_rows("past.db", "SELECT count(*) FROM past__shop_returns");
    assert_eq!(empty, ["0"], "an empty dataset behind a link has its view");

    // A run without a change at the producer moves nothing and fires nothing.
    let before = ecosystem.levada(&["batches", "--format", "json"]).succeeded().stdout;
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(ecosystem.levada(&["batches", "--format", "json"]).succeeded().stdout, before);
}

#[test]
fn killed_at_random_moments_a_transformers_output_is_never_emptied() {
    let ecosystem = two_platforms();
    ecosystem.sqlite("shop.db", TABLES);
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    for kill in 0..30_u64 {
        ecosystem.sqlite("shop.db", "UPDATE orders SET total = total + 1");
        let mut worker = ecosystem.start(&["run", "--until-idle"]);
        let until = Instant::now() + Duration::from_millis(20 + kill * 41 % 250);
        while Instant::now() < until && worker.try_wait().expect("the worker is ours").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        worker.kill().expect("the worker is ours");
        worker.wait().expect("the worker is ours");
        let seen = ecosystem.sqlite_rows("now.db", "SELECT count(*) FROM now__summed_totals");
        assert_eq!(seen, ["2"], "after kill {kill}");
    }
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    ecosystem.levada(&["verify", "--source"]).succeeded();
    let totals = ecosystem.sqlite_rows("now.db", "SELECT customer, total FROM now__summed_totals ORDER BY 1");
    assert_eq!(totals, ["ana|71.75", "bo|33.00"]);
}
