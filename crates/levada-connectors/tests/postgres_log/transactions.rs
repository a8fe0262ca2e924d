//! Transactions: each comes once and whole, wherever a reader was opened again.

use super::{Stream, create_plain, dataset, plain, roomy};
use levada_flow::source::Coverage;

const STEPS: [&str; 8] = [
    "INSERT INTO orders VALUES (10, 'ten', 10), (11, 'eleven', 11)",
    "UPDATE orders SET id = 12 WHERE id = 10",
    "DELETE FROM orders WHERE id = 11; INSERT INTO orders VALUES (11, 'again', 0)",
    "TRUNCATE orders; INSERT INTO orders VALUES (1, 'first', 1)",
    "UPDATE orders SET n = n + 1",
    "DELETE FROM orders WHERE id = 1",
    "INSERT INTO orders VALUES (1, 'back', 1)",
    "UPDATE orders SET id = id + 100, name = NULL",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_opened_after_every_transaction_loses_and_doubles_nothing() {
    let mut stream = Stream::of_plain(&roomy("tx_reopened"), "orders").await;
    for step in STEPS {
        stream.reopen().await;
        let end = stream.step(step).await;
        assert_eq!(end.coverage, [Coverage::Changes], "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_opened_again_with_nothing_to_read_loses_and_doubles_nothing() {
    let mut stream = Stream::of_plain(&roomy("tx_nothing"), "orders").await;
    for step in STEPS {
        stream.step(step).await;
        for _ in 0..2 {
            stream.reopen().await;
            stream.follow("nothing new").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_only_others_moved_on_loses_and_doubles_nothing() {
    let database = roomy("tx_others");
    create_plain(&database, "others").await;
    let mut stream = Stream::of_plain(&database, "orders").await;
    for (number, step) in STEPS.into_iter().enumerate() {
        stream.run(&format!("INSERT INTO others SELECT {number}0 + n, 'o', n FROM generate_series(1, 9) n")).await;
        stream.follow("others wrote").await;
        stream.reopen().await;
        if number % 2 == 0 {
            stream.follow("others wrote, and nobody since").await;
            stream.reopen().await;
        }
        stream.step(step).await;
        stream.reopen().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_and_pulls_in_vain_change_nothing() {
    let mut stream = Stream::of_plain(&roomy("tx_vain"), "orders").await;
    for (number, step) in STEPS.into_iter().enumerate() {
        stream.run(step).await;
        if number % 2 == 0 {
            stream.mirror.pull_in_vain(stream.source.as_mut()).await.expect("the log goes on");
        } else {
            stream.mirror.pull_and_lose_the_answer(stream.source.as_mut()).await.expect("the log goes on");
        }
        if number % 3 == 0 {
            stream.reopen().await;
        }
        stream.follow(step).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_others_overtake_comes_when_it_commits() {
    let mut stream = Stream::of_plain(&roomy("tx_overtaken"), "orders").await;
    let slow = stream.database.client().await;
    slow.batch_execute("BEGIN; UPDATE orders SET n = 100 WHERE id = 1; INSERT INTO orders VALUES (50, 'slow', 1)")
        .await
        .expect("a transaction");
    for number in 0..5 {
        stream.step(&format!("INSERT INTO orders VALUES ({}, 'fast', 1)", 60 + number)).await;
        if number % 2 == 0 {
            stream.reopen().await;
        }
        slow.batch_execute(&format!("INSERT INTO orders VALUES ({}, 'slow', 1)", 51 + number)).await.expect("a row");
    }
    slow.batch_execute("COMMIT").await.expect("it commits");
    stream.reopen().await;
    stream.follow("the slow one comes last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_large_transactions_that_are_interleaved_come_one_after_the_other() {
    let mut stream = Stream::of_plain(&roomy("tx_large"), "orders").await;
    let (first, second) = (stream.database.client().await, stream.database.client().await);
    for client in [&first, &second] {
        client.batch_execute("BEGIN").await.expect("it begins");
    }
    for part in 0..10 {
        for (which, client) in [(1, &first), (2, &second)] {
            let from = which * 1_000_000 + part * 6_000;
            let rows = format!("SELECT {from} + n, repeat('x', 50), n FROM generate_series(0, 5999) n");
            client.batch_execute(&format!("INSERT INTO orders {rows}")).await.expect("rows");
        }
    }
    second.batch_execute("UPDATE orders SET n = -1 WHERE id = 2; COMMIT").await.expect("it commits");
    first.batch_execute("UPDATE orders SET n = -2 WHERE id = 1; COMMIT").await.expect("it commits");
    stream.follow("both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_that_were_rolled_back_never_were() {
    let mut stream = Stream::of_plain(&roomy("tx_savepoints"), "orders").await;
    let mut statements = vec!["BEGIN".to_owned()];
    for number in 0..60 {
        let id = 100 + number;
        statements.push(format!("SAVEPOINT s{number}; INSERT INTO orders VALUES ({id}, 'kept', {number})"));
        statements
            .push(format!("SAVEPOINT t{number}; UPDATE orders SET n = -{number} - 1; DELETE FROM orders WHERE id < 3"));
        statements.push(format!("ROLLBACK TO SAVEPOINT t{number}"));
        match number % 3 {
            0 => statements.push(format!("ROLLBACK TO SAVEPOINT s{number}")),
            1 => statements.push(format!("RELEASE SAVEPOINT s{number}; UPDATE orders SET name = 'r' WHERE id = {id}")),
            _ => {}
        }
    }
    statements.push("SAVEPOINT all_of_it; TRUNCATE orders; ROLLBACK TO SAVEPOINT all_of_it; COMMIT".to_owned());
    stream.step(&statements.join("; ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_two_phases_comes_with_its_second() {
    let mut stream = Stream::of_plain(&roomy("tx_two_phases"), "orders").await;
    let prepare = |id: i32| {
        format!(
            "BEGIN; INSERT INTO orders VALUES ({id}, 'p', 1); UPDATE orders SET n = {id}; PREPARE TRANSACTION 'p{id}'"
        )
    };
    stream.step(&prepare(20)).await;
    stream.reopen().await;
    stream.step("INSERT INTO orders VALUES (30, 'meanwhile', 1)").await;
    stream.step("COMMIT PREPARED 'p20'").await;
    stream.run(&prepare(21)).await;
    stream.step("ROLLBACK PREPARED 'p21'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_not_flushed_at_once_come_all_the_same() {
    let mut stream = Stream::of_plain(&roomy("tx_asynchronous"), "orders").await;
    let client = stream.database.client().await;
    client.batch_execute("SET synchronous_commit = off").await.expect("a session");
    for number in 0..10 {
        client.batch_execute(&format!("INSERT INTO orders VALUES ({}, 'a', 1)", 10 + number)).await.expect("a row");
        stream.follow("what was committed when the pull began").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_takes_all_that_depend_on_it() {
    let database = roomy("tx_cascade");
    create_plain(&database, "parents").await;
    database.run("CREATE TABLE children (id bigint PRIMARY KEY, parent bigint REFERENCES parents)").await;
    database.run("INSERT INTO parents VALUES (1, 'a', 1), (2, 'b', 2); INSERT INTO children VALUES (1, 1)").await;
    let children = super::schema_of(&[("id", "int64", true), ("parent", "int64", false)]);
    let datasets = vec![dataset("parents", &plain()), dataset("children", &children)];
    let mut stream = Stream::begin(&database, datasets).await;
    stream.step("TRUNCATE parents CASCADE; INSERT INTO parents VALUES (2, 'c', 3)").await;
    stream
        .step("INSERT INTO children VALUES (7, 2); TRUNCATE parents CASCADE; INSERT INTO parents VALUES (9, 'd', 3)")
        .await;
}
