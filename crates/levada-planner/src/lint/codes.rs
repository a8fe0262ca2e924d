//! The codes of what the planner finds, in one place. A code never changes its meaning.

use levada_model::Code;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code($code);)*

        /// Every code of the planner and the sentence that explains it, in order.
        pub const ALL: &[(Code, &str)] = &[$(($name, concat!($($doc),+).trim_ascii())),*];
    };
}

codes! {
    /// No container has this name.
    UNKNOWN_CONTAINER = "E-REF-001";
    /// No vendor has this name.
    UNKNOWN_VENDOR = "E-REF-002";
    /// The vendor has no such location.
    UNKNOWN_LOCATION = "E-REF-003";
    /// No calendar has this name.
    UNKNOWN_CALENDAR = "E-REF-004";
    /// Neither the ecosystem nor the zone has this classification.
    UNKNOWN_CLASSIFICATION = "E-REF-005";
    /// The zone has no such regulator.
    UNKNOWN_REGULATOR = "E-REF-006";
    /// No datastore has this name.
    UNKNOWN_DATASTORE = "E-REF-007";
    /// The datastore has no such dataset.
    UNKNOWN_DATASET = "E-REF-008";
    /// No workspace, or group of it, has this name.
    UNKNOWN_WORKSPACE = "E-REF-009";
    /// No platform has this name.
    UNKNOWN_PLATFORM = "E-REF-010";
    /// No infrastructure has this name.
    UNKNOWN_INFRASTRUCTURE = "E-REF-011";
    /// No vendor belongs to this cloud.
    UNKNOWN_CLOUD = "W-REF-012";
    /// A platform and its infrastructure are of one kind.
    INFRASTRUCTURE_KIND = "E-REF-013";
    /// `instead` names something that is not there.
    UNKNOWN_REPLACEMENT = "W-REF-014";

    /// A dataset without columns says nothing.
    NO_COLUMNS = "E-DATASET-001";
    /// A key column is never null.
    KEY_NULLABLE = "E-DATASET-002";
    /// A key column has a type that can be compared as a whole.
    KEY_TYPE = "E-DATASET-003";
    /// A watermark ingest needs a column.
    WATERMARK_MISSING = "E-DATASET-004";
    /// The dataset has no such column.
    UNKNOWN_COLUMN = "E-DATASET-005";
    /// A watermark column has a type with an order that new rows follow.
    WATERMARK_TYPE = "E-DATASET-006";
    /// A watermark ingest needs a key: changed rows replace their old versions.
    WATERMARK_KEY = "E-DATASET-007";
    /// Columns whose names differ only by letter case.
    COLUMN_CASE = "E-DATASET-008";
    /// Only a watermark ingest has watermark columns.
    WATERMARK_UNUSED = "W-DATASET-009";
    /// The names that the store keeps for itself begin with `lv_`; history views have `valid_from` and `valid_to`.
    COLUMN_RESERVED = "E-DATASET-010";
    /// A change log needs a key: without one, changed rows can't be told apart.
    CDC_KEY = "W-DATASET-011";
    /// Two datasets of a datastore read one table.
    TABLE_TWICE = "W-DATASET-012";
    /// An overlap is a length of time, and needs a watermark column of dates or times.
    OVERLAP_TYPE = "E-DATASET-013";
    /// A pattern of files stays in its folder, and says which file is whose.
    FILE_PATTERN = "E-DATASET-014";
    /// The format of the files has such options.
    FILE_OPTION = "E-DATASET-015";
    /// A table has a name; among files it stands for one part of a path.
    TABLE_NAME = "E-DATASET-016";

    /// A schedule has a next tick.
    NEVER_TICKS = "E-SCHEDULE-001";
    /// A window lasts, and ends after it begins.
    WINDOW_EMPTY = "E-SCHEDULE-002";
    /// A jitter is shorter than the time between two ticks.
    JITTER_LONG = "W-SCHEDULE-003";

    /// A list names something once.
    NAMED_TWICE = "W-LIST-001";
    /// A group without datasets gets nothing.
    GROUP_EMPTY = "W-LIST-002";

    /// Production data is classified, by its dataset or by its columns.
    UNCLASSIFIED = "E-CLASS-001";
    /// A classification stands at the dataset or at its columns, not at both.
    CLASSIFIED_TWICE = "E-CLASS-002";
    /// Where columns are classified, all of them are.
    PARTLY_CLASSIFIED = "E-CLASS-003";

    /// A policy does not want the data in this container.
    POLICY_CONTAINER = "E-POLICY-001";

    /// A production workspace consumes production data.
    STATUS_CONSUMED = "E-STATUS-001";
    /// The output of a development workspace's transformer can't be production data.
    STATUS_OUTPUT = "E-STATUS-002";

    /// Deprecated data is consumed only where the sink says `deprecated: allowed`.
    DEPRECATED_CONSUMED = "E-DEPRECATED-001";
    /// The sink allows what is not deprecated.
    DEPRECATED_NOT = "W-DEPRECATED-002";

    /// The producer did not approve this consumer.
    NOT_APPROVED = "E-APPROVED-001";

    /// A transformer writes into its own team.
    OUTPUT_OTHER_TEAM = "E-TRANSFORM-001";
    /// Two transformers write one datastore.
    OUTPUT_TWICE = "E-TRANSFORM-002";
    /// A file of a transformer can't be read.
    SQL_MISSING = "E-TRANSFORM-003";
    /// The code names a dataset that the output does not have.
    SQL_UNKNOWN_OUTPUT = "E-TRANSFORM-004";
    /// The code leaves a dataset of the output without a query.
    SQL_NO_OUTPUT = "E-TRANSFORM-005";
    /// One query makes one dataset.
    SQL_AMBIGUOUS = "E-TRANSFORM-006";
    /// A transformer that fires on change needs an input that changes.
    NOTHING_FIRES = "E-TRANSFORM-007";
    /// Transformers wait for each other.
    TRANSFORMER_CYCLE = "E-TRANSFORM-008";
    /// Nobody consumes the output, or nobody but the transformer itself.
    OUTPUT_UNUSED = "W-TRANSFORM-009";
    /// A transformer without outputs makes nothing.
    OUTPUT_EMPTY = "E-TRANSFORM-010";
    /// Mode `changes` knows rows by their key.
    CHANGES_KEY = "E-TRANSFORM-011";

    /// The container's system asks who is there, and the container names no credential.
    CREDENTIAL_MISSING = "E-CONTAINER-001";
    /// The system has no roles or users that could read.
    READERS_IGNORED = "W-CONTAINER-002";
    /// A container says where it is.
    PLACE_EMPTY = "E-CONTAINER-003";

    /// Two views of one container have one name.
    VIEW_COLLISION = "E-VIEW-001";
    /// The system, or Levada, keeps this schema for itself.
    VIEW_SCHEMA_RESERVED = "E-VIEW-002";
    /// The system has a limit for names.
    VIEW_NAME_TOO_LONG = "E-VIEW-003";
    /// A column's name is longer than the system keeps, or the system has a column of that name itself.
    COLUMN_NAME_TARGET = "E-VIEW-004";

    /// No platform of the ecosystem reads such containers in such a way.
    SOURCE_UNSERVED = "E-CAPABILITY-001";
    /// No platform of the ecosystem delivers to such containers.
    SINK_UNSERVED = "E-CAPABILITY-002";
    /// No platform of the ecosystem runs such code.
    CODE_UNSERVED = "E-CAPABILITY-003";
    /// This build has no renderer for the kind of platform.
    KIND_UNSERVED = "W-CAPABILITY-004";
    /// No platform has such a kind.
    KIND_UNKNOWN = "E-CAPABILITY-005";
    /// Such containers can't be read in such a way by anybody.
    INGEST_KIND = "E-CAPABILITY-006";
    /// No platform of the ecosystem makes that of missed ticks.
    CATCH_UP_UNSERVED = "E-CAPABILITY-007";

    /// No platform fits a group.
    NO_PLATFORM_FITS = "E-BROKER-001";
    /// No platform can ingest a datastore.
    NO_PRIMARY_FITS = "E-BROKER-002";
    /// What operations pinned does not fit.
    PIN_REJECTED = "E-BROKER-003";
    /// Two platforms would have to link and share no feed.
    NO_COMMON_FEED = "E-BROKER-004";

    /// A column's new type does not hold every old value.
    TYPE_NARROWED = "E-EVOLUTION-001";
    /// A column that consumers use goes.
    COLUMN_DROPPED = "E-EVOLUTION-002";
    /// A new column is nullable, since old versions have no value for it.
    COLUMN_NOT_NULLABLE = "E-EVOLUTION-003";
    /// A key never changes in place.
    KEY_CHANGED = "E-EVOLUTION-004";
    /// What is in use is deprecated before it is removed.
    REMOVED_IN_USE = "E-EVOLUTION-005";
    /// A platform stays of its kind as long as it has nodes.
    KIND_IN_FORCE = "E-EVOLUTION-006";
    /// A platform's nodes are shared out in another way than in force, and nothing says that they move.
    LAYOUT_IN_FORCE = "E-EVOLUTION-007";
    /// A platform whose nodes other workers run than in force.
    HOST_IN_FORCE = "E-EVOLUTION-008";
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
