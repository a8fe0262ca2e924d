//! Names and texts as parts of SQL statements.
//!
//! Takes any text, gives SQL that means exactly that text, whatever stands in it.

/// A name in double quotes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal; safe whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A table as the model writes it: `table`, `schema.table`, or either part in double quotes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Reads what the model says; a table without a schema is in `default_schema`.
    pub fn parse(written: &str, default_schema: &str) -> Self {
        let (first, rest) = part(written);
        if first.is_empty() {
            // A name that begins with a point has no schema before it.
            return Self { schema: default_schema.to_owned(), table: written.to_owned() };
        }
        match rest.strip_prefix('.') {
            Some(rest) if !rest.is_empty() => {
                let (table, unread) = part(rest);
                // What still follows is no third part but belongs to an unquoted name with points.
                let table = if unread.is_empty() { table } else { rest.to_owned() };
                Self { schema: first, table }
            }
            _ => Self { schema: default_schema.to_owned(), table: first + rest },
        }
    }

    /// As SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.table))
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// The name at the start of a text, and what follows it.
fn part(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut name = String::new();
    loop {
        let Some(end) = rest.find('"') else {
            // No closing quote: the quote is part of an odd name.
            return (text.to_owned(), "");
        };
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (name, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside() {
        assert_eq!(identifier(r#"a"; DROP TABLE t; --"#), r#""a""; DROP TABLE t; --""#);
        assert_eq!(literal(r"it's"), "'it''s'");
        assert_eq!(literal(r"\'; --"), r" E'\\''; --'");
    }

    #[test]
    fn a_table_has_a_schema_or_gets_the_default_one() {
        let parsed = |text| {
            let name = TableName::parse(text, "public");
            (name.schema, name.table)
        };
        let both = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
        assert_eq!(parsed("customers"), both("public", "customers"));
        assert_eq!(parsed("sales.Customers"), both("sales", "Customers"));
        assert_eq!(parsed(r#""od.d"."ta""ble""#), both("od.d", r#"ta"ble"#));
        assert_eq!(parsed(r#""od.d""#), both("public", "od.d"));
        assert_eq!(parsed("a.b.c"), both("a", "b.c"));
        assert_eq!(parsed(r#""open"#), both("public", r#""open"#));
        assert_eq!(parsed("trailing."), both("public", "trailing."));
        assert_eq!(parsed(".."), both("public", ".."));
    }
}
