//! Names and texts as parts of SQL statements.
//!
//! Takes any text, gives SQL that means exactly that text, whatever stands in it.

use crate::database::split_name;

/// What a name may stand in.
const QUOTES: &[char] = &['"'];

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
