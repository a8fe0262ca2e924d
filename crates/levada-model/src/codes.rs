//! The codes of what the reader finds, in one place. A code never changes its meaning.

use crate::Code;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code($code);)*

        /// Every code of the reader and the sentence that explains it, in order.
        pub const ALL: &[(Code, &str)] = &[$(($name, concat!($($doc),+).trim_ascii())),*];
    };
}

codes! {
    /// The file is not YAML (or JSON) from this place on; reading goes on at the next document.
    SYNTAX = "E-YAML-001";
    /// A file of the model is text in UTF-8.
    NOT_UTF8 = "E-YAML-002";
    /// A file of the model has no control characters but tabs and line ends.
    CONTROL_CHARACTER = "E-YAML-003";
    /// The markers of an unresolved merge conflict stand in the file; only the first side was read.
    MERGE_CONFLICT = "E-YAML-004";
    /// Anchors and aliases are not read: say it where it holds.
    ANCHOR = "E-YAML-005";
    /// Tags such as `!!int` are not read: the grammar knows the types.
    TAG = "E-YAML-006";
    /// A key stands once in a mapping; the first one counts.
    DUPLICATE_KEY = "E-YAML-007";
    /// Mappings and lists stand in each other at most 64 deep.
    TOO_DEEP = "E-YAML-008";
    /// A key is one word or text, not a list or mapping.
    KEY_NOT_TEXT = "E-YAML-009";
    /// A file of the model has at most 256 MiB.
    FILE_TOO_LARGE = "E-YAML-010";

    /// The grammar does not know the key.
    UNKNOWN_KEY = "E-SCHEMA-001";
    /// A key that must be there is not.
    MISSING_KEY = "E-SCHEMA-002";
    /// Something else is expected here, such as a list instead of text.
    WRONG_SHAPE = "E-SCHEMA-003";
    /// Only certain words are allowed here.
    UNKNOWN_WORD = "E-SCHEMA-004";
    /// The text does not have the form that is expected here, such as that of a date or a period.
    WRONG_VALUE = "E-SCHEMA-005";
    /// No type is written like this.
    WRONG_TYPE = "E-SCHEMA-006";
    /// A document begins with its kind, such as `datastore:`.
    UNKNOWN_DOCUMENT = "E-SCHEMA-007";
    /// A key does not go with the kind of its object, such as `host` with `kind: sqlite`.
    KEY_OF_OTHER_KIND = "E-SCHEMA-008";
    /// Keys that exclude each other, or belong together, do not fit.
    KEYS_DO_NOT_FIT = "E-SCHEMA-009";
    /// A cron expression or a time zone is not known.
    WRONG_SCHEDULE = "E-SCHEMA-010";
    /// The code of a transformer lies in the model's folder.
    CODE_OUTSIDE = "E-SCHEMA-011";

    /// What a platform's program said of itself can't be read.
    DESCRIBE_UNREADABLE = "E-SCHEMA-012";

    /// The text breaks the rule for such names.
    NOT_A_NAME = "E-NAME-001";
    /// A name was given before; case makes no difference.
    DUPLICATE_NAME = "E-NAME-002";
    /// No folder around the file has a document `team:`.
    NO_TEAM = "E-NAME-003";
    /// No folder around the file has a document `zone:`.
    NO_ZONE = "E-NAME-004";
    /// One folder is the folder of one zone and one team.
    FOLDER_TAKEN = "E-NAME-005";
    /// There is one `ecosystem:`, in the root's `ecosystem.yaml`.
    ECOSYSTEM_PLACE = "E-NAME-006";
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_code_stands_for_two_things() {
        let mut codes: Vec<_> = super::ALL.iter().map(|(code, _)| code.0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), super::ALL.len());
        assert!(super::ALL.iter().all(|(_, sentence)| sentence.ends_with('.')));
    }
}
