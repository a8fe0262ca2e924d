//! Names, parsed once at the rim.
//!
//! Two families: identifiers (`[A-Za-z][A-Za-z0-9_-]{0,127}`) and labels (any printable text
//! without `/`, up to 128 characters). Names are kept as written; uniqueness ignores case.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name is empty")]
    Empty,
    /// Longer than [`NAME_CHARS_MAX`].
    #[error("a name has {0} characters, {NAME_CHARS_MAX} are allowed")]
    TooLong(usize),
    /// An identifier starts with something else than a letter.
    #[error("a name starts with {0:?} instead of a letter")]
    Start(char),
    /// A character that this family of names does not have.
    #[error("a name has {0:?}, which is not allowed")]
    Character(char),
}

fn check_length(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    match text.chars().count() {
        length if length > NAME_CHARS_MAX => Err(NameError::TooLong(length)),
        _ => Ok(()),
    }
}

fn check_identifier(text: &str, dash: bool) -> Result<(), NameError> {
    check_length(text)?;
    let first = text.chars().next().expect("the length was checked");
    if !first.is_ascii_alphabetic() {
        return Err(NameError::Start(first));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (dash && c == '-');
    match text.chars().find(|&c| !is_allowed(c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// Characters that print nothing or turn the direction of the text around them.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

fn check_label(text: &str) -> Result<(), NameError> {
    check_length(text)?;
    if let Some(c) = text.chars().find(|&c| c == '/' || is_unprintable(c)) {
        return Err(NameError::Character(c));
    }
    match text.trim() == text {
        true => Ok(()),
        false => Err(NameError::Character(' ')),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as a name.
            ///
            /// # Errors
            /// The first rule of the family that the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                ($check)(text)?;
                Ok(Self(text.into()))
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as uniqueness sees it.
            pub fn folded(&self) -> String {
                self.0.to_lowercase()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
    )*};
}

names! {
    /// A governance zone.
    ZoneName: check_label;
    /// A team inside its zone.
    TeamName: check_label;
    /// A place that holds data.
    ContainerName: check_label;
    /// A configured data platform.
    PlatformName: check_label;
    /// What several platforms share.
    InfrastructureName: check_label;
    /// Who hosts.
    VendorName: check_label;
    /// When something may happen.
    CalendarName: check_label;
    /// What a producer offers.
    DatastoreName: |text| check_identifier(text, true);
    /// One table-like thing in a datastore.
    DatasetName: |text| check_identifier(text, true);
    /// What a consumer needs.
    WorkspaceName: |text| check_identifier(text, true);
    /// Datasets under one set of requirements.
    GroupName: |text| check_identifier(text, true);
    /// Code that makes data from data.
    TransformerName: |text| check_identifier(text, true);
    /// A secret's name; the secret itself never enters the model.
    CredentialName: |text| check_identifier(text, false);
    /// One column, named as consumers see it.
    ColumnName: check_column;
    /// How sensitive data is.
    ClassificationName: check_label;
    /// A regulator, a hold or a policy of a zone.
    RuleName: check_label;
}

/// A column's name is whatever its source calls it: any printable text.
fn check_column(text: &str) -> Result<(), NameError> {
    check_length(text)?;
    match text.chars().find(|&c| is_unprintable(c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_start_with_a_letter_and_stay_plain() {
        assert!(DatastoreName::parse("NW_Data-2").is_ok());
        assert_eq!(DatastoreName::parse("2x"), Err(NameError::Start('2')));
        assert_eq!(DatastoreName::parse("a.b"), Err(NameError::Character('.')));
        assert_eq!(CredentialName::parse("a-b"), Err(NameError::Character('-')));
        assert_eq!(DatastoreName::parse(&"a".repeat(129)), Err(NameError::TooLong(129)));
    }

    #[test]
    fn labels_are_printable_and_have_no_slash() {
        assert!(PlatformName::parse("Azure Platform ü").is_ok());
        assert_eq!(PlatformName::parse("a/b"), Err(NameError::Character('/')));
        assert_eq!(PlatformName::parse("a\u{202e}b"), Err(NameError::Character('\u{202e}')));
        assert_eq!(PlatformName::parse(" a"), Err(NameError::Character(' ')));
    }
}
