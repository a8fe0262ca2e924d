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
    /// Undoes a part of one.
    RollbackTo,
    /// Empties a table.
    Truncate,
    /// May change what a table is, or what is in it, without its rows being logged.
    Alters,
    /// Commits a transaction whose rows were logged when it was prepared.
    CommitsPrepared,
    /// Undoes such a one.
    UndoesPrepared,
    /// Leaves all rows as they are.
    Nothing,
}

/// Tells what a statement does.
pub(super) fn effect(text: &str) -> Effect {
    let text = without_comments(text);
    let mut words = text.split_whitespace().map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    let rest: Vec<String> = words.take(8).collect();
    let second = rest.first().map(|word| word.trim_end_matches(';')).unwrap_or_default();
    match first.trim_end_matches(';') {
        "BEGIN" | "START" => Effect::Begin,
        "COMMIT" => Effect::Commit,
        // SET STATEMENT … FOR, before any other.
        "SET" if second == "STATEMENT" => match text.to_ascii_lowercase().find(" for ") {
            Some(at) => effect(&text[at + " for ".len()..]),
            None => Effect::Alters,
        },
        "ROLLBACK" if second.is_empty() => Effect::Rollback,
        "ROLLBACK" => Effect::RollbackTo,
        "XA" if second == "COMMIT" => Effect::CommitsPrepared,
        "XA" if second == "ROLLBACK" => Effect::UndoesPrepared,
        "" | "SAVEPOINT" | "RELEASE" | "XA" | "SET" | "GRANT" | "REVOKE" | "ANALYZE" | "FLUSH" | "USE" => {
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

/// Whether a TRUNCATE is of this table; `None` where that can't be told.
pub(super) fn truncates(text: &str, session_database: &str, database: &str, table: &str) -> Option<bool> {
    let words = without_comments(text);
    let mut rest = words.trim_start();
    let starts = |rest: &str, word: &str| rest.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    if !starts(rest, "TRUNCATE") {
        return None;
    }
    rest = rest["TRUNCATE".len()..].trim_start();
    if starts(rest, "TABLE") {
        rest = rest["TABLE".len()..].trim_start();
    }
    let (first, rest) = name(rest)?;
    let (in_database, of_table) = match rest.strip_prefix('.').map(|rest| name(rest.trim_start())) {
        Some(second) => (first, second?.0),
        None => (session_database.to_owned(), first),
    };
    Some(in_database.eq_ignore_ascii_case(database) && of_table.eq_ignore_ascii_case(table))
}

/// The name at the beginning of a text, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '`' | '"'));
    let (name, rest) = match quote {
        Some(quote) => quoted_text(&text[1..], quote)?,
        None => {
            let end = text.find(|c: char| c.is_whitespace() || matches!(c, '.' | ';' | '/' | '`'));
            let (name, rest) = text.split_at(end.unwrap_or(text.len()));
            (name.to_owned(), rest)
        }
    };
    (!name.is_empty()).then(|| (name, rest.trim_start()))
}

/// The text without its comments; what only this kind of server is to read (`/*! … */`, `/*M! … */`) is text.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim_start();
    let mut is_for_us = false;
    while let Some(first) = rest.chars().next() {
        let marked = ["/*!", "/*M!"].iter().find_map(|mark| rest.strip_prefix(mark));
        let after = match first {
            '\'' | '"' | '`' => {
                let end = quoted_text(&rest[1..], first).map_or(rest.len(), |(_, after)| rest.len() - after.len());
                plain.push_str(&rest[..end]);
                &rest[end..]
            }
            '/' if marked.is_some() => {
                is_for_us = true;
                marked.unwrap_or_default().trim_start_matches(|c: char| c.is_ascii_digit())
            }
            '*' if is_for_us && rest.starts_with("*/") => {
                is_for_us = false;
                &rest[2..]
            }
            '/' if rest.starts_with("/*") => rest.find("*/").map_or("", |end| &rest[end + 2..]),
            '#' => rest.find('\n').map_or("", |end| &rest[end..]),
            '-' if rest.starts_with("-- ") => rest.find('\n').map_or("", |end| &rest[end..]),
            _ => {
                plain.push(first);
                &rest[first.len_utf8()..]
            }
        };
        if after.len() < rest.len() && matches!(first, '/' | '*' | '#' | '-') && !plain.ends_with(first) {
            // A comment parts words.
            plain.push(' ');
        }
        rest = after;
    }
    plain.trim_start().to_owned()
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
            "SET STATEMENT lock_wait_timeout=5 FOR ALTER TABLE t ADD x INT",
            "/*M!100101 alter table t add x int */",
        ] {
            assert_eq!(effect(text), Effect::Alters, "{text}");
        }
        for text in [
            "CREATE INDEX i ON t (x)",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "GRANT SELECT ON t TO eva",
            "DROP TRIGGER IF EXISTS a",
            "SAVEPOINT `a`",
            "CREATE DEFINER=`a`@`b` TRIGGER x",
            "",
        ] {
            assert_eq!(effect(text), Effect::Nothing, "{text}");
        }
        for text in ["/*!50000 truncate table t */", "set statement x=1 for truncate t", "TRUNCATE/* x */t"] {
            assert_eq!(effect(text), Effect::Truncate, "{text}");
        }
        assert_eq!(effect("ROLLBACK TO `a`"), Effect::RollbackTo);
        assert_eq!(effect("XA COMMIT X'61',X'',1"), Effect::CommitsPrepared);
        assert_eq!(effect("xa rollback X'61',X'',1"), Effect::UndoesPrepared);
        assert_eq!(effect("XA END X'61',X'',1"), Effect::Nothing);
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
            assert_eq!(truncates(text, "shop", "shop", "orders"), Some(true), "{text}");
        }
        for text in ["TRUNCATE TABLE orders_old", "TRUNCATE other.orders", "TRUNCATE TABLE `or``ders`"] {
            assert_eq!(truncates(text, "shop", "shop", "orders"), Some(false), "{text}");
        }
        assert_eq!(truncates("TRUNCATE `or``ders`", "shop", "shop", "or`ders"), Some(true));
        assert_eq!(truncates("TRUNCATE TABLE /* x */ \"orders\"", "shop", "shop", "orders"), Some(true));
        assert_eq!(truncates("SET STATEMENT x=1 FOR TRUNCATE orders", "shop", "shop", "orders"), None);
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
