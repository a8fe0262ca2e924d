//! TPC-H from a PostgreSQL producer to a PostgreSQL and a Parquet consumer: consistent, incremental,
//! kept, and the same after any number of kills.
//!
//! `LEVADA_TPCH_SCALE` sets the scale factor, 0.1 where it is not set; `LEVADA_TPCH_SEED` the
//! moments of the kills.

mod data;

use crate::ecosystem::{Ecosystem, Ran};
use data::TABLES;
use levada_testbed::PostgresCluster;
use std::time::{Duration, Instant};

const SHOP: &str = "tpch";
const REPORTING: &str = "reporting";

struct Setting {
    cluster: PostgresCluster,
    ecosystem: Ecosystem,
}

impl Setting {
    /// A loaded producer, an empty consumer, an applied model.
    fn new(scale: f64) -> Self {
        let cluster = PostgresCluster::start_with(&[("max_wal_size", "4GB")]).expect("a PostgreSQL server");
        cluster.create_database(SHOP).expect("a database");
        cluster.create_database(REPORTING).expect("a database");
        data::load(&cluster.url(SHOP), scale);
        let ecosystem = Ecosystem::new();
        ecosystem.write("ecosystem.yaml", data::ECOSYSTEM);
        ecosystem.write("z/zone.yaml", "zone: Z\n");
        ecosystem.write("z/t/team.yaml", &data::team(cluster.port(), SHOP, REPORTING));
        ecosystem.write("z/t/tpch.yaml", &data::model());
        ecosystem.secret("pg", levada_testbed::postgres::SUPERUSER, levada_testbed::postgres::PASSWORD);
        ecosystem.levada(&["apply", "--yes"]).succeeded();
        Self { cluster, ecosystem }
    }

    fn levada(&self, arguments: &[&str]) -> Ran {
        self.ecosystem.levada(arguments)
    }

    /// Count and a sum per table, as the producer has them.
    fn producer_figures(&self) -> Vec<String> {
        let figure = |table: &data::Table| self.cluster.sql(SHOP, &table.figure_query("")).expect("a figure");
        TABLES.iter().map(|table| figure(table).trim().to_owned()).collect()
    }

    /// The same from the store, as of a batch.
    fn store_figures(&self, batch: i64) -> Vec<String> {
        let figure = |table: &data::Table| {
            let query = table.figure_query(&format!(" FOR VERSION AS OF {batch}"));
            let ran = self.levada(&["sql", &query.replace("FROM ", "FROM Shop."), "--format", "json"]).succeeded();
            ran.json()["figure"].as_str().expect("a text").to_owned()
        };
        TABLES.iter().map(figure).collect()
    }

    fn verify_everything(&self) {
        let verified = self.levada(&["verify", "--source"]);
        assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
        // Eight tables at two consumers and at the producer.
        assert_eq!(verified.stdout.lines().filter(|line| line.starts_with("equal")).count(), 24, "{}", verified.stdout);
    }

    /// Bytes that exports into PostgreSQL have moved so far.
    fn bytes_delivered(&self) -> i64 {
        let jobs = self.levada(&["jobs", "--limit", "100000", "--format", "json"]).succeeded().json();
        let runs = jobs["runs"].as_array().expect("a list");
        runs.iter()
            .filter(|run| run["node"].as_str().is_some_and(|node| node.starts_with("Export/P/warehouse/")))
            .map(|run| run["bytes"].as_i64().expect("a number"))
            .sum()
    }
}

fn scale() -> f64 {
    std::env::var("LEVADA_TPCH_SCALE").map_or(0.1, |text| text.parse().expect("LEVADA_TPCH_SCALE is a number"))
}

#[test]
fn tpch_moves_in_one_batch_and_then_only_the_delta() {
    let setting = Setting::new(scale());
    let first_state = setting.producer_figures();
    setting.levada(&["run", "--until-idle"]).succeeded();
    setting.verify_everything();
    let loaded = setting.bytes_delivered();

    setting.cluster.sql(SHOP, &data::one_percent()).expect("the producer changes");
    setting.levada(&["run", "--until-idle"]).succeeded();
    setting.verify_everything();
    let delta = setting.bytes_delivered() - loaded;
    assert!(delta > 0 && delta * 20 < loaded, "{delta} bytes for the delta, {loaded} for everything");

    let batches = setting.levada(&["batches", "--format", "json"]).succeeded().json();
    assert_eq!(batches["batches"].as_array().map(Vec::len), Some(2), "{batches}");
    assert_eq!(setting.store_figures(1), first_state);
    assert_eq!(setting.store_figures(2), setting.producer_figures());

    // Another pull without changes makes no batch and moves nothing.
    setting.levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(setting.bytes_delivered() - loaded, delta);

    // Whatever happens to a delivered table, the store rebuilds it without asking the producer.
    setting
        .cluster
        .sql(
            REPORTING,
            "DO $$ DECLARE t text; BEGIN SELECT tablename INTO t FROM pg_tables \
        WHERE schemaname = 'levada' AND tablename LIKE '%nation%'; EXECUTE format('DELETE FROM levada.%I', t); END $$",
        )
        .expect("an accident");
    assert_eq!(setting.levada(&["verify"]).code, 1);
    setting.cluster.sql(SHOP, "ALTER TABLE nation RENAME TO hidden").expect("the producer is not there");
    setting.levada(&["rehydrate", "Reporting"]).succeeded();
    setting.levada(&["verify"]).succeeded();
}

#[test]
fn killed_at_fifty_random_moments_it_ends_in_the_same_state() {
    // Kills need many runs, so this test has a hundredth of the rows where nobody says otherwise.
    let scale = std::env::var("LEVADA_TPCH_SCALE").map_or(0.01, |text| text.parse().expect("a number"));
    let setting = Setting::new(scale);
    let seed: u64 = std::env::var("LEVADA_TPCH_SEED").map_or(7, |text| text.parse().expect("a number"));
    let started = Instant::now();
    setting.levada(&["run", "--until-idle"]).succeeded();
    let whole = started.elapsed();
    let mut random = seed;
    for kill in 0..50 {
        setting.cluster.sql(SHOP, &data::small_change(kill)).expect("the producer changes");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = whole.mul_f64((random >> 33) as f64 / f64::from(u32::MAX >> 1));
        let mut worker = setting.ecosystem.start(&["run", "--until-idle"]);
        let until = Instant::now() + moment;
        while Instant::now() < until && worker.try_wait().expect("the worker is ours").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It may have ended already; then there is nothing to kill.
        worker.kill().expect("the worker is ours");
        worker.wait().expect("the worker is ours");
    }
    setting.levada(&["run", "--until-idle"]).succeeded();
    setting.verify_everything();
    let batches = setting.levada(&["batches", "--limit", "1000", "--format", "json"]).succeeded().json();
    let numbers: Vec<i64> = batches["batches"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|batch| batch["batch"].as_i64().expect("a number"))
        .collect();
    let expected: Vec<i64> = (1..=numbers.len() as i64).rev().collect();
    assert_eq!(numbers, expected, "seed {seed}");
}
