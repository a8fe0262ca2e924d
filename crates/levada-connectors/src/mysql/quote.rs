//! Names as parts of SQL statements.
//!
//! Takes any text, gives SQL that means exactly that name, whatever stands in it and whatever
//! `sql_mode` says.

use crate::database::split_name;

/// What a name may stand in.
const QUOTES: &[char] = &['"', '`'];

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
        let (schema, table) = split_name(written, QUOTES);
        Self { schema: schema.unwrap_or_else(|| default_schema.to_owned()), table }
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
