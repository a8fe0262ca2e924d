//! Names as parts of SQL statements.
//!
//! Takes any text, gives SQL that means exactly that name, whatever stands in it and whatever
//! `sql_mode` says.

/// A name in backticks.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table as the model writes it: `table`, `database.table`, or either part in double quotes or
/// backticks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TableName {
    /// The database, which MySQL also calls a schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Reads what the model says; a table without a database is in `default_schema`.
    pub fn parse(written: &str, default_schema: &str) -> Self {
        let in_default = |table: String| Self { schema: default_schema.to_owned(), table };
        let (first, rest) = part(written);
        if first.is_empty() {
            // A name that begins with a point has no database before it.
            return in_default(written.to_owned());
        }
        match rest.strip_prefix('.') {
            Some(rest) if !rest.is_empty() => {
                let (table, unread) = part(rest);
                // What still follows is no third part but belongs to an unquoted name with points.
                let table = if unread.is_empty() { table } else { rest.to_owned() };
                Self { schema: first, table }
            }
            _ => in_default(first + rest),
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
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '`')) else {
        let end = text.find('.').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut rest = &text[1..];
    let mut name = String::new();
    loop {
        let Some(end) = rest.find(quote) else {
            // No closing quote: the quote is part of an odd name.
            return (text.to_owned(), "");
        };
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                name.push(quote);
                rest = after;
            }
            None => return (name, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(written: &str) -> (String, String) {
        let name = TableName::parse(written, "shop");
        (name.schema, name.table)
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let is = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
        assert_eq!(parsed("customers"), is("shop", "customers"));
        assert_eq!(parsed("sales.customers"), is("sales", "customers"));
        assert_eq!(parsed("`sa.les`.`cust``omers`"), is("sa.les", "cust`omers"));
        assert_eq!(parsed("\"sa.les\".customers"), is("sa.les", "customers"));
        assert_eq!(parsed("`customers`"), is("shop", "customers"));
        assert_eq!(parsed(".."), is("shop", ".."));
        assert_eq!(parsed("a`b"), is("shop", "a`b"));
        assert_eq!(parsed("`open"), is("shop", "`open"));
        assert_eq!(TableName::parse("a.b", "x").quoted(), "`a`.`b`");
    }

    #[test]
    fn a_backtick_ends_no_name() {
        assert_eq!(identifier("a`; DROP TABLE b; --"), "`a``; DROP TABLE b; --`");
    }
}
