//! What a statement of the binary log means for the tables that are read: rows are logged as rows, but
//! definitions, TRUNCATE and what a session writes by statements come as their text.
//!
//! Nothing is parsed in full. Whatever may concern a table makes it be read anew; only what is known to
//! leave rows alone is passed over.

use crate::database::quoted_text;

/// What a statement does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Begins a transaction.
    Begin,
    /// Ends a transaction for good.
    Commit,
    /// Undoes one that could not be undone in the log.
    Rollback,
    /// Empties a table.
    Truncate,
    /// May change what a table is, or what is in it, without its rows being logged.
    Alters,
    /// Ends a transaction whose rows were logged when it was prepared.
    CommitsPrepared,
    /// Leaves all rows as they are.
    Nothing,
}

/// Tells what a statement does.
pub(super) fn effect(text: &str) -> Effect {
    let mut words = without_comments(text).split_whitespace().map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    let rest: Vec<String> = words.take(8).collect();
    let second = rest.first().map(|word| word.trim_end_matches(';')).unwrap_or_default();
    match first.trim_end_matches(';') {
        "BEGIN" | "START" => Effect::Begin,
        "COMMIT" => Effect::Commit,
        "ROLLBACK" if second.is_empty() => Effect::Rollback,
        "XA" if second == "COMMIT" => Effect::CommitsPrepared,
        "" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" | "XA" | "SET" | "GRANT" | "REVOKE" | "ANALYZE" | "FLUSH" | "USE" => {
            Effect::Nothing
        }
        "TRUNCATE" => Effect::Truncate,
        "CREATE" | "DROP" | "ALTER" if is_about_no_table(&rest) => Effect::Nothing,
        _ => Effect::Alters,
    }
}

/// Whether a definition is of something that holds no rows.
fn is_about_no_table(words: &[String]) -> bool {
    const OTHERS: [&str; 12] = [
        "INDEX",
        "UNIQUE",
        "FULLTEXT",
        "SPATIAL",
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "USER",
        "ROLE",
        "SEQUENCE",
    ];
    let kinds = words.iter().take_while(|word| !matches!(word.as_str(), "TABLE" | "TABLES" | "DATABASE" | "SCHEMA"));
    kinds.into_iter().any(|word| OTHERS.contains(&word.as_str()))
}

/// Whether a statement may be about a table of a database: it names it, or nothing but its database.
pub(super) fn concerns(text: &str, session_database: &str, database: &str, table: &str) -> bool {
    let plain = plain(text);
    let is_whole_database = plain.contains("database") || plain.contains("schema");
    (names(&plain, table) && (session_database.eq_ignore_ascii_case(database) || names(&plain, database)))
        || (is_whole_database && names(&plain, database))
}

/// A text in small letters, with one blank for each run of blanks and quotes: `tabLE\`a\`` names `a` as well.
fn plain(text: &str) -> String {
    let text = text.to_lowercase().replace(['`', '"'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a plain text has this name in it, and not only as a part of another one.
fn names(plain_text: &str, name: &str) -> bool {
    let name = plain(name);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
    plain_text.match_indices(&name).any(|(at, _)| {
        let (before, after) = (plain_text[..at].chars().next_back(), plain_text[at + name.len()..].chars().next());
        // A name that begins or ends with another character was quoted, and is found wherever it stands.
        !(before.is_some_and(is_part) && name.starts_with(is_part)
            || after.is_some_and(is_part) && name.ends_with(is_part))
    })
}

/// Whether a TRUNCATE is of this table.
pub(super) fn truncates(text: &str, session_database: &str, database: &str, table: &str) -> bool {
    let words = without_comments(text);
    let mut rest = words.trim_start()["TRUNCATE".len()..].trim_start();
    if rest.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("table")) {
        rest = rest[5..].trim_start();
    }
    let Some((first, rest)) = name(rest) else { return false };
    let (in_database, of_table) = match rest.strip_prefix('.').and_then(|rest| name(rest.trim_start())) {
        Some((second, _)) => (first, second),
        None => (session_database.to_owned(), first),
    };
    in_database.eq_ignore_ascii_case(database) && of_table.eq_ignore_ascii_case(table)
}

/// The name at the beginning of a text, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(rest) => quoted_text(rest, '`')?,
        None => {
            let end = text.find(|c: char| c.is_whitespace() || matches!(c, '.' | ';' | '/' | '`'));
            let (name, rest) = text.split_at(end.unwrap_or(text.len()));
            (name.to_owned(), rest)
        }
    };
    (!name.is_empty()).then(|| (name, rest.trim_start()))
}

/// The text behind the comments that it begins with.
fn without_comments(text: &str) -> &str {
    let mut text = text.trim_start();
    loop {
        let rest = match text {
            _ if text.starts_with("/*") => text.find("*/").map(|end| &text[end + 2..]),
            _ if text.starts_with("-- ") || text.starts_with('#') => text.find('\n').map(|end| &text[end + 1..]),
            _ => None,
        };
        match rest {
            Some(rest) => text = rest.trim_start(),
            None => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_rows_is_told_from_what_does_not() {
        for text in [
            "ALTER TABLE t ADD x INT",
            "DROP TABLE `t` /* generated by server */",
            "RENAME TABLE t TO u",
            "/* hint */ create or replace table t (id int)",
            "INSERT INTO t VALUES (1)",
            "DROP DATABASE shop",
            "ALTER TABLE t ADD INDEX (x)",
            "-- why\nUPDATE t SET x = 1",
        ] {
            assert_eq!(effect(text), Effect::Alters, "{text}");
        }
        for text in [
            "CREATE INDEX i ON t (x)",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "GRANT SELECT ON t TO eva",
            "DROP TRIGGER IF EXISTS a",
            "SAVEPOINT `a`",
            "ROLLBACK TO `a`",
            "CREATE DEFINER=`a`@`b` TRIGGER x",
            "",
        ] {
            assert_eq!(effect(text), Effect::Nothing, "{text}");
        }
        assert_eq!(
            [effect("BEGIN"), effect("commit"), effect("ROLLBACK")],
            [Effect::Begin, Effect::Commit, Effect::Rollback]
        );
    }

    #[test]
    fn a_truncate_is_of_one_table() {
        for text in
            ["TRUNCATE TABLE orders", "truncate orders", "TRUNCATE `shop`.`orders`", "TRUNCATE TABLE shop.orders;"]
        {
            assert!(truncates(text, "shop", "shop", "orders"), "{text}");
        }
        for text in ["TRUNCATE TABLE orders_old", "TRUNCATE other.orders", "TRUNCATE TABLE `or``ders`"] {
            assert!(!truncates(text, "shop", "shop", "orders"), "{text}");
        }
        assert!(truncates("TRUNCATE `or``ders`", "shop", "shop", "or`ders"));
    }

    #[test]
    fn a_statement_concerns_the_tables_that_it_may_name() {
        assert!(concerns("ALTER TABLE `Orders` DROP x", "shop", "shop", "orders"));
        assert!(concerns("ALTER TABLE shop.orders DROP x", "other", "shop", "orders"));
        assert!(!concerns("ALTER TABLE orders DROP x", "other", "shop", "orders"));
        assert!(!concerns("ALTER TABLE invoices DROP x", "shop", "shop", "orders"));
        assert!(concerns("DROP DATABASE shop", "other", "shop", "orders"));
        assert!(concerns("ALTER TABLE`orders`DROP x", "shop", "shop", "orders"));
        assert!(concerns("ALTER TABLE `my  \"orders`` ` DROP x", "shop", "shop", "my \"orders` "));
        assert!(concerns("RENAME TABLE x.y TO x.z, shop . orders TO shop.old", "", "shop", "orders"));
        assert!(!concerns("ALTER TABLE old_orders DROP x", "shop", "shop", "orders"));
        assert!(!concerns("RENAME TABLE levada.shop_orders_1 TO levada.orders2", "levada", "shop", "orders"));
        assert!(!concerns("ALTER TABLE ordersü DROP x", "shop", "shop", "orders"));
    }
}
