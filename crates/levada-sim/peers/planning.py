"""Measures what a plan costs in Terraform, SQLMesh and dbt, with no change and with one.

    python planning.py --work /tmp/peers

Terraform must be on PATH; SQLMesh and dbt are installed from PyPI into virtual environments in the folder
of --work, which stay there for the next time. The projects are made in that folder, too, and go when the
program ends.

Terraform has N `terraform_data` resources that know nothing of each other, 100 in a file. They are applied, and
`terraform plan` is measured. The provider of `terraform_data` is built in: no second process plans, and a refresh
asks nobody. A real provider costs more.

SQLMesh and dbt have N models in ten layers on one seed: each model selects three columns from one of the layer
below. The changed model is in the sixth layer, so four others depend on it. `sqlmesh plan` is measured against
a DuckDB file to which all models were applied. dbt has no plan; the nearest are `dbt parse`, with what the last one
left, and `dbt ls --select state:modified` against the manifest from before the change.

Each command is a process of its own. Its CPU seconds are user and system, with the children that it waited for;
its peak is the most resident memory of its largest process; each figure is the median of several runs. Every
run with a change has another change, so that none finds the answer of the one before. What a run printed is
checked: that it saw no change, or just the one.

Linux and Python 3.11 are needed. With everything, it takes 12 minutes of CPU and 1.1 GB of memory.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median

SQLMESH_PACKAGES = ["sqlmesh==0.236.4", "duckdb==1.5.6"]

# dbt-core 1.12.1 and later need a dbt-core-experimental-parser that PyPI has no wheel of: its installation would
# fetch one from GitHub. 1.12.0 is content with the last wheel there is. dbt-core only uses it if it is told to.
DBT_PACKAGES = [
    "dbt-core==1.12.0",
    "dbt-duckdb==1.11.1",
    "duckdb==2.0.1",
    "dbt-core-experimental-parser==2.0.0a4",
    "--only-binary=dbt-core-experimental-parser",
]

# The numbers of resources or models.
TERRAFORM_SIZES = [1_000, 10_000]
SQLMESH_SIZES = [1_000]
DBT_SIZES = [1_000, 10_000]

RESOURCES_PER_FILE = 100
LAYERS = 10
CHANGED_LAYER = 5

# Nothing is told to the makers of the programs, and none asks whether there is a newer one.
ENVIRONMENT = os.environ | {
    "CHECKPOINT_DISABLE": "1",
    "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "NO_COLOR": "1",
}


class Failure(Exception):
    """Why a peer could not be measured."""


@dataclass
class Run:
    """What one process cost and printed."""

    cpu_seconds: float
    peak_megabytes: float
    output: str


@dataclass
class Row:
    """One line of the table."""

    peer: str
    version: str
    size: int
    what: str
    cpu_seconds: float
    peak_megabytes: float


def run(command: Sequence[str | Path], folder: Path, answer: str = "") -> Run:
    """Runs a command in a folder, with an answer to what it asks, until it ends."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(answer.encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=ENVIRONMENT, stdin=stdin, stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise Failure(f"{command[0]} can't be started: {error}") from error
        # Python's own wait would throw the usage away.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{text[-2000:]}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if usage.ru_maxrss <= own:
        # A process begins as a copy of this one, and its peak with that of this one.
        raise Failure(f"the peak of {command[0]} is hidden by this script's own, {own / 1024:.0f} MB")
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def prepare(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a command that is not measured, and gives what it printed."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise Failure(f"{command[0]} can't be started: {error}") from error
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def expect(text: str, output: str) -> None:
    """Fails unless an output has a text."""
    if text not in output:
        raise Failure(f"the output lacks '{text}':\n{output[-2000:]}")


def environment(work: Path, name: str, packages: list[str]) -> Path:
    """A virtual environment with packages, and the folder of its programs."""
    folder = work / name
    prepare([sys.executable, "-m", "venv", folder], work)
    prepare([folder / "bin" / "pip", "install", "--quiet", *packages], work)
    return folder / "bin"


class Table:
    """The rows of a peer, which grow as it is measured."""

    def __init__(self, peer: str, runs: int) -> None:
        self.peer, self.runs = peer, runs
        self.version = ""
        self.rows: list[Row] = []

    def measure(self, size: int, what: str, once: Callable[[int], Run]) -> None:
        """Adds the medians of several runs; each is given its number, from 1."""
        runs = []
        for number in range(1, self.runs + 1):
            each = once(number)
            figures = f"{each.cpu_seconds:.2f} CPU s, {each.peak_megabytes:.0f} MB"
            print(f"{self.peer} {size}: {what}: {figures}", file=sys.stderr, flush=True)
            runs.append(each)
        cpu_seconds = median(each.cpu_seconds for each in runs)
        peak_megabytes = median(each.peak_megabytes for each in runs)
        self.rows.append(Row(self.peer, self.version, size, what, cpu_seconds, peak_megabytes))


# Terraform.


def resources(first: int, end: int, changed: int | None = None, days: int = 30) -> str:
    """A file of resources, of which one may be changed."""
    return "\n".join(
        f'resource "terraform_data" "r{number:06}" {{\n'
        "  input = {\n"
        f'    name           = "r{number:06}"\n'
        f'    owner          = "team-{number % 17}"\n'
        f"    retention_days = {days if number == changed else 30}\n"
        "  }\n"
        "}\n"
        for number in range(first, end)
    )


class State(BaseHTTPRequestHandler):
    """Keeps what Terraform's backend `http` sends."""

    kept = b""

    def do_GET(self) -> None:
        self.send_response(200 if State.kept else 404)
        self.end_headers()
        self.wfile.write(State.kept)

    def do_POST(self) -> None:
        State.kept = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def state_server() -> Iterator[str]:
    """A server for one state, for this machine only, and its address."""
    State.kept = b""
    with HTTPServer(("127.0.0.1", 0), State) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def apply_terraform(folder: Path) -> None:
    """Applies the configuration in a folder; its state is a file there afterwards, as it is without a backend.

    With that file, Terraform would write the whole state after each resource: 20 CPU seconds instead of 3 for
    1,000 of them, and more than ten times that for 10,000. To the backend `http` it does so every 20 seconds.
    """
    backend = folder / "backend.tf"
    with state_server() as address:
        backend.write_text(f'terraform {{\n  backend "http" {{\n    address = "{address}"\n  }}\n}}\n')
        prepare(["terraform", "init", "-input=false"], folder)
        prepare(["terraform", "apply", "-auto-approve", "-input=false"], folder)
    (folder / "terraform.tfstate").write_bytes(State.kept)
    backend.unlink()
    shutil.rmtree(folder / ".terraform")
    prepare(["terraform", "init", "-input=false"], folder)


def terraform_plans(table: Table, folder: Path, size: int) -> None:
    """Measures plans of so many resources in an empty folder."""
    for first in range(0, size, RESOURCES_PER_FILE):
        end = min(size, first + RESOURCES_PER_FILE)
        (folder / f"resources{first:06}.tf").write_text(resources(first, end))
    apply_terraform(folder)
    # The first resource of a file amid the others.
    changed = size // 2 - size // 2 % RESOURCES_PER_FILE
    end = min(size, changed + RESOURCES_PER_FILE)
    file = folder / f"resources{changed:06}.tf"

    def plan(refresh: bool, days: int) -> Run:
        file.write_text(resources(changed, end, changed, days))
        done = run(["terraform", "plan", "-input=false", "-no-color", f"-refresh={str(refresh).lower()}"], folder)
        expect("No changes." if days == 30 else "Plan: 0 to add, 1 to change, 0 to destroy.", done.output)
        return done

    table.measure(size, "`terraform plan`, no change", lambda _: plan(True, 30))
    table.measure(size, "`terraform plan`, one resource changed", lambda number: plan(True, 30 + number))
    table.measure(size, "`terraform plan -refresh=false`, no change", lambda _: plan(False, 30))
    table.measure(
        size, "`terraform plan -refresh=false`, one resource changed", lambda number: plan(False, 30 + number)
    )


def measure_terraform(table: Table, work: Path, projects: Path) -> None:
    versions = prepare(["terraform", "version", "-json"], work)
    # A warning may stand before it.
    table.version = json.loads(versions[versions.index("{") :])["terraform_version"]
    for size in TERRAFORM_SIZES:
        folder = projects / f"terraform-{size}"
        folder.mkdir()
        terraform_plans(table, folder, size)


# SQLMesh and dbt.


def layers(size: int) -> Iterator[tuple[int, int | None]]:
    """The models, each with the one it selects from; that is none in the first layer."""
    width = size // LAYERS
    for number in range(size):
        yield number, number - width if number >= width else None


def changed_model(size: int) -> int:
    """The model that is changed; as many depend on it as there are layers above its own."""
    return size // LAYERS * CHANGED_LAYER


SEED = "id,name,amount\n1,apple,1.5\n2,pear,2.5\n"

SQLMESH_CONFIGURATION = """gateways:
  local:
    connection:
      type: duckdb
      database: shop.duckdb
default_gateway: local
model_defaults:
  dialect: duckdb
  start: 2026-01-01
"""

SQLMESH_SEED = """MODEL (
  name shop.items,
  kind SEED (path '../seeds/items.csv'),
  columns (id BIGINT, name TEXT, amount DOUBLE)
);
"""


def seeded(folder: Path) -> Path:
    """The folder for models of a project that has its seed."""
    models = folder / "models"
    models.mkdir()
    (folder / "seeds").mkdir()
    (folder / "seeds" / "items.csv").write_text(SEED)
    return models


def sqlmesh_model(number: int, source: int | None, cents: int = 1) -> str:
    """A model's file; the cents can be changed."""
    return (
        f"MODEL (\n  name shop.m{number:06},\n  kind FULL\n);\n\n"
        "SELECT\n  id::BIGINT AS id,\n  name::TEXT AS name,\n"
        f"  (amount * 1.{cents:02})::DOUBLE AS amount\n"
        f"FROM shop.{'items' if source is None else f'm{source:06}'}\n"
    )


def sqlmesh_plans(table: Table, sqlmesh: Path, folder: Path, size: int) -> None:
    """Measures plans of so many models in an empty folder."""
    models = seeded(folder)
    (folder / "config.yaml").write_text(SQLMESH_CONFIGURATION)
    (models / "items.sql").write_text(SQLMESH_SEED)
    for number, source in layers(size):
        (models / f"m{number:06}.sql").write_text(sqlmesh_model(number, source))
    prepare([sqlmesh, "plan", "--auto-apply", "--no-prompts"], folder)
    changed = changed_model(size)
    file = models / f"m{changed:06}.sql"

    def plan(cents: int) -> Run:
        file.write_text(sqlmesh_model(changed, changed - size // LAYERS, cents))
        # It asks even so whether to apply the plan.
        done = run([sqlmesh, "plan", "--no-prompts"], folder, "n\n")
        if cents == 1:
            expect("No changes to plan", done.output)
        else:
            expect(f"Directly Modified: shop.m{changed:06}", done.output)
            if done.output.count("[full refresh]") != LAYERS - CHANGED_LAYER:
                raise Failure(f"the plan has other models than the changed one and those above it:\n{done.output}")
        return done

    table.measure(size, "`sqlmesh plan`, no change", lambda _: plan(1))
    table.measure(size, "`sqlmesh plan`, one model changed", lambda number: plan(1 + number))


def measure_sqlmesh(table: Table, work: Path, projects: Path) -> None:
    sqlmesh = environment(work, "sqlmesh", SQLMESH_PACKAGES) / "sqlmesh"
    table.version = SQLMESH_PACKAGES[0].partition("==")[2]
    for size in SQLMESH_SIZES:
        folder = projects / f"sqlmesh-{size}"
        folder.mkdir()
        sqlmesh_plans(table, sqlmesh, folder, size)


DBT_PROJECT = """name: shop
version: '1.0'
profile: shop
model-paths: [models]
seed-paths: [seeds]
models:
  shop:
    +materialized: table
"""

DBT_PROFILES = """shop:
  target: development
  outputs:
    development:
      type: duckdb
      path: shop.duckdb
"""


def dbt_model(source: int | None, cents: int = 1) -> str:
    """A model's file; the cents can be changed."""
    name = "items" if source is None else f"m{source:06}"
    return f"select\n  id,\n  name,\n  amount * 1.{cents:02} as amount\nfrom {{{{ ref('{name}') }}}}\n"


def dbt_parses(table: Table, dbt: Path, folder: Path, size: int) -> None:
    """Measures what is nearest to plans of so many models in an empty folder."""
    models = seeded(folder)
    (folder / "dbt_project.yml").write_text(DBT_PROJECT)
    (folder / "profiles.yml").write_text(DBT_PROFILES)
    for number, source in layers(size):
        (models / f"m{number:06}.sql").write_text(dbt_model(source))
    prepare([dbt, "parse"], folder)
    (folder / "saved").mkdir()
    shutil.copy(folder / "target" / "manifest.json", folder / "saved")
    changed = changed_model(size)
    file = models / f"m{changed:06}.sql"
    log = folder / "logs" / "dbt.log"

    def partly(arguments: list[str], cents: int, files: int) -> Run:
        """A command that parses so many files again."""
        file.write_text(dbt_model(changed - size // LAYERS, cents))
        log.unlink(missing_ok=True)
        done = run([dbt, *arguments], folder)
        expect(f"Partial parsing enabled: 0 files deleted, 0 files added, {files} files changed", log.read_text())
        return done

    def modified(cents: int) -> Run:
        done = partly(["ls", "--select", "state:modified", "--state", "saved"], cents, 1)
        listed = [line for line in done.output.splitlines() if line.startswith("shop.")]
        if listed != [f"shop.m{changed:06}"]:
            raise Failure(f"other models than the changed one were listed:\n{done.output}")
        return done

    def whole(cents: int) -> Run:
        file.write_text(dbt_model(changed - size // LAYERS, cents))
        done = run([dbt, "parse", "--use-v2-parser", "--target-path", "target2"], folder)
        expect("v2 parser completed", done.output)
        return done

    table.measure(size, "`dbt parse`, no change", lambda _: partly(["parse"], 1, 0))
    # With another change each time, what the last one left is of no use.
    table.measure(size, "`dbt parse`, one model changed", lambda number: partly(["parse"], 1 + number, 1))
    table.measure(
        size, "`dbt ls --select state:modified`, one model changed", lambda number: modified(1 + table.runs + number)
    )
    table.measure(
        size,
        "`dbt parse --use-v2-parser` (Fusion, 2.0.0 alpha 4), one model changed",
        lambda number: whole(1 + 2 * table.runs + number),
    )


def measure_dbt(table: Table, work: Path, projects: Path) -> None:
    dbt = environment(work, "dbt", DBT_PACKAGES) / "dbt"
    table.version = DBT_PACKAGES[0].partition("==")[2]
    for size in DBT_SIZES:
        folder = projects / f"dbt-{size}"
        folder.mkdir()
        dbt_parses(table, dbt, folder, size)


PEERS = {
    "terraform": ("Terraform", measure_terraform),
    "sqlmesh": ("SQLMesh", measure_sqlmesh),
    "dbt": ("dbt", measure_dbt),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what a plan costs in peers.")
    parser.add_argument("--work", type=Path, required=True, help="a folder for virtual environments and projects")
    parser.add_argument(
        "--peers", nargs="+", choices=list(PEERS), default=list(PEERS), help="those to measure (default: all)"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs for each figure (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.runs <= 30:
        parser.error("--runs is from 1 to 30")
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)

    rows, failures = [], []
    with tempfile.TemporaryDirectory(dir=work, prefix="projects-") as projects:
        for peer in arguments.peers:
            name, measure = PEERS[peer]
            table = Table(name, arguments.runs)
            try:
                measure(table, work, Path(projects))
            except Failure as failure:
                failures.append(f"{name}: {failure}")
            rows += table.rows

    print("| peer | version | N | what | CPU s | peak RSS MB |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.peer} | {row.version} | {row.size:,} | {row.what} | {row.cpu_seconds:.2f} | "
            f"{row.peak_megabytes:.0f} |"
        )
    if failures:
        sys.exit("\n".join(["not measured, or not wholly:", *failures]))


if __name__ == "__main__":
    main()
