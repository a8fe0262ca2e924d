//! Checks a node tree against the grammar, and reports everything that does not fit.
//!
//! Walks tables, knows no object by name. What it lets pass, the lowering can read.

use super::forms::{self, Fault};
use crate::address::Address;
use crate::codes;
use crate::grammar::{DOCUMENTS, Key, Names, Object, Rule, Shape, What};
use crate::name::*;
use crate::nearest::nearest;
use crate::syntax::{Entry, Node, Plain, Value};
use crate::{Code, FileId, Finding, Findings, Span};

/// Checks one document and gives its kind; `None` where it has none, or is no mapping.
pub(super) fn document(file: FileId, root: &Node<'_>, findings: &mut Findings) -> Option<&'static Object> {
    let mut checker = Checker { file, findings, root, path: Vec::new() };
    let object = checker.kind(root)?;
    checker.object(root, object);
    Some(object)
}

struct Checker<'n, 'f> {
    file: FileId,
    findings: &'f mut Findings,
    root: &'n Node<'n>,
    /// The objects around the current node.
    path: Vec<(What, &'n str)>,
}

impl<'n> Checker<'n, '_> {
    fn report(&mut self, code: Code, message: String, offset: u32, hint: Option<String>) {
        let mut finding = Finding::error(code, message).at(Span::new(self.file, offset));
        finding.address = self.address();
        finding.hint = hint;
        self.findings.push(finding);
    }

    /// The address of the innermost object that has one; `None` where a name is wrong, or where the
    /// address needs the zone, which is not known yet.
    fn address(&self) -> Option<Address> {
        let (&(what, name), around) = self.path.split_last()?;
        let datastore = || -> Option<DatastoreName> {
            match around.iter().rev().find(|(what, _)| matches!(what, What::Datastore | What::Workspace))? {
                (What::Datastore, name) => DatastoreName::parse(name).ok(),
                _ => {
                    let output = self.root.get("transformer")?.get("output")?;
                    DatastoreName::parse(output.text().or_else(|| output.get("datastore")?.text())?).ok()
                }
            }
        };
        let workspace = || {
            let (_, name) = around.iter().rev().find(|(what, _)| *what == What::Workspace)?;
            WorkspaceName::parse(name).ok()
        };
        Some(match what {
            What::Ecosystem => Address::Ecosystem,
            What::Zone => Address::Zone(ZoneName::parse(name).ok()?),
            What::Container => Address::Container(ContainerName::parse(name).ok()?),
            What::Datastore => Address::Datastore(DatastoreName::parse(name).ok()?),
            What::Dataset => Address::Dataset(datastore()?, DatasetName::parse(name).ok()?),
            What::Column => {
                let (_, dataset) = around.iter().rev().find(|(what, _)| *what == What::Dataset)?;
                let dataset = DatasetName::parse(dataset).ok()?;
                Address::Column(datastore()?, dataset, ColumnName::parse(name).ok()?)
            }
            What::Workspace => Address::Workspace(WorkspaceName::parse(name).ok()?),
            What::Group => Address::Group(workspace()?, GroupName::parse(name).ok()?),
            What::Transformer => Address::Transformer(workspace()?),
            What::Platform => Address::Platform(PlatformName::parse(name).ok()?),
            What::Infrastructure => Address::Infrastructure(InfrastructureName::parse(name).ok()?),
            What::Calendar => Address::Calendar(CalendarName::parse(name).ok()?),
            What::Team | What::Part => return None,
        })
    }

    /// The kind of a document: its first key, or, reported, any other of its keys.
    fn kind(&mut self, root: &Node<'_>) -> Option<&'static Object> {
        let kinds = || DOCUMENTS.iter().map(|object| object.keys[0].name);
        let known = |key: &str| DOCUMENTS.into_iter().find(|object| object.keys[0].name == key);
        let Value::Map(entries) = &root.value else {
            let message = format!("a document is a mapping that begins with its kind, and here stands {}", root.what());
            self.report(codes::UNKNOWN_DOCUMENT, message, root.offset, None);
            return None;
        };
        let Some(first) = entries.first() else {
            let message = "a document begins with its kind, and here stands nothing".to_owned();
            self.report(codes::UNKNOWN_DOCUMENT, message, root.offset, Some(list_hint("kinds", kinds())));
            return None;
        };
        if let Some(object) = known(&first.key) {
            return Some(object);
        }
        if let Some((entry, object)) = entries.iter().find_map(|entry| Some((entry, known(&entry.key)?))) {
            let message = format!("a document begins with its kind: `{}` comes first", entry.key);
            self.report(codes::UNKNOWN_DOCUMENT, message, entry.offset, None);
            return Some(object);
        }
        let near = nearest(&first.key, kinds());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("{}; files that are not part of the model go into .levadaignore", list_hint("kinds", kinds()))
            }
        };
        let message = format!("no document begins with `{}`", shown(&first.key));
        self.report(codes::UNKNOWN_DOCUMENT, message, first.offset, Some(hint));
        near.and_then(known)
    }

    fn object(&mut self, node: &'n Node<'n>, object: &'static Object) {
        let name =
            node.entries().iter().find(|entry| entry.key == object.keys[0].name).and_then(|entry| entry.value.text());
        let has_own_name = !matches!(object.what, What::Dataset | What::Column | What::Group | What::Part);
        if has_own_name {
            self.path.push((object.what, name.unwrap_or_default()));
        }
        self.keys(node, object);
        if has_own_name {
            self.path.pop();
        }
    }

    fn keys(&mut self, node: &'n Node<'n>, object: &'static Object) {
        let entries = node.entries();
        let word = object.variants.and_then(|variants| node.get(variants.by)).and_then(Node::text);
        let variant = object.variant(word);
        // Where the kind of a document is misspelt, its first key was reported already.
        let is_misspelt = std::ptr::eq(node, self.root) && node.get(object.keys[0].name).is_none();
        for entry in entries.iter().skip(usize::from(is_misspelt)) {
            match object.keys.iter().chain(variant).find(|key| key.name == entry.key) {
                Some(key) => self.shape(&entry.value, &key.shape, key.name),
                None => self.unknown_key(entry, object, variant, word),
            }
        }
        let required = object.keys.iter().chain(variant).skip(usize::from(is_misspelt)).filter(|key| key.is_required);
        for key in required {
            if node.get(key.name).is_none() {
                let hint = (!key.example.is_empty()).then(|| format!("for example `{}: {}`", key.name, key.example));
                self.report(codes::MISSING_KEY, format!("{} needs `{}`", object.name, key.name), node.offset, hint);
            }
        }
        for rule in object.rules {
            self.rule(node, object, rule);
        }
    }

    fn unknown_key(&mut self, entry: &Entry<'_>, object: &Object, variant: &[Key], word: Option<&str>) {
        let written = shown(&entry.key);
        let words = object.words_of(&entry.key);
        if let (false, Some(by)) = (words.is_empty(), object.variants.map(|variants| variants.by)) {
            let message = match word {
                Some(word) => format!("`{written}` does not go with `{by}: {}`", shown(word)),
                None => format!("`{written}` stands only with a `{by}`"),
            };
            let hint = format!("`{written}` goes with {}", words.join(", "));
            return self.report(codes::KEY_OF_OTHER_KIND, message, entry.offset, Some(hint));
        }
        let known = || object.keys.iter().chain(variant).map(|key| key.name);
        let hint = match nearest(&entry.key, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => list_hint("keys", known()),
        };
        self.report(
            codes::UNKNOWN_KEY,
            format!("`{written}` is not a key of {}", object.name),
            entry.offset,
            Some(hint),
        );
    }

    fn rule(&mut self, node: &Node<'_>, object: &Object, rule: &Rule) {
        let place = |key: &str| node.entries().iter().find(|entry| entry.key == key);
        let quoted = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let (message, offset) = match rule {
            Rule::ExactlyOne(keys) => {
                let mut given = keys.iter().filter_map(|key| place(key));
                match (given.next(), given.next()) {
                    (Some(_), None) => return,
                    (Some(first), Some(second)) => {
                        let message =
                            format!("`{}` and `{}` exclude each other in {}", first.key, second.key, object.name);
                        (message, second.offset.max(first.offset))
                    }
                    (None, _) => (format!("{} needs one of {}", object.name, quoted(keys)), node.offset),
                }
            }
            Rule::AtLeastOne(keys) if keys.iter().all(|key| place(key).is_none()) => {
                (format!("{} needs one or more of {}", object.name, quoted(keys)), node.offset)
            }
            Rule::OnlyWith(key, others) => match place(key) {
                Some(entry) if others.iter().all(|other| place(other).is_none()) => {
                    (format!("`{key}` stands only with {}", quoted(others)), entry.offset)
                }
                _ => return,
            },
            Rule::Needs(key, other) => match place(key) {
                Some(entry) if place(other).is_none() => (format!("`{key}` needs `{other}` beside it"), entry.offset),
                _ => return,
            },
            Rule::AtLeastOne(_) => return,
        };
        self.report(codes::KEYS_DO_NOT_FIT, message, offset, None);
    }

    /// Checks the value of `key`.
    fn shape(&mut self, node: &'n Node<'n>, shape: &'static Shape, key: &str) {
        match (shape, &node.value) {
            (_, Value::Broken) | (Shape::Any, _) => {}
            (Shape::Either(_, long), Value::Map(_)) => self.shape(node, long, key),
            (Shape::Either(short, _), Value::Scalar { .. }) => self.shape(node, short, key),
            (Shape::Filled(_), Value::List(items)) if items.is_empty() => self.empty(node, key),
            (Shape::Map(names, _), Value::Map(entries)) if entries.is_empty() && *names != Names::Free => {
                self.empty(node, key);
            }
            (Shape::List(item) | Shape::Filled(item), Value::List(items)) => {
                items.iter().for_each(|node| self.shape(node, item, key))
            }
            (Shape::Map(names, shape), Value::Map(entries)) => self.map(entries, *names, shape),
            (Shape::Object(object), Value::Map(_)) => self.object(node, object),
            (Shape::Tree, Value::Map(entries)) => {
                for entry in entries {
                    self.name(Names::Label, &entry.key, entry.offset);
                    let is_leaf =
                        matches!(&entry.value.value, Value::Scalar { text, is_plain: true } if text.is_empty());
                    if !is_leaf {
                        self.shape(&entry.value, shape, &entry.key);
                    }
                }
            }
            (_, Value::Scalar { text, is_plain }) => self.scalar(node, text, *is_plain, shape, key),
            _ => self.wrong_shape(node, shape, key),
        }
    }

    fn map(&mut self, entries: &'n [Entry<'n>], names: Names, shape: &'static Shape) {
        let what = match shape {
            Shape::Object(object) | Shape::Either(_, Shape::Object(object)) => object.what,
            _ => What::Part,
        };
        for entry in entries {
            self.path.push((what, &entry.key));
            self.name(names, &entry.key, entry.offset);
            self.shape(&entry.value, shape, &entry.key);
            self.path.pop();
        }
    }

    fn name(&mut self, names: Names, text: &str, offset: u32) {
        if let Some(fault) = forms::name_fault(names, text) {
            self.fault(fault, offset);
        }
    }

    fn fault(&mut self, fault: Fault, offset: u32) {
        self.report(fault.code, fault.message, offset, Some(fault.hint));
    }

    fn scalar(&mut self, node: &Node<'_>, text: &str, is_plain: bool, shape: &Shape, key: &str) {
        let plain = if is_plain { Plain::of(text) } else { Plain::Text };
        let is_fit = match shape {
            Shape::Boolean => matches!(text, "true" | "false") && is_plain,
            Shape::Integer(least, most) => {
                plain == Plain::Integer && text.parse::<u64>().is_ok_and(|number| (*least..=*most).contains(&number))
            }
            Shape::Cost => is_plain && forms::cost_milli(text).is_some(),
            Shape::Word(words) => {
                if plain == Plain::Text && !words.contains(&text) {
                    return self.unknown_word(node, text, words, key);
                }
                plain == Plain::Text
            }
            Shape::Text => plain == Plain::Text,
            Shape::Name(names) => {
                if plain == Plain::Text {
                    self.name(*names, text, node.offset);
                }
                plain == Plain::Text
            }
            Shape::Form(form) => {
                if plain == Plain::Text
                    && let Some(fault) = forms::form_fault(*form, text)
                {
                    self.fault(fault, node.offset);
                }
                plain == Plain::Text
            }
            _ => false,
        };
        if !is_fit {
            self.wrong_shape(node, shape, key);
        }
    }

    fn unknown_word(&mut self, node: &Node<'_>, text: &str, words: &[&str], key: &str) {
        let hint = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => list_hint("words", words.iter().copied()),
        };
        let message = format!("`{}` is not a word for `{}`", shown(text), shown(key));
        self.report(codes::UNKNOWN_WORD, message, node.offset, Some(hint));
    }

    fn empty(&mut self, node: &Node<'_>, key: &str) {
        self.report(codes::WRONG_SHAPE, format!("`{}` is empty", shown(key)), node.offset, None);
    }

    fn wrong_shape(&mut self, node: &Node<'_>, shape: &Shape, key: &str) {
        let message = format!("`{}` takes {}, and here stands {}", shown(key), expected(shape), node.what());
        let hint = match (shape, node.text()) {
            (Shape::Boolean, Some(_)) => Some("write `true` or `false`, without quotes".to_owned()),
            (Shape::Text | Shape::Name(Names::Label | Names::Column | Names::Free), Some(text)) if !text.is_empty() => {
                Some(format!("put it in quotes: \"{}\"", shown(text)))
            }
            (Shape::Form(form), _) => Some(format!("write it like {}", forms::form_words(*form).1)),
            (Shape::List(_) | Shape::Filled(_), Some(text)) if !text.is_empty() => {
                let quote = if matches!(node.value, Value::Scalar { is_plain: true, .. }) { "" } else { "\"" };
                Some(format!("write `[{quote}{}{quote}]`", shown(text)))
            }
            _ => None,
        };
        self.report(codes::WRONG_SHAPE, message, node.offset, hint);
    }
}

/// What a shape takes, in a message.
fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Boolean => "true or false".to_owned(),
        Shape::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Shape::Cost => "a number with at most three digits behind the point".to_owned(),
        Shape::Word([word]) => format!("the word `{word}`"),
        Shape::Word(words) => format!("one of {}", words.join(", ")),
        Shape::Name(_) => "a name".to_owned(),
        Shape::Form(form) => forms::form_words(*form).0.to_owned(),
        Shape::List(_) | Shape::Filled(_) => "a list".to_owned(),
        Shape::Map(..) | Shape::Tree => "a mapping".to_owned(),
        Shape::Object(object) => format!("the keys of {}", object.name),
        Shape::Either(short, long) => format!("{} or {}", expected(short), expected(long)),
        Shape::Any => "anything".to_owned(),
    }
}

fn list_hint<'k>(what: &str, words: impl Iterator<Item = &'k str>) -> String {
    format!("{what}: {}", words.collect::<Vec<_>>().join(", "))
}

/// A text from a file, short enough for a message and without line ends.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARS_MAX).flat_map(printable).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let is_plain = !(c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'));
    let escaped = (!is_plain).then(|| c.escape_default());
    is_plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax;

    /// Every object of the grammar, each once.
    fn objects() -> Vec<&'static Object> {
        fn add(object: &'static Object, found: &mut Vec<&'static Object>) {
            if found.iter().any(|known| known.name == object.name) {
                return;
            }
            found.push(object);
            for key in keys(object) {
                add_shape(&key.shape, found);
            }
        }
        fn add_shape(shape: &'static Shape, found: &mut Vec<&'static Object>) {
            match shape {
                Shape::Object(object) => add(object, found),
                Shape::List(inner) | Shape::Filled(inner) | Shape::Map(_, inner) => add_shape(inner, found),
                Shape::Either(short, long) => {
                    add_shape(short, found);
                    add_shape(long, found);
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        DOCUMENTS.into_iter().for_each(|object| add(object, &mut found));
        found
    }

    fn keys(object: &'static Object) -> impl Iterator<Item = &'static Key> {
        let further =
            object.variants.map_or(&[][..], |variants| variants.cases).iter().flat_map(|(_, keys)| keys.iter());
        object.keys.iter().chain(further)
    }

    #[test]
    fn every_example_of_the_grammar_passes_its_own_check() {
        for object in objects() {
            for key in keys(object).filter(|key| !key.example.is_empty()) {
                let mut findings = Findings::default();
                let documents = syntax::parse(FileId::default(), key.example, &mut findings);
                let root = &documents[0].root;
                let nowhere = Node { offset: 0, value: Value::Broken };
                let mut checker =
                    Checker { file: FileId::default(), findings: &mut findings, root: &nowhere, path: Vec::new() };
                checker.shape(root, &key.shape, key.name);
                assert_eq!(findings.0, [], "{} of {}", key.name, object.name);
            }
        }
    }

    #[test]
    fn objects_have_names_of_their_own_and_sentences() {
        let objects = objects();
        assert!(objects.len() > 25, "{}", objects.len());
        for object in objects {
            assert!(object.doc.ends_with('.'), "{}", object.name);
            for key in keys(object) {
                assert!(key.doc.ends_with('.'), "{} of {}", key.name, object.name);
            }
            if let Some(variants) = object.variants {
                let deciding = object.keys.iter().find(|key| key.name == variants.by).expect("it is a key");
                let Shape::Word(words) = deciding.shape else { panic!("{} is a word", variants.by) };
                let in_cases: Vec<&str> = variants.cases.iter().flat_map(|(words, _)| words.iter().copied()).collect();
                assert_eq!(in_cases.len(), words.len());
                assert!(words.iter().all(|word| in_cases.contains(word)));
            }
        }
    }
}
