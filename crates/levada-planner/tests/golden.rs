//! Golden scripts: a model, commands, and what they print.
//!
//! A case is one text under `tests/cases`. Files begin with `=== VERSION/PATH`; a later version is
//! laid over the first one. The last part, `=== script`, has commands (`$ use VERSION`, `$ check`, `$ against VERSION`,
//! `$ graph FORMAT`, `$ explain ADDRESS`, `$ plan FORMAT`, `$ apply`, `$ render PLATFORM`), each
//! followed by its output. `LEVADA_BLESS=1` writes the outputs as they are now; read the diff.

use crate::platforms::registry;
use levada_model::locate::line_column;
use levada_model::name::PlatformName;
use levada_model::{Address, FileId, Findings, Model, Span, assemble, read_file};
use levada_planner::plan::Measured;
use levada_planner::plan::PlanFormat;
use levada_planner::plan::write::Shown;
use levada_planner::{
    Blueprint, GraphFormat, PlanOutcome, Rendering, assign, evolve, explain, graph, lint, plan, weave,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

#[test]
fn every_script_prints_what_its_case_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let is_blessing = std::env::var_os("LEVADA_BLESS").is_some();
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("read the cases").map(|entry| entry.expect("read a case").path()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "the cases are there");
    let mut wrong = Vec::new();
    for case in cases {
        let text = std::fs::read_to_string(&case).expect("cases are UTF-8");
        let (files, script) = parse(&text);
        let printed = Stage::new(&files).play(&script);
        if printed == script {
            continue;
        }
        if is_blessing {
            let kept = text.split("=== script\n").next().expect("there is a first part");
            std::fs::write(&case, format!("{kept}=== script\n{printed}")).expect("write the case");
        } else {
            wrong.push(format!("{}\n--- expected\n{script}\n--- found\n{printed}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Texts by `VERSION/PATH`, and the script.
fn parse(text: &str) -> (BTreeMap<String, String>, String) {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut path = String::new();
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("=== ") {
            Some(name) => {
                path = name.trim_end().to_owned();
                files.insert(path.clone(), String::new());
            }
            None => files.get_mut(&path).expect("a case begins with ===").push_str(line),
        }
    }
    let script = files.remove("script").expect("a case has a script");
    (files, script)
}

/// What a script has done so far.
struct Stage<'c> {
    all: &'c BTreeMap<String, String>,
    files: Vec<(String, String)>,
    model: Model,
    findings: Findings,
    in_force: Option<Blueprint>,
}

impl<'c> Stage<'c> {
    fn new(all: &'c BTreeMap<String, String>) -> Self {
        let mut stage =
            Self { all, files: Vec::new(), model: Model::default(), findings: Findings::default(), in_force: None };
        stage.choose("first");
        stage
    }

    fn play(&mut self, script: &str) -> String {
        let mut printed = String::new();
        for command in script.lines().filter_map(|line| line.strip_prefix("$ ")) {
            writeln!(printed, "$ {command}").expect("memory takes it");
            printed += &self.run(command);
        }
        printed
    }

    fn run(&mut self, command: &str) -> String {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "use" => self.choose(argument),
            "check" => self.check(),
            "against" => self.against(argument),
            "graph" => self.graph(argument),
            "explain" => self.explain(argument),
            "plan" => self.plan(argument),
            "apply" => self.apply(),
            "render" => self.render(argument),
            other => panic!("{other} is no command"),
        }
    }

    fn choose(&mut self, version: &str) -> String {
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for layer in ["first", version] {
            for (path, text) in self.all {
                if let Some(path) = path.strip_prefix(layer).and_then(|path| path.strip_prefix('/')) {
                    files.insert(path, text);
                }
            }
        }
        self.files = files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
        self.load();
        String::new()
    }

    fn load(&mut self) {
        let mut findings = Findings::default();
        let mut fragments = Vec::new();
        for (number, (path, text)) in (0..).zip(&self.files) {
            if path.ends_with(".yaml") {
                let (fragment, found) = read_file(FileId(number), path, text.as_bytes());
                findings.extend(found);
                fragments.push((path.clone(), fragment));
            }
        }
        let read = |path: &str| Some(self.files.iter().find(|(known, _)| known == path)?.1.clone());
        let (model, found) = assemble(fragments, &read);
        findings.extend(found);
        (self.model, self.findings) = (model.outlined(), findings);
    }

    fn place(&self, span: Span) -> String {
        let (path, text) = &self.files[span.file.0 as usize];
        let (line, column) = line_column(text, span.offset);
        format!("{path}:{line}:{column}")
    }

    fn printed(&self, findings: &Findings) -> String {
        let mut printed = String::new();
        for finding in &findings.0 {
            let place = finding.span.map_or("-".to_owned(), |span| self.place(span));
            let address = finding.address.as_ref().map_or(String::new(), |address| format!(" [{address}]"));
            writeln!(printed, "{} {place}{address} {}", finding.code, finding.message).expect("memory takes it");
            if let Some(hint) = &finding.hint {
                writeln!(printed, "    {hint}").expect("memory takes it");
            }
        }
        printed
    }

    fn check(&self) -> String {
        let mut findings = self.findings.clone();
        findings.extend(lint(&self.model, &registry()));
        let (assignment, rejected) = assign(&self.model, &registry(), &Default::default());
        findings.extend(rejected);
        findings.extend(weave(&self.model, &assignment).1);
        findings.sort();
        if findings.0.is_empty() {
            return "no findings\n".to_owned();
        }
        self.printed(&findings)
    }

    /// Checks how the model in use evolved from another version.
    fn against(&mut self, version: &str) -> String {
        let after = (self.files.clone(), self.model.clone());
        self.choose(version);
        let before = self.model.clone();
        (self.files, self.model) = after;
        self.printed(&levada_planner::evolution::broken(&evolve(&before, &self.model)))
    }

    fn graph(&self, format: &str) -> String {
        let format = match format {
            "text" => GraphFormat::Text,
            "mermaid" => GraphFormat::Mermaid,
            "dot" => GraphFormat::Dot,
            "json" => GraphFormat::Json,
            other => panic!("{other} is no format of graphs"),
        };
        let (assignment, _) = assign(&self.model, &registry(), &self.choices());
        graph::write(&weave(&self.model, &assignment).0, format)
    }

    fn choices(&self) -> levada_planner::blueprint::Choices {
        self.in_force.as_ref().map(|blueprint| blueprint.choices.clone()).unwrap_or_default()
    }

    fn explain(&self, address: &str) -> String {
        let (address, as_json) = match address.strip_suffix(" --json") {
            Some(address) => (address, true),
            None => (address, false),
        };
        let address: Address = address.parse().expect("an address");
        let (assignment, _) = assign(&self.model, &registry(), &self.choices());
        let (graphs, _) = weave(&self.model, &assignment);
        match explain(&self.model, &assignment, &graphs, &address) {
            Ok(explanation) if as_json => explain::write::json(&explanation),
            Ok(explanation) => explain::write::text(&explanation),
            Err(error) => format!("failed to {error}\n"),
        }
    }

    fn planned(&self) -> Result<PlanOutcome, Findings> {
        let revision = format!("revision of {} files", self.files.len());
        let outcome = plan(&self.model, &registry(), self.in_force.as_ref(), revision)?;
        Ok(outcome)
    }

    fn plan(&self, format: &str) -> String {
        let format = match format {
            "text" => PlanFormat::Text,
            "json" => PlanFormat::Json,
            "markdown" => PlanFormat::Markdown,
            other => panic!("{other} is no format of plans"),
        };
        match self.planned() {
            Ok(outcome) => levada_planner::plan::write::write(
                &outcome.plan,
                format,
                &Shown { place: &|span| self.place(span), measured: &Measured::default(), lines_max: usize::MAX },
            ),
            Err(findings) => format!("refused\n{}", self.printed(&findings)),
        }
    }

    fn apply(&mut self) -> String {
        let outcome = self.planned().expect("what is applied has no errors");
        let text = format!("generation {}\n", outcome.blueprint.generation);
        self.in_force = Some(outcome.blueprint);
        text
    }

    fn render(&self, platform: &str) -> String {
        let PlanOutcome { plan, blueprint, .. } = self.planned().expect("what is rendered has no errors");
        let platform: PlatformName = platform.parse().expect("a platform's name");
        let renderings = levada_planner::render(&self.model, &registry(), &blueprint, &plan.delta);
        match &renderings[&platform] {
            Rendering::Nodes(changes) => changes.keys().map(|address| format!("node {address}\n")).collect(),
            Rendering::Pods(..) => unreachable!("no kind of these tests has pods"),
            Rendering::Files(files) => {
                files.iter().map(|(path, text)| format!("file {path} ({} bytes)\n", text.len())).collect()
            }
        }
    }
}
