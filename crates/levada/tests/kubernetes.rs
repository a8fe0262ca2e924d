//! A platform that pods run, without a cluster: what the manifests tell the pods to run is run, with what
//! they find in it.

use crate::ecosystem::{Ecosystem, Ran};
use levada_testbed::PostgresCluster;
use levada_testbed::postgres::{PASSWORD, SUPERUSER};
use std::path::Path;

const ECOSYSTEM: &str = "\
ecosystem: two
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms:
  - platform: \"Pods $(HOME)\"
    kind: kubernetes
    style: batch
    locations: [\"here:lab\"]
    host: { kubernetes: levada, image: \"levada@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" }
    settings:
      out: rendered
  - { platform: Here, kind: embedded, style: forensic, locations: [\"here:lab\"] }
";

const MODEL: &str = "\
datastore: Shop
container: shop
ingest: { kind: snapshot, trigger: { cron: \"0 * * * *\" } }
datasets:
  orders:
    classification: pub
    columns:
      id: { type: int64, key: true }
      customer: text
---
datastore: Stock
container: shop
ingest: { kind: snapshot, trigger: { cron: \"0 * * * *\" } }
datasets:
  items:
    classification: pub
    columns:
      id: { type: int64, key: true }
---
workspace: Count
container: reports
groups:
  G: { datasets: [Shop.orders] }
transformer:
  transformer: Count
  output: Counted
  trigger: on-change
  code: { command: [sh, ./count.sh] }
datasets:
  customers:
    classification: pub
    columns:
      customer: { type: text, key: true }
---
workspace: Live
container: reports
groups:
  G:
    requires: { latency: minutes, milestoning: live, retention: 30d }
    datasets: [Shop.orders]
---
workspace: Past
container: reports
groups:
  G:
    requires: { latency: hours, milestoning: both, retention: 7y }
    datasets: [Stock.items]
";

/// What `docker/Dockerfile` sets.
const IMAGE_ENVIRONMENT: [(&str, &str); 4] = [
    ("LEVADA_STATE", "sqlite:/data/state.db"),
    ("LEVADA_DATA", "/data/store"),
    ("LEVADA_SECRETS", "/secrets"),
    ("LEVADA_CACHE", "off"),
];

const TABLES: &str = "\
CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT);
CREATE TABLE items (id BIGINT PRIMARY KEY);
INSERT INTO orders VALUES (1, 'ana'), (2, 'bo');
INSERT INTO items VALUES (7);";

/// The model, and the databases that it names.
struct Bed {
    ecosystem: Ecosystem,
    cluster: PostgresCluster,
}

impl Bed {
    fn new() -> Self {
        let cluster = PostgresCluster::start().expect("PostgreSQL starts");
        for database in ["state", "shop", "reports"] {
            cluster.create_database(database).expect("a database");
        }
        cluster.sql("shop", TABLES).expect("tables");
        let ecosystem = Ecosystem::new();
        let container = |name: &str| {
            let port = cluster.port();
            format!(
                "  - {{ container: {name}, kind: postgres, location: \"here:lab\", host: 127.0.0.1, port: {port}, database: {name}, credential: pg }}\n"
            )
        };
        ecosystem.write("ecosystem.yaml", ECOSYSTEM);
        ecosystem.write("z/zone.yaml", "zone: Z\n");
        ecosystem
            .write("z/t/team.yaml", &format!("team: T\ncontainers:\n{}{}", container("shop"), container("reports")));
        ecosystem.write("z/t/model.yaml", MODEL.split("---\nworkspace: Count").next().expect("it has a beginning"));
        ecosystem.write("z/t/consumers.yaml", &MODEL[MODEL.find("workspace: Live").expect("it is there")..]);
        // A store in pods feeds nobody else: what is consumed elsewhere is ingested there.
        ecosystem.write("assignments.yaml", "primary: Stock\nplatform: Here\n");
        ecosystem.secret("pg", SUPERUSER, PASSWORD);
        ecosystem.write("levada.toml", &format!("secrets = \"secrets\"\nstate = \"{}\"\n", cluster.url("state")));
        // What the pods find where the manifests put it.
        ecosystem.write("pods/state", &cluster.url("state"));
        ecosystem.write("pods/token", "a token");
        ecosystem.write("pods/model/.nothing", "");
        Self { ecosystem, cluster }
    }

    fn rows(&self, database: &str, query: &str) -> String {
        self.cluster.sql(database, query).expect("the query runs").trim().to_owned()
    }

    /// Runs what a container of the manifests is told, in the places of this machine; `more` is beyond that.
    fn pod(&self, file: &str, more: &[&str]) -> Ran {
        let manifest = std::fs::read_to_string(self.ecosystem.path("rendered/kubernetes/base").join(file));
        let manifest = manifest.expect("it is rendered");
        let place = |path: &str| match path {
            "/model" => self.ecosystem.path("pods/model").display().to_string(),
            "/data/store" => self.ecosystem.path("pods/data").display().to_string(),
            "/secrets" => self.ecosystem.path("secrets").display().to_string(),
            "/etc/levada/state/url" => self.ecosystem.path("pods/state").display().to_string(),
            "/etc/levada/token/token" => self.ecosystem.path("pods/token").display().to_string(),
            // Kubernetes makes one dollar sign of two; the port may be somebody's here.
            other => other.replace("$$", "$").replace("0.0.0.0:8080", "127.0.0.1:0"),
        };
        let container = &manifest[manifest.find("          args:").expect("a container")..];
        let unquoted = |text: &str| place(text.trim().trim_matches('"'));
        let lines = |from: &str, to: &str| {
            let part = container.split_once(from).expect("it is there").1.split_once(to).expect("it is there").0;
            part.lines().filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut arguments: Vec<String> = lines("args:", "env:").iter().map(|it| unquoted(it)).collect();
        let folder = arguments.pop().expect("the folder is last");
        arguments.extend(more.iter().map(|it| (*it).to_owned()));
        arguments.push(folder);
        let environment =
            container.split_once("env:").expect("it is there").1.split_once("image:").expect("it is there").0;
        let names = environment.lines().filter_map(|line| line.trim().strip_prefix("- name: "));
        let values = environment.lines().filter_map(|line| line.trim().strip_prefix("value: "));
        let environment = names.map(str::to_owned).zip(values.map(unquoted));
        // What the image sets, the manifest sets over it.
        let of_image = IMAGE_ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Vec<(String, String)> = of_image.into_iter().chain(environment).collect();
        Ecosystem::run_anywhere(&arguments, &environment)
    }
}

#[test]
fn what_the_manifests_tell_pods_to_run_does_the_work_of_their_platform_alone() {
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/Dockerfile");
    let dockerfile = std::fs::read_to_string(dockerfile).expect("read the Dockerfile");
    assert!(IMAGE_ENVIRONMENT.iter().all(|(name, value)| dockerfile.contains(&format!("{name}={value}"))));
    let bed = Bed::new();
    let levada = |arguments: &[&str]| bed.ecosystem.levada(arguments);
    let refused = levada(&["run", "--platform", "Here", "--until-idle"]);
    assert!(refused.code == 1 && refused.stderr.contains("levada apply"), "{}", refused.stderr);
    levada(&["apply", "--yes"]).succeeded();
    bed.pod("jobs.yaml", &[]).succeeded();

    // Whoever is started anywhere leaves the pods' work alone, and the other way round.
    levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(bed.rows("reports", "SELECT id FROM past.stock_items"), "7");
    let missing = bed.rows("reports", "SELECT count(*) FROM pg_views WHERE schemaname = 'live'");
    assert_eq!(missing, "0", "pods deliver to it");
    let ran = bed.pod("workload.yaml", &["--until-idle"]).succeeded();
    assert!(ran.stderr.contains("0 failed"), "{}", ran.stderr);
    assert_eq!(bed.rows("reports", "SELECT string_agg(customer, ',' ORDER BY id) FROM live.shop_orders"), "ana,bo");

    // Each verifies what its own store says.
    let (here, there) = (levada(&["verify"]).succeeded(), bed.verify());
    assert!(here.stdout.contains("Stock.items") && !here.stdout.contains("Shop.orders"), "{}", here.stdout);
    assert!(there.stdout.contains("Shop.orders") && !there.stdout.contains("Stock.items"), "{}", there.stdout);
    let refused = levada(&["run", "--platform", "Here", "--until-idle"]);
    assert!(refused.stderr.contains("is not run by pods"), "{}", refused.stderr);

    // What pods deliver is rebuilt by them, from their store.
    let told = levada(&["rehydrate", "Live"]).succeeded();
    assert!(told.stderr.contains("pods"), "{}", told.stderr);
    bed.pod("workload.yaml", &["--until-idle"]).succeeded();
    bed.verify();

    // A platform that is in use stays where it is.
    let elsewhere = ECOSYSTEM.replace("kubernetes: levada,", "kubernetes: other,");
    bed.ecosystem.write("ecosystem.yaml", &elsewhere);
    let refused = levada(&["plan"]);
    assert!(refused.code == 1 && refused.stderr.contains("E-EVOLUTION-007"), "{}", refused.stderr);
    let unhosted = ECOSYSTEM.replace("{ platform: Here, kind: embedded, style: forensic,", "{ platform: Here, kind: embedded, style: forensic, host: { kubernetes: levada, image: \"levada@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" },");
    bed.ecosystem.write("ecosystem.yaml", &unhosted);
    let refused = levada(&["plan"]);
    assert!(refused.code == 1 && refused.stderr.contains("E-EVOLUTION-008"), "{}", refused.stderr);

    // What leaves is taken away by the pods that delivered it.
    bed.ecosystem.write("ecosystem.yaml", ECOSYSTEM);
    bed.ecosystem.write("z/t/consumers.yaml", &MODEL[MODEL.find("workspace: Past").expect("it is there")..]);
    levada(&["apply", "--yes"]).succeeded();
    levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(bed.rows("reports", "SELECT count(*) FROM pg_views WHERE schemaname = 'live'"), "1");
    bed.pod("workload.yaml", &["--until-idle"]).succeeded();
    assert_eq!(bed.rows("reports", "SELECT count(*) FROM pg_views WHERE schemaname = 'live'"), "0");
}

#[test]
fn pods_find_the_program_of_a_transformer_where_the_manifests_put_it() {
    let bed = Bed::new();
    let count = &MODEL[MODEL.find("workspace: Count").expect("it is there")
        ..MODEL.find("---\nworkspace: Live").expect("it is there")];
    bed.ecosystem.write("z/t/count/count.yaml", count);
    // It only says where it runs, and that it found its neighbour; the output it leaves is none.
    bed.ecosystem.write("z/t/count/count.sh", "cat words.txt >&2; exit 1\n");
    bed.ecosystem.write("z/t/count/words.txt", "here are my words\n");
    bed.ecosystem.write(
        "z/t/count/consumer.yaml",
        "workspace: Customers\ncontainer: reports\ngroups:\n  G: { datasets: [Counted.customers] }\n",
    );
    bed.ecosystem.levada(&["apply", "--yes"]).succeeded();
    let model = std::fs::read_to_string(bed.ecosystem.path("rendered/kubernetes/base/model-0000.yaml"));
    let model = model.expect("the program is copied");
    assert!(model.contains("here are my words") && !model.contains("workspace:"), "{model}");
    for (path, text) in [("count.sh", "cat words.txt >&2; exit 1\n"), ("words.txt", "here are my words\n")] {
        bed.ecosystem.write(&format!("pods/model/z/t/count/{path}"), text);
    }
    let ran = bed.pod("workload.yaml", &["--until-idle", "--format=json"]);
    assert!(ran.stdout.contains("here are my words"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_state_that_pods_can_t_reach_is_refused_and_nothing_is_applied() {
    let bed = Bed::new();
    bed.ecosystem.write("levada.toml", "secrets = \"secrets\"\n");
    let refused = bed.ecosystem.levada(&["apply", "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("postgres://"), "{}", refused.stderr);
    assert!(!bed.ecosystem.path("rendered").exists());
    let status = bed.ecosystem.levada(&["status"]).succeeded();
    assert!(status.stderr.contains("0 nodes"), "{}{}", status.stdout, status.stderr);
}

impl Bed {
    /// Runs the comparison of the CronJob.
    fn verify(&self) -> Ran {
        let jobs =
            std::fs::read_to_string(self.ecosystem.path("rendered/kubernetes/base/jobs.yaml")).expect("rendered");
        let of_verify = jobs.split("---\n").find(|it| it.contains("kind: CronJob")).expect("it is there");
        // It is set in deeper than a Deployment's.
        let outdented: String =
            of_verify.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
        self.ecosystem.write("rendered/kubernetes/base/verify.yaml", &outdented);
        let ran = self.pod("verify.yaml", &[]);
        std::fs::remove_file(self.ecosystem.path("rendered/kubernetes/base/verify.yaml")).expect("it was written");
        ran.succeeded()
    }
}
