//! The SQL text: one query, all names folded, points in the past turned into table names.
//!
//! Takes a text, gives the parsed statement. Every identifier is folded to lower case, quoted or
//! not, for the model's names are unique ignoring case; tables and columns are registered folded
//! too. `T FOR VERSION AS OF n` and `T FOR TIMESTAMP AS OF 't'` become a table of their own,
//! `"T@batch n"` or `"T@time µs"`, with the alias `T` where the text gives none. Works on tokens:
//! strings and comments that look like SQL stay what they are.

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use levada_flow::FlowError;
use std::collections::BTreeMap;

/// A point in the past of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    /// A batch of its stream.
    Batch(i64),
    /// µs since 1970.
    Time(i64),
}

/// A query, read and folded.
pub(crate) struct Text {
    /// What DataFusion plans.
    pub(crate) statement: Statement,
    /// Folded → as the text has it in quotes.
    pub(crate) spellings: BTreeMap<String, String>,
}

impl Text {
    /// Reads a text.
    ///
    /// # Errors
    /// It is not exactly one query, or not SQL.
    pub(crate) fn parse(sql: &str) -> Result<Self, FlowError> {
        let dialect = GenericDialect {};
        let wrong = |error: &dyn std::fmt::Display| FlowError::never(format!("the SQL can't be read: {error}"));
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| wrong(&error))?;
        let mut spellings = BTreeMap::new();
        let tokens: Vec<_> = tokens.into_iter().map(|token| fold(token, &mut spellings)).collect();
        let tokens = with_points(tokens)?;
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
        let mut statements = parser.parse_statements().map_err(|error| wrong(&error))?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement @ SqlStatement::Query(_)), true) => {
                Ok(Self { statement: Statement::Statement(Box::new(statement)), spellings })
            }
            (Some(_), true) => {
                Err(FlowError::never("the SQL is no query").hint("write a SELECT: data is only read here"))
            }
            (None, _) => Err(FlowError::never("the SQL is empty")),
            (Some(_), false) => Err(FlowError::never("the SQL has more than one statement").hint("write one SELECT")),
        }
    }
}

fn fold(token: TokenWithSpan, spellings: &mut BTreeMap<String, String>) -> TokenWithSpan {
    let TokenWithSpan { token, span } = token;
    let token = match token {
        Token::Word(word) => {
            let value = word.value.to_lowercase();
            if word.quote_style.is_some() {
                spellings.insert(value.clone(), word.value);
            }
            Token::Word(Word { value, quote_style: word.quote_style, keyword: word.keyword })
        }
        other => other,
    };
    TokenWithSpan { token, span }
}

/// Replaces each clause for a point in the past.
fn with_points(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, FlowError> {
    let mut result: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let Some((point, after)) = clause(&tokens, at)? else {
            result.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let table = result.iter_mut().rev().find(|token| !is_space(token));
        let Some(Token::Word(word)) = table.map(|token| &mut token.token) else {
            return Err(FlowError::never("FOR … AS OF stands behind something else than a table"));
        };
        let alias = word.value.clone();
        word.value = match point {
            Point::Batch(batch) => format!("{alias}@batch {batch}"),
            Point::Time(time) => format!("{alias}@time {time}"),
        };
        (word.quote_style, word.keyword) = (Some('"'), Keyword::NoKeyword);
        if !has_alias(&tokens[after..]) {
            let span = tokens[at].span;
            let word = Word { value: alias, quote_style: Some('"'), keyword: Keyword::NoKeyword };
            for token in [space(), Token::make_keyword("AS"), space(), Token::Word(word), space()] {
                result.push(TokenWithSpan { token, span });
            }
        }
        at = after;
    }
    Ok(result)
}

fn space() -> Token {
    Token::Whitespace(datafusion::sql::sqlparser::tokenizer::Whitespace::Space)
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// The clause that starts at a token, and the position behind it.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Result<Option<(Point, usize)>, FlowError> {
    let mut rest = tokens.iter().enumerate().skip(at).filter(|(_, token)| !is_space(token));
    let mut next = || rest.next();
    if tokens.get(at).and_then(keyword) != Some(Keyword::FOR) {
        return Ok(None);
    }
    next();
    let kind = next().and_then(|(_, token)| keyword(token));
    let Some(kind @ (Keyword::VERSION | Keyword::TIMESTAMP)) = kind else { return Ok(None) };
    for expected in [Keyword::AS, Keyword::OF] {
        if next().and_then(|(_, token)| keyword(token)) != Some(expected) {
            return Err(unreadable(kind));
        }
    }
    let mut literal = next();
    if kind == Keyword::TIMESTAMP && literal.and_then(|(_, token)| keyword(token)) == Some(Keyword::TIMESTAMP) {
        literal = next();
    }
    let point = match (kind, literal.map(|(_, token)| &token.token)) {
        (Keyword::VERSION, Some(Token::Number(number, _))) => number.parse().ok().map(Point::Batch),
        (Keyword::TIMESTAMP, Some(Token::SingleQuotedString(text))) => time(text).map(Point::Time),
        _ => None,
    };
    let (position, _) = literal.ok_or_else(|| unreadable(kind))?;
    Ok(Some((point.ok_or_else(|| unreadable(kind))?, position + 1)))
}

fn unreadable(kind: Keyword) -> FlowError {
    let (clause, example) = match kind {
        Keyword::VERSION => ("VERSION", "FOR VERSION AS OF 3"),
        _ => ("TIMESTAMP", "FOR TIMESTAMP AS OF '2026-05-01T12:00:00Z'"),
    };
    FlowError::never(format!("FOR {clause} can't be read")).hint(format!("write {example}"))
}

/// RFC 3339; UTC where it has no zone.
fn time(text: &str) -> Option<i64> {
    string_to_timestamp_nanos(text).ok().map(|nanoseconds| nanoseconds.div_euclid(1_000))
}

fn has_alias(rest: &[TokenWithSpan]) -> bool {
    match rest.iter().find(|token| !is_space(token)).map(|token| &token.token) {
        Some(Token::Word(word)) => word.quote_style.is_some() || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword),
        _ => false,
    }
}

/// Takes a table's name apart again: the name in the model, and the point.
pub(crate) fn table_and_point(name: &str) -> (&str, Option<Point>) {
    let Some((table, point)) = name.rsplit_once('@') else { return (name, None) };
    let point = match point.split_once(' ') {
        Some(("batch", batch)) => batch.parse().ok().map(Point::Batch),
        Some(("time", time)) => time.parse().ok().map(Point::Time),
        _ => None,
    };
    match point {
        Some(point) => (table, Some(point)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(sql: &str) -> String {
        Text::parse(sql).map_or_else(|error| error.chain(), |text| text.statement.to_string())
    }

    #[test]
    fn points_in_the_past_become_tables_of_their_own() {
        for (sql, expected) in [
            ("select * from S.T for version as of 3", "SELECT * FROM s.\"t@batch 3\" AS \"t\""),
            ("select * from T for version as of 3 AS x", "SELECT * FROM \"t@batch 3\" AS x"),
            (
                "select * from \"T\" FOR VERSION /* FOR */ AS OF 3 x where 1 = 1",
                "SELECT * FROM \"t@batch 3\" x WHERE 1 = 1",
            ),
            (
                "select * from a for timestamp as of '1970-01-01T01:00:01+01:00' join b using (k)",
                "SELECT * FROM \"a@time 1000000\" AS \"a\" JOIN b USING(k)",
            ),
            ("select 'T for version as of 3' from t -- for version as of 2", "SELECT 'T for version as of 3' FROM t"),
        ] {
            assert_eq!(printed(sql), expected);
        }
    }

    #[test]
    fn what_is_no_point_says_how_to_write_one() {
        for sql in [
            "select * from t for version as of x",
            "select * from t for version",
            "select * from t for timestamp as of 3",
        ] {
            assert!(printed(sql).contains("can't be read; write FOR "), "{}", printed(sql));
        }
        assert!(printed("select 1 for version as of 3").contains("something else than a table"));
    }

    #[test]
    fn only_one_query_is_taken() {
        for sql in [
            "",
            "delete from t",
            "select 1; select 2",
            "create table t as select 1",
            "copy t to 'x'",
            "selec 1",
            "select '",
        ] {
            assert!(Text::parse(sql).is_err(), "{sql}");
        }
        assert!(Text::parse("with a as (select 1) select * from a;").is_ok());
    }

    #[test]
    fn names_of_points_are_taken_apart_as_they_were_made() {
        assert_eq!(table_and_point("t$history@batch 3"), ("t$history", Some(Point::Batch(3))));
        assert_eq!(table_and_point("t@time -5"), ("t", Some(Point::Time(-5))));
        assert_eq!(table_and_point("t@home"), ("t@home", None));
    }
}
