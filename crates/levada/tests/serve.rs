//! `levada serve`: the REST API, asked over HTTP as programs ask it.

use crate::ecosystem::Ecosystem;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A server that runs, killed at the end of the test.
struct Server {
    child: Child,
    address: String,
}

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Server {
    fn start(root: &Path, variables: &[(&str, &str)], listen: &str) -> Self {
        Self::of(&["serve", "--listen", listen], root, variables)
    }

    /// A command that says where it listens.
    fn of(arguments: &[&str], root: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        for name in ["LEVADA_STATE", "LEVADA_DATA", "LEVADA_CACHE", "LEVADA_SERVE_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).args(arguments).arg(root);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the built binary starts");
        let mut talk = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert!(talk.read_line(&mut line).expect("it says where it listens") > 0, "it ended without listening");
        }
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        // Somebody has to read what it says, or it stands still once the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut talk, &mut std::io::sink()));
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: levada\r\nConnection: close\r\n{headers}\r\n")
            .expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Waits until a question is answered as wished.
    #[track_caller]
    fn wait_for(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let value = self.get(path);
            if is_so(&value) {
                return value;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{path}: {value}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const NORTHWIND: [&str; 5] = [
    "ecosystem.yaml",
    "zones/usa/zone.yaml",
    "zones/usa/teams/northwind/team.yaml",
    "zones/usa/teams/northwind/nw_data.yaml",
    "zones/usa/teams/northwind/mask_customers.sql",
];

const STORE: &str = NORTHWIND[3];

fn northwind() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind");
    for name in NORTHWIND {
        ecosystem.write(name, &std::fs::read_to_string(example.join(name)).expect("a file of the example"));
    }
    ecosystem
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|item| item["name"].as_str()).collect()
}

#[test]
fn everything_of_the_worked_example_can_be_asked() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    assert_eq!(server.get("/api/v1/ecosystem")["counts"]["dataset"], 6);
    assert_eq!(names(&server.get("/api/v1/zones")), ["USA"]);
    assert_eq!(server.get("/api/v1/zones/USA")["policies"][0]["name"], "private data stays here");
    assert_eq!(names(&server.get("/api/v1/teams?zone=USA")), ["NorthWindTeam"]);
    assert_eq!(names(&server.get("/api/v1/datastores?team=Nobody")), Vec::<&str>::new());
    let store = server.get("/api/v1/datastores/NW_Data");
    assert_eq!((&store["primary"], &store["origin"]["from"]), (&"Azure Platform".into(), &"container".into()));
    let customers = server.get("/api/v1/datastores/NW_Data/datasets/customers");
    assert_eq!(customers["columns"][0]["type"], "varchar(5)");
    assert_eq!(customers["consumers"], serde_json::json!(["MaskCustomersWorkSpace/MaskCustomers"]));
    // Page by page: all of them, once.
    let (mut seen, mut path) = (Vec::new(), "/api/v1/datastores/NW_Data/datasets?limit=2".to_owned());
    loop {
        let page = server.get(&path);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/datastores/NW_Data/datasets?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["categories", "customers", "orders", "products", "suppliers"]);

    assert_eq!(server.get("/api/v1/transformers/MaskCustomersWorkSpace")["output"], "Masked_NW_Data");
    let platform = server.get("/api/v1/platforms/Azure%20Platform");
    assert_eq!((&platform["nodes"], &platform["edges"]), (&8.into(), &7.into()));
    let assignment = &server.get("/api/v1/assignments/WorkspaceUsingTransformerOutput")[0];
    assert!(assignment["candidates"][0]["verdict"]["chosen"].is_string(), "{assignment}");
    assert_eq!(server.get("/api/v1/primaries/NW_Data")["platform"], "Azure Platform");
    let nodes = server.get("/api/v1/graphs/Azure%20Platform/nodes");
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(8));
    let around = server.get("/api/v1/nodes/Trigger/Azure%20Platform/MaskCustomersWorkSpace?depth=1");
    let around: Vec<&str> =
        around["nodes"].as_array().expect("nodes").iter().filter_map(|it| it["address"].as_str()).collect();
    assert_eq!(around.len(), 3, "the export above, and the transform below: {around:?}");
    let lineage = server.get("/api/v1/lineage/NW_Data/customers?direction=down&depth=9");
    assert_eq!(lineage["datasets"], serde_json::json!(["Masked_NW_Data.customers", "NW_Data.customers"]));
    assert_eq!(lineage["workspaces"], serde_json::json!(["MaskCustomersWorkSpace", "WorkspaceUsingTransformerOutput"]));
    let up = server.get("/api/v1/lineage/Masked_NW_Data/customers?direction=up&depth=9");
    assert_eq!(up["datasets"], lineage["datasets"]);
    let found = server.get("/api/v1/search?q=CUSTOM");
    let found = found["addresses"].as_array().expect("addresses");
    assert!(
        found[0] == "Dataset/Masked_NW_Data/customers" && found.contains(&"Workspace/MaskCustomersWorkSpace".into()),
        "{found:?}"
    );

    // Nothing is applied yet; then something is.
    assert_eq!(server.get("/api/v1/blueprints")["items"], serde_json::json!([]));
    let plan = ecosystem.levada(&["plan", "--format", "json"]).succeeded().json();
    assert_eq!(server.get("/api/v1/plan"), plan, "as the command prints it");
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    server.wait_for("/api/v1/revision", |it| it["generation"] == 1);
    assert_eq!(server.get("/api/v1/blueprints")["items"][0]["added"], 8);
    let changes = server.get("/api/v1/blueprints/1/changes?limit=1000");
    assert!(changes["items"].as_array().expect("items").iter().all(|item| item["change"] == "added"));
    assert_eq!(server.get("/api/v1/plan")["changes"], serde_json::json!([]), "what is applied is not planned again");
    assert!(server.ask("GET", "/healthz", &[]).body.starts_with("ok"));
    assert!(server.ask("GET", "/metrics", &[]).body.contains("levada_generation 1"));
}

#[test]
fn what_is_asked_wrongly_is_told_in_findings() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    for (method, path, status, code) in [
        ("GET", "/api/v1/nothing", 404, "E-API-001"),
        ("GET", "/nothing", 404, "E-API-001"),
        ("GET", "/api/v1/datastores/nobody", 404, "E-API-002"),
        ("GET", "/api/v1/datastores/NW_Data/datasets/nobody", 404, "E-API-002"),
        ("GET", "/api/v1/nodes/Ingest/Nowhere/NW_Data", 404, "E-API-002"),
        ("GET", "/api/v1/nodes/rubbish", 404, "E-API-002"),
        ("GET", "/api/v1/blueprints/7/changes", 404, "E-API-002"),
        ("GET", "/api/v1/datastores?limit=0", 400, "E-API-003"),
        ("GET", "/api/v1/datastores?limit=many", 400, "E-API-003"),
        ("GET", "/api/v1/datastores?cursor=zz", 400, "E-API-003"),
        ("GET", "/api/v1/datastores?colour=red", 400, "E-API-003"),
        ("GET", "/api/v1/lineage/NW_Data/customers?depth=101", 400, "E-API-003"),
        ("GET", "/api/v1/blueprints/one/changes", 400, "E-API-003"),
        ("GET", "/api/v1/datastores/%ff", 400, "E-API-003"),
        ("GET", "/api/v1/search", 400, "E-API-003"),
        ("POST", "/api/v1/datastores", 405, "E-API-004"),
        ("DELETE", "/healthz", 405, "E-API-004"),
    ] {
        let answer = server.ask(method, path, &[]);
        let finding = &answer.json()["findings"][0];
        assert_eq!((answer.status, finding["code"].as_str()), (status, Some(code)), "{method} {path}: {}", answer.body);
        assert!(finding["message"].is_string() && finding["severity"] == "error");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert!(server.ask("PUT", "/api/v1/plan", &[]).header("allow").is_some_and(|allow| allow.contains("GET")));
}

#[test]
fn an_answer_is_known_again_by_its_etag_until_the_revision_changes() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    let path = "/api/v1/datastores/NW_Data";
    let first = server.ask("GET", path, &[]);
    let tag = first.header("etag").expect("an ETag").to_owned();
    let again = server.ask("GET", path, &[("If-None-Match", &format!("\"other\", W/{tag}"))]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(server.ask("GET", path, &[("If-None-Match", "\"other\"")]).status, 200);
    assert!(server.ask("GET", "/api/v1/revision", &[]).header("etag").is_none());
    let text = std::fs::read_to_string(ecosystem.path(STORE)).expect("the file");
    ecosystem.write(STORE, &text.replace("as of ten minutes ago", "as of today"));
    server.wait_for(path, |it| it["documentation"].as_str().is_some_and(|text| text.contains("as of today")));
    let changed = server.ask("GET", path, &[("If-None-Match", &tag)]);
    assert!(changed.status == 200 && changed.header("etag") != Some(&tag));
}

#[test]
fn revisions_are_swapped_under_load_without_dropping_a_request_and_a_broken_one_is_not_served() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    let text = std::fs::read_to_string(ecosystem.path(STORE)).expect("the file");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    let mut count = 0_u32;
                    while !is_over.load(Ordering::Relaxed) {
                        let store = server.get("/api/v1/datastores/NW_Data");
                        seen.insert(store["documentation"].as_str().expect("a text").to_owned());
                        count += 1;
                    }
                    (seen, count)
                })
            })
            .collect();
        for revision in ["one", "two"] {
            ecosystem.write(STORE, &text.replace("as of ten minutes ago", revision));
            server.wait_for("/api/v1/datastores/NW_Data", |it| {
                it["documentation"].as_str().is_some_and(|text| text.contains(revision))
            });
        }
        is_over.store(true, Ordering::Relaxed);
        for asker in askers {
            let (seen, count) = asker.join().expect("no request failed");
            assert!(count > 0 && (1..=3).contains(&seen.len()), "{count}: {seen:?}");
        }
    });
    ecosystem.write(STORE, &text.replace("container: nw_db", "container: nowhere"));
    let refused = server.wait_for("/api/v1/revision", |it| it["refused"].is_object());
    assert!(refused["refused"]["findings"][0]["file"].as_str().is_some_and(|file| file == STORE), "{refused}");
    let store = server.get("/api/v1/datastores/NW_Data");
    assert!(store["documentation"].as_str().is_some_and(|text| text.contains("two")), "the last one that holds");
    ecosystem.write(STORE, &text);
    server.wait_for("/api/v1/revision", |it| it["refused"].is_null());
}

#[test]
fn a_token_opens_and_without_one_only_this_machine_may_ask() {
    let ecosystem = northwind();
    let refused = ecosystem.levada(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(refused.code == 1 && refused.stderr.contains("LEVADA_SERVE_TOKEN"), "{}", refused.stderr);
    ecosystem.write("token", "geheim\n");
    ecosystem.write("levada.toml", "token = \"token\"\n");
    let server = Server::start(ecosystem.root(), &[], "0.0.0.0:0");
    for headers in [&[][..], &[("Authorization", "Bearer falsch")], &[("Authorization", "Basic geheim")]] {
        let answer = server.ask("GET", "/api/v1/zones", headers);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
        assert_eq!(answer.json()["findings"][0]["code"], "E-API-005");
    }
    assert_eq!(server.ask("GET", "/api/v1/zones", &[("Authorization", "Bearer geheim")]).status, 200);
    assert_eq!(server.ask("GET", "/metrics", &[]).status, 401);
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200, "whether somebody lives is no secret");
}

#[test]
fn a_worker_tells_everybody_that_it_lives_and_whoever_has_the_token_how() {
    let ecosystem = northwind();
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    let refused = ecosystem.levada(&["run", "--until-idle", "--listen", "0.0.0.0:0"]);
    assert!(refused.code == 1 && refused.stderr.contains("LEVADA_SERVE_TOKEN"), "{}", refused.stderr);
    let token = [("LEVADA_SERVE_TOKEN", "geheim")];
    let worker = Server::of(&["run", "--listen", "0.0.0.0:0"], ecosystem.root(), &token);
    assert_eq!(worker.ask("GET", "/healthz", &[]).status, 200);
    assert_eq!(worker.ask("GET", "/metrics", &[]).status, 401);
    let figures = worker.ask("GET", "/metrics", &[("Authorization", "Bearer geheim")]);
    assert!(figures.body.contains("levada_generation 1"), "{}", figures.body);
}

#[test]
fn a_model_with_errors_is_not_served_and_a_stop_ends_well() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    let id = server.child.id().to_string();
    let mut server = server;
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    let text = std::fs::read_to_string(ecosystem.path(STORE)).expect("the file");
    ecosystem.write(STORE, &text.replace("container: nw_db", "container: nowhere"));
    let refused = ecosystem.levada(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(refused.code == 1 && refused.stderr.contains("nowhere"), "{}", refused.stderr);
}

#[test]
fn the_openapi_document_has_every_path() {
    let ecosystem = northwind();
    let server = Server::start(ecosystem.root(), &[], "127.0.0.1:0");
    let document = server.get("/openapi.json");
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 24);
    assert!(paths.values().all(|path| path["get"]["responses"]["200"].is_object()));
    assert!(document["components"]["schemas"]["DatasetView"]["properties"]["columns"].is_object());
}
