//! The grammar of the model's files, as tables.
//!
//! Every object kind is an [`Object`] with its [`Key`]s; every key has a [`Shape`], a sentence and
//! an example. The checker and the JSON Schema both read these tables and nothing else, so they
//! can't disagree. A table knows no Rust type: the readers in `read` turn checked nodes into the
//! model.

mod consumer;
mod ecosystem;
mod operations;
mod owner;
mod platform;
mod producer;
mod zone;

/// The kinds of documents; a document's first key is its kind.
pub(crate) const DOCUMENTS: [&Object; 8] = [
    &ecosystem::ECOSYSTEM,
    &operations::CALENDAR,
    &zone::ZONE,
    &owner::TEAM,
    &producer::DATASTORE,
    &consumer::WORKSPACE,
    &operations::ASSIGN,
    &operations::PRIMARY,
];

/// One kind of object.
#[derive(Debug)]
pub(crate) struct Object {
    /// With its article, as in a message: `a datastore`.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// What the object is in an address.
    pub(crate) what: What,
    /// The keys of every such object; a document's first one is its kind.
    pub(crate) keys: &'static [Key],
    /// Further keys, by the value of one of `keys`.
    pub(crate) variants: Option<&'static Variants>,
    /// How keys depend on each other.
    pub(crate) rules: &'static [Rule],
}

/// Keys that an object has only when one of its keys has a certain word.
#[derive(Debug)]
pub(crate) struct Variants {
    /// The key that decides; its shape is [`Shape::Word`].
    pub(crate) by: &'static str,
    /// The words, and the keys that go with them.
    pub(crate) cases: &'static [Variant],
}

/// The words that share further keys, and those keys.
pub(crate) type Variant = (&'static [&'static str], &'static [Key]);

/// How keys of one object depend on each other.
#[derive(Debug)]
pub(crate) enum Rule {
    /// One of them stands there, and only one.
    ExactlyOne(&'static [&'static str]),
    /// One of them or more stand there.
    AtLeastOne(&'static [&'static str]),
    /// The first stands only where one of the others does.
    OnlyWith(&'static str, &'static [&'static str]),
    /// The first never stands without the second.
    Needs(&'static str, &'static str),
}

/// One key of an object.
#[derive(Debug)]
pub(crate) struct Key {
    /// As written.
    pub(crate) name: &'static str,
    /// What stands behind it.
    pub(crate) shape: Shape,
    /// Whether it must be there.
    pub(crate) is_required: bool,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// What somebody might write there, as YAML; empty where the shape says enough.
    pub(crate) example: &'static str,
}

/// What may stand at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number in a range.
    Integer(u64, u64),
    /// A number with at most three digits behind the point.
    Cost,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A name of a family.
    Name(Names),
    /// A text of a form of its own.
    Form(Form),
    /// A list.
    List(&'static Shape),
    /// A list that is not empty.
    Filled(&'static Shape),
    /// A mapping from names to values; not empty, but where the names are free.
    Map(Names, &'static Shape),
    /// An object with its own keys.
    Object(&'static Object),
    /// The short form is a scalar, the long one a mapping.
    Either(&'static Shape, &'static Shape),
    /// Mappings in mappings, as deep as needed: locations.
    Tree,
    /// Anything; somebody else checks it.
    Any,
}

/// The families of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// `[A-Za-z][A-Za-z0-9_-]{0,127}`
    Identifier,
    /// The same without `-`.
    Credential,
    /// Printable text without `/`.
    Label,
    /// Printable text.
    Column,
    /// Any text, such as the options of a file format.
    Free,
}

/// Texts of a form of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `30s 5m 8h 30d 2w 6mo 7y`
    Period,
    /// `512MB`
    Bytes,
    /// `2026-05-01`
    Date,
    /// `*/10 * * * *`
    Cron,
    /// `Europe/Lisbon`
    TimeZone,
    /// `varchar(40)`
    DataType,
    /// `azure:us/east`
    Location,
    /// `NW_Data.customers`
    DatasetRef,
    /// `Reporting` or `Reporting/G`
    Consumer,
    /// `Reporting/G`
    GroupRef,
    /// `role:analysts` or `user:eva`
    Reader,
    /// `broker1:9092`
    HostPort,
}

/// What an object is in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Part of whatever holds it.
    Part,
    /// The whole model.
    Ecosystem,
    Zone,
    Team,
    Container,
    Datastore,
    Dataset,
    Column,
    Workspace,
    Group,
    Transformer,
    Platform,
    Infrastructure,
    Calendar,
}

impl Object {
    /// The keys that go with an object whose deciding key has the word `word`.
    pub(crate) fn variant(&self, word: Option<&str>) -> &'static [Key] {
        let cases = self.variants.map_or(&[][..], |variants| variants.cases);
        let case = cases.iter().find(|(words, _)| word.is_some_and(|word| words.contains(&word)));
        case.map_or(&[], |(_, keys)| keys)
    }

    /// Every key with this name, whatever the variant, and the words it goes with.
    pub(crate) fn words_of(&self, key: &str) -> Vec<&'static str> {
        let cases = self.variants.map_or(&[][..], |variants| variants.cases);
        let with_key = cases.iter().filter(|(_, keys)| keys.iter().any(|known| known.name == key));
        with_key.flat_map(|(words, _)| words.iter().copied()).collect()
    }
}

/// A required key.
const fn required(name: &'static str, shape: Shape, doc: &'static str, example: &'static str) -> Key {
    Key { name, shape, is_required: true, doc, example }
}

/// A key that may be absent.
const fn optional(name: &'static str, shape: Shape, doc: &'static str, example: &'static str) -> Key {
    Key { name, shape, is_required: false, doc, example }
}

/// `documentation:`, which everything may have.
const DOCUMENTATION: Key = optional("documentation", Shape::Text, "For people.", "");

const IDENTIFIER: Shape = Shape::Name(Names::Identifier);
const LABEL: Shape = Shape::Name(Names::Label);
const CREDENTIAL: Shape = Shape::Name(Names::Credential);
const STATUS: Shape = Shape::Word(&["production", "development"]);
const PERIOD: Shape = Shape::Form(Form::Period);
const DATE: Shape = Shape::Form(Form::Date);
const CRON: Shape = Shape::Form(Form::Cron);
const TIME_ZONE: Shape = Shape::Form(Form::TimeZone);
const DATASET_REF: Shape = Shape::Form(Form::DatasetRef);
const TEXTS: Shape = Shape::Filled(&Shape::Text);
const LABELS: Shape = Shape::Filled(&LABEL);
const CREDENTIALS: Shape = Shape::List(&CREDENTIAL);
const LOCATIONS: Shape = Shape::Filled(&Shape::Form(Form::Location));
