//! TPC-H's tables, rows and model.

use std::fmt::{Display, Write as _};
use tpchgen::csv::*;
use tpchgen::generators::*;

/// One table.
pub struct Table {
    pub name: &'static str,
    /// The model's columns, one a line; the key's types first.
    columns: &'static [(&'static str, &'static str, bool)],
    /// A column whose sum tells states apart.
    summed: &'static str,
}

pub const TABLES: [Table; 8] = [
    Table {
        name: "customer",
        columns: &[
            ("c_custkey", "int64", true),
            ("c_name", "varchar(25)", false),
            ("c_address", "varchar(40)", false),
            ("c_nationkey", "int32", false),
            ("c_phone", "char(15)", false),
            ("c_acctbal", "decimal(15,2)", false),
            ("c_mktsegment", "char(10)", false),
            ("c_comment", "varchar(117)", false),
        ],
        summed: "c_acctbal",
    },
    Table {
        name: "lineitem",
        columns: &[
            ("l_orderkey", "int64", true),
            ("l_partkey", "int64", false),
            ("l_suppkey", "int64", false),
            ("l_linenumber", "int32", true),
            ("l_quantity", "decimal(15,2)", false),
            ("l_extendedprice", "decimal(15,2)", false),
            ("l_discount", "decimal(15,2)", false),
            ("l_tax", "decimal(15,2)", false),
            ("l_returnflag", "char(1)", false),
            ("l_linestatus", "char(1)", false),
            ("l_shipdate", "date", false),
            ("l_commitdate", "date", false),
            ("l_receiptdate", "date", false),
            ("l_shipinstruct", "char(25)", false),
            ("l_shipmode", "char(10)", false),
            ("l_comment", "varchar(44)", false),
        ],
        summed: "l_extendedprice",
    },
    Table {
        name: "nation",
        columns: &[
            ("n_nationkey", "int32", true),
            ("n_name", "char(25)", false),
            ("n_regionkey", "int32", false),
            ("n_comment", "varchar(152)", false),
        ],
        summed: "n_nationkey",
    },
    Table {
        name: "orders",
        columns: &[
            ("o_orderkey", "int64", true),
            ("o_custkey", "int64", false),
            ("o_orderstatus", "char(1)", false),
            ("o_totalprice", "decimal(15,2)", false),
            ("o_orderdate", "date", false),
            ("o_orderpriority", "char(15)", false),
            ("o_clerk", "char(15)", false),
            ("o_shippriority", "int32", false),
            ("o_comment", "varchar(79)", false),
        ],
        summed: "o_totalprice",
    },
    Table {
        name: "part",
        columns: &[
            ("p_partkey", "int64", true),
            ("p_name", "varchar(55)", false),
            ("p_mfgr", "char(25)", false),
            ("p_brand", "char(10)", false),
            ("p_type", "varchar(25)", false),
            ("p_size", "int32", false),
            ("p_container", "char(10)", false),
            ("p_retailprice", "decimal(15,2)", false),
            ("p_comment", "varchar(23)", false),
        ],
        summed: "p_retailprice",
    },
    Table {
        name: "partsupp",
        columns: &[
            ("ps_partkey", "int64", true),
            ("ps_suppkey", "int64", true),
            ("ps_availqty", "int32", false),
            ("ps_supplycost", "decimal(15,2)", false),
            ("ps_comment", "varchar(199)", false),
        ],
        summed: "ps_supplycost",
    },
    Table {
        name: "region",
        columns: &[("r_regionkey", "int32", true), ("r_name", "char(25)", false), ("r_comment", "varchar(152)", false)],
        summed: "r_regionkey",
    },
    Table {
        name: "supplier",
        columns: &[
            ("s_suppkey", "int64", true),
            ("s_name", "char(25)", false),
            ("s_address", "varchar(40)", false),
            ("s_nationkey", "int32", false),
            ("s_phone", "char(15)", false),
            ("s_acctbal", "decimal(15,2)", false),
            ("s_comment", "varchar(101)", false),
        ],
        summed: "s_acctbal",
    },
];

impl Table {
    /// `COUNT/SUM` as one text, in both SQL dialects; `of` comes after the table's name.
    pub fn figure_query(&self, of: &str) -> String {
        let (name, summed) = (self.name, self.summed);
        format!("SELECT concat(count(*), '/', sum({summed})) AS figure FROM {name}{of}")
    }

    fn create(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, data_type, _)| {
                let data_type = match *data_type {
                    "int64" => "bigint",
                    "int32" => "int",
                    other => other,
                };
                format!("{name} {data_type} NOT NULL")
            })
            .collect();
        format!("CREATE TABLE {} ({}, PRIMARY KEY ({}));", self.name, columns.join(", "), self.key().join(", "))
    }

    fn key(&self) -> Vec<&'static str> {
        self.columns.iter().filter(|(_, _, key)| *key).map(|(name, ..)| *name).collect()
    }
}

/// Makes and fills the producer's tables.
pub fn load(url: &str, scale: f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the producer");
        let connection = tokio::spawn(connection);
        for table in &TABLES {
            client.batch_execute(&table.create()).await.expect("a table");
        }
        copy(&client, "region", RegionGenerator::new(scale, 1, 1).iter().map(RegionCsv::new)).await;
        copy(&client, "nation", NationGenerator::new(scale, 1, 1).iter().map(NationCsv::new)).await;
        copy(&client, "supplier", SupplierGenerator::new(scale, 1, 1).iter().map(SupplierCsv::new)).await;
        copy(&client, "part", PartGenerator::new(scale, 1, 1).iter().map(PartCsv::new)).await;
        copy(&client, "partsupp", PartSuppGenerator::new(scale, 1, 1).iter().map(PartSuppCsv::new)).await;
        copy(&client, "customer", CustomerGenerator::new(scale, 1, 1).iter().map(CustomerCsv::new)).await;
        copy(&client, "orders", OrderGenerator::new(scale, 1, 1).iter().map(OrderCsv::new)).await;
        copy(&client, "lineitem", LineItemGenerator::new(scale, 1, 1).iter().map(LineItemCsv::new)).await;
        drop(client);
        connection.await.expect("the connection's task").expect("the connection");
    });
}

async fn copy(client: &tokio_postgres::Client, table: &str, rows: impl Iterator<Item = impl Display>) {
    use futures::SinkExt;
    let sink = client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT csv)")).await.expect("a copy");
    let mut sink = std::pin::pin!(sink);
    let mut text = String::new();
    for row in rows {
        writeln!(text, "{row}").expect("writing to a string never fails");
        if text.len() > 1 << 20 {
            sink.send(bytes::Bytes::from(std::mem::take(&mut text))).await.expect("rows");
        }
    }
    sink.send(bytes::Bytes::from(text)).await.expect("rows");
    sink.finish().await.expect("the copy ends");
}

/// One in a hundred rows inserted, updated and deleted, in every table that has so many.
pub fn one_percent() -> String {
    let mut sql = String::from("BEGIN;");
    for table in &TABLES {
        let (name, key) = (table.name, table.key()[0]);
        let columns: Vec<&str> = table.columns.iter().map(|(name, ..)| *name).collect();
        let copied = columns.join(", ").replacen(key, &format!("{key} + 100000000"), 1);
        let summed = if table.summed == key { table.columns[1].0 } else { table.summed };
        let changed = if summed == table.summed { format!("{summed} + 1") } else { format!("upper({summed})") };
        write!(
            sql,
            "INSERT INTO {name} ({}) SELECT {copied} FROM {name} WHERE {key} % 100 = 3;
             UPDATE {name} SET {summed} = {changed} WHERE {key} % 100 = 5;
             DELETE FROM {name} WHERE {key} % 100 = 7;",
            columns.join(", ")
        )
        .expect("writing to a string never fails");
    }
    sql.push_str("COMMIT;");
    sql
}

/// A few rows changed in several tables at once; another few for every `turn`.
pub fn small_change(turn: i32) -> String {
    format!(
        "BEGIN;
         UPDATE customer SET c_acctbal = c_acctbal + 1 WHERE c_custkey % 50 = {turn};
         UPDATE orders SET o_totalprice = o_totalprice + 1 WHERE o_custkey % 50 = {turn};
         INSERT INTO region SELECT 100 + {turn}, 'REGION {turn}', 'made in turn {turn}';
         DELETE FROM partsupp WHERE ps_partkey % 200 = {turn};
         COMMIT;"
    )
}

pub const ECOSYSTEM: &str = "\
ecosystem: tpch
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }]
";

/// The containers.
pub fn team(port: u16, shop: &str, reporting: &str) -> String {
    let database = |name: &str, database: &str| {
        format!(
            "  - {{ container: {name}, kind: postgres, location: \"here:lab\", host: 127.0.0.1, port: {port}, \
             database: {database}, credential: pg }}\n"
        )
    };
    format!(
        "team: T\ncontainers:\n{}{}  - {{ container: lake, kind: files, location: \"here:lab\", path: ../../lake }}\n",
        database("shop", shop),
        database("warehouse", reporting)
    )
}

/// The datastore and both workspaces.
pub fn model() -> String {
    let mut text = String::from(
        "datastore: Shop\ncontainer: shop\ningest: { kind: snapshot, trigger: { cron: \"0 * * * *\" } }\ndatasets:\n",
    );
    for table in &TABLES {
        writeln!(text, "  {}:\n    classification: pub\n    columns:", table.name).expect("writing to a string");
        for (name, data_type, key) in table.columns {
            let more = if *key { "key: true" } else { "nullable: false" };
            writeln!(text, "      {name}: {{ type: \"{data_type}\", {more} }}").expect("writing to a string");
        }
    }
    let datasets: Vec<String> = TABLES.iter().map(|table| format!("Shop.{}", table.name)).collect();
    for (workspace, container) in [("Reporting", "warehouse"), ("Lake", "lake")] {
        write!(
            text,
            "---\nworkspace: {workspace}\ncontainer: {container}\ngroups:\n  G: {{ datasets: [{}] }}\n",
            datasets.join(", ")
        )
        .expect("writing to a string");
    }
    text
}
