//! PostgreSQL's change log on a real server: the suite that every log passes, and what is its own.

use crate::postgres::{Database, database};
use async_trait::async_trait;
use levada_connectors::postgres::quote;
use levada_flow::conformance::{LogHarness, check_log};

#[async_trait]
impl LogHarness for Database {
    async fn run(&self, statements: &str) {
        Database::run(self, statements).await;
    }

    async fn identify(&self, table: &str, key: &[&str]) {
        let table = quote::TableName::parse(table, "public").quoted();
        let key: Vec<String> = key.iter().map(|column| quote::identifier(column)).collect();
        let how = match key.is_empty() {
            true => "REPLICA IDENTITY FULL".to_owned(),
            false => format!("ADD PRIMARY KEY ({})", key.join(", ")),
        };
        Database::run(self, &format!("ALTER TABLE {table} {how}")).await;
    }

    fn table(&self, written: &str) -> String {
        quote::TableName::parse(written, "public").quoted()
    }

    fn column(&self, name: &str) -> String {
        quote::identifier(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite_of_change_logs() {
    check_log(&database("change_log")).await;
}
