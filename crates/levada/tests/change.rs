//! A changed model: the plan is the difference, and only the difference happens.

use crate::ecosystem::Ecosystem;
use levada_testbed::PostgresCluster;
use std::collections::BTreeMap;

const ECOSYSTEM: &str = "\
ecosystem: change
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }]
";

fn model(datasets: &str, extra: &str) -> String {
    let dataset = |name: &str| {
        format!(
            "  {name}:\n    classification: pub\n    columns:\n      id: {{ type: int64, key: true }}\n      name: text\n{extra}"
        )
    };
    format!(
        "datastore: Shop\ncontainer: shop\ningest: {{ kind: snapshot, consistency: single, trigger: {{ cron: \"0 * * * *\" }} }}\n\
         datasets:\n{}{}{}---\nworkspace: Reporting\ncontainer: warehouse\nreaders: [role:analysts]\n\
         groups:\n  G:\n    requires: {{ latency: minutes, milestoning: live, retention: 2y }}\n    datasets: [{datasets}]\n",
        dataset("a"),
        dataset("b"),
        dataset("c"),
    )
}

struct Setting {
    cluster: PostgresCluster,
    ecosystem: Ecosystem,
}

impl Setting {
    fn new() -> Self {
        let cluster = PostgresCluster::start().expect("a PostgreSQL server");
        cluster.create_database("db").expect("a database");
        let tables = ["a", "b", "c"].map(|name| {
            format!("CREATE TABLE {name} (id bigint PRIMARY KEY, name text, more text); INSERT INTO {name} SELECT i, '{name}' || i FROM generate_series(1, 100) i;")
        });
        cluster.sql("db", &format!("{} CREATE ROLE analysts;", tables.concat())).expect("tables");
        let ecosystem = Ecosystem::new();
        ecosystem.write("ecosystem.yaml", ECOSYSTEM);
        ecosystem.write("z/zone.yaml", "zone: Z\n");
        let container = |name: &str| {
            format!(
                "  - {{ container: {name}, kind: postgres, location: \"here:lab\", host: 127.0.0.1, port: {}, database: db, credential: pg }}\n",
                cluster.port()
            )
        };
        ecosystem
            .write("z/t/team.yaml", &format!("team: T\ncontainers:\n{}{}", container("shop"), container("warehouse")));
        ecosystem.secret("pg", levada_testbed::postgres::SUPERUSER, levada_testbed::postgres::PASSWORD);
        Self { cluster, ecosystem }
    }

    fn apply_and_run(&self, model: &str) -> String {
        self.ecosystem.write("z/t/model.yaml", model);
        let plan = self.ecosystem.levada(&["plan"]).succeeded().stdout;
        self.ecosystem.levada(&["apply", "--yes"]).succeeded();
        self.ecosystem.levada(&["run", "--until-idle"]).succeeded();
        let again = self.ecosystem.levada(&["plan", "--detailed-exitcode"]);
        assert_eq!(again.code, 0, "a plan after apply is empty: {}", again.stdout);
        plan
    }

    /// Who may read which view of the workspace.
    fn grants(&self) -> String {
        let query = "SELECT table_name FROM information_schema.role_table_grants \
            WHERE grantee = 'analysts' AND table_schema = 'reporting' ORDER BY 1";
        self.cluster.sql("db", query).expect("grants").trim().replace('\n', " ")
    }

    /// Node → generation that last changed it.
    fn generations(&self) -> BTreeMap<String, i64> {
        let status = self.ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
        let nodes = status["nodes"].as_array().expect("a list");
        let one = |node: &serde_json::Value| {
            (node["address"].as_str().expect("a text").to_owned(), node["generation"].as_i64().expect("a number"))
        };
        nodes.iter().map(one).collect()
    }

    fn identities(&self, table_like: &str) -> String {
        let query = format!(
            "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname LIKE '{table_like}' ORDER BY 2"
        );
        self.cluster.sql("db", &query).expect("a list")
    }
}

#[test]
fn one_dataset_more_and_one_less_touch_nothing_else() {
    let setting = Setting::new();
    setting.apply_and_run(&model("Shop.a, Shop.b", ""));
    assert_eq!(setting.grants(), "shop_a shop_b");
    let others = setting.identities("shop_a%");

    let plan = setting.apply_and_run(&model("Shop.a, Shop.b, Shop.c", ""));
    let lines: Vec<&str> = plan.lines().filter(|line| line.starts_with(['+', '-', '~'])).collect();
    assert_eq!(lines.len(), 2, "{plan}");
    assert!(lines[0].starts_with("+ Ingest/P/Shop/c") && lines[1].starts_with("+ Export/P/warehouse/Shop/c"), "{plan}");
    assert_eq!(setting.grants(), "shop_a shop_b shop_c");
    let generations = setting.generations();
    let touched: Vec<&String> =
        generations.iter().filter(|(_, generation)| **generation == 2).map(|(node, _)| node).collect();
    assert_eq!(touched, ["Export/P/warehouse/Shop/c", "Ingest/P/Shop/c"]);
    assert_eq!(setting.identities("shop_a%"), others, "tables and views of others are the same objects");

    let plan = setting.apply_and_run(&model("Shop.b, Shop.c", ""));
    assert!(plan.contains("- Export/P/warehouse/Shop/a"), "{plan}");
    assert_eq!(setting.grants(), "shop_b shop_c");
    assert_eq!(setting.identities("shop_a%"), "", "tables and views are gone");
    let kept = setting.ecosystem.levada(&["store", "--format", "json"]).succeeded().json();
    let a = kept["datasets"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["dataset"] == "Shop.a")
        .expect("a is kept")
        .clone();
    let (left, until) =
        (a["owed"][0]["left_at"].as_i64().expect("a time"), a["owed"][0]["until"].as_i64().expect("a time"));
    assert!((until - left) / 86_400_000_000 >= 730, "two years from the day it left: {a}");
}

#[test]
fn a_new_column_and_a_lost_reader_reach_the_consumer() {
    let setting = Setting::new();
    setting.apply_and_run(&model("Shop.a", ""));
    setting.cluster.sql("db", "UPDATE a SET more = 'm' || id WHERE id <= 3").expect("a change");
    let wider = model("Shop.a", "      more: text\n").replace("readers: [role:analysts]\n", "");
    let plan = setting.apply_and_run(&wider);
    assert!(plan.contains("~ Export/P/warehouse/Shop/a"), "{plan}");
    assert_eq!(setting.grants(), "");
    let rows = setting.cluster.sql("db", "SELECT count(*), count(more) FROM reporting.shop_a").expect("the view");
    assert_eq!(rows.trim(), "100|3");
    setting.ecosystem.levada(&["verify", "--source"]).succeeded();
}
