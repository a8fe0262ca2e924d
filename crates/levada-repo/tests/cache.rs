//! The parse cache gives what parsing gives, whatever happened to it.

use levada_model::{Model, Span};
use levada_repo::{Loaded, load, load_cached};
use std::path::{Path, PathBuf};

const TEAM: &str = "zone: Z\n---\nteam: T\ncontainers:\n  - { container: c, kind: sqlite, location: v, path: a.db }\n";

fn store(name: &str) -> String {
    format!(
        "datastore: {name}\ncontainer: c\ningest: {{ kind: cdc }}\ndatasets: {{ a: {{ columns: {{ x: text }} }} }}\n"
    )
}

struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().expect("make a temporary folder") };
        setting.write("ecosystem.yaml", "ecosystem: small\n");
        setting.write("team.yaml", TEAM);
        setting.write("m/d.yaml", &store("D"));
        setting.write("m/e.yaml", &store("E"));
        setting
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn cache(&self) -> PathBuf {
        self.root().join(".levada/cache")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().expect("files lie in the folder")).expect("create the folder");
        std::fs::write(path, text).expect("write the file");
    }

    /// Loads with and without the cache, and checks that nobody can tell which is which.
    fn load(&self) -> Loaded {
        let (with, without) =
            (load_cached(self.root(), &self.cache()).expect("load"), load(self.root()).expect("load"));
        assert_eq!(format!("{:?}", with.findings), format!("{:?}", without.findings));
        assert_eq!(in_words(&with.model), in_words(&without.model));
        with
    }

    fn shards(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.cache()).expect("the cache is there");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| {
            path.extension().is_some_and(|extension| extension == "sketches" || extension == "fragments")
        });
        paths.sort();
        paths
    }
}

/// Everything in a model but the index, whose maps have no order; places included.
fn in_words(model: &Model) -> String {
    let Model {
        ecosystem,
        zones,
        teams,
        containers,
        datastores,
        workspaces,
        calendars,
        assignments,
        primaries,
        outlines,
        ..
    } = model;
    format!(
        "{ecosystem:?}{zones:?}{teams:?}{containers:?}{datastores:?}{workspaces:?}{calendars:?}{assignments:?}{primaries:?}{outlines:?}"
    )
}

fn span_of(loaded: &Loaded, name: &str) -> Span {
    let store = loaded.model.datastores.iter().find(|store| store.name.as_str() == name);
    store.expect("the datastore is there").span
}

#[test]
fn a_second_load_reads_the_cache_and_gives_the_same_places() {
    let setting = Setting::new();
    setting.load();
    assert!(!setting.shards().is_empty());
    // A file before the others moves their numbers; the cached spans follow.
    setting.write("a.yaml", &store("A"));
    let loaded = setting.load();
    let place = loaded.files.place(span_of(&loaded, "E")).expect("a place");
    assert_eq!(place.to_string(), "m/e.yaml:1:12");
}

#[test]
fn a_changed_and_a_removed_file_are_seen_and_leave_the_cache() {
    let setting = Setting::new();
    setting.load();
    setting.write("m/d.yaml", &store("Other"));
    std::fs::remove_file(setting.root().join("m/e.yaml")).expect("remove the file");
    let loaded = setting.load();
    let names: Vec<&str> = loaded.model.datastores.iter().map(|store| store.name.as_str()).collect();
    assert_eq!(names, ["Other"]);
    let cached: u64 = setting.shards().iter().map(|path| std::fs::metadata(path).expect("a file").len()).sum();
    setting.load();
    let again: u64 = setting.shards().iter().map(|path| std::fs::metadata(path).expect("a file").len()).sum();
    assert_eq!(cached, again);
}

#[test]
fn mistakes_are_found_every_time() {
    let setting = Setting::new();
    setting.write("m/bad.yaml", "datastore: B\nconteiner: c\n");
    for _ in 0..2 {
        assert!(setting.load().findings.has_errors());
    }
}

#[test]
fn a_damaged_cache_and_one_that_cannot_be_written_cost_nothing_but_time() {
    let setting = Setting::new();
    setting.load();
    for shard in setting.shards() {
        let mut bytes = std::fs::read(&shard).expect("read the shard");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&shard, bytes).expect("damage the shard");
    }
    setting.load();
    std::fs::remove_dir_all(setting.cache()).expect("remove the cache");
    setting.write(".levada/cache", "a file stands where the folder would");
    setting.load();
}

#[test]
fn a_survey_parses_what_changed_and_loads_what_is_asked_for() {
    use levada_model::Address;
    use levada_repo::Folder;
    let setting = Setting::new();
    let survey = || Folder::open(setting.root()).expect("a folder").survey(Some(&setting.cache())).expect("a survey");
    assert_eq!((survey().parsed(), survey().parsed()), (4, 0));
    setting.write("m/d.yaml", &store("D").replace("text", "int32"));
    let survey = survey();
    assert_eq!((survey.parsed(), survey.files()), (1, 4));
    let outlines = &survey.outlined().expect("nothing is wrong").outlines;
    assert_eq!(**outlines, *setting.load().model.outlined().outlines, "the outline of files is that of the model");
    let wanted = [Address::Datastore("E".parse().expect("a name"))].into();
    let part = survey.part(&wanted).expect("a part");
    let names = |model: &Model| model.datastores.iter().map(|store| store.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&part.model), ["E"]);
    assert_eq!(part.files.place(span_of(&part, "E")).expect("a place").to_string(), "m/e.yaml:1:12");
    assert_eq!(names(&survey.whole().expect("the whole").model), ["D", "E"]);
}

#[test]
fn an_outline_has_no_places_and_is_missing_where_something_is_wrong() {
    use levada_repo::Folder;
    let setting = Setting::new();
    let outlined =
        || Folder::open(setting.root()).expect("a folder").survey(None).expect("a survey").outlined().cloned();
    let first = outlined().expect("nothing is wrong");
    setting.write("m/d.yaml", &format!("# moved\n\n{}", store("D")));
    assert_eq!(outlined().expect("nothing is wrong"), first);
    setting.write("m/f.yaml", &store("d"));
    assert_eq!(outlined(), None, "two datastores with one name");
    setting.write("m/f.yaml", "datastore: F\nconteiner: c\n");
    assert_eq!(outlined(), None, "a key that nobody knows");
}
