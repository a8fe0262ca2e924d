"""The proof that what aws-batch renders is Terraform that Terraform, and those who check it, accept.

`prove.py LEVADA EXAMPLE PACKAGE CHECKOV WORK` renders the example into the folder WORK and checks, with the
real programs: formatting; validation, plan, apply and a plan without changes against the provider's true
schema; that one more dataset changes one file and only that datastore's resources; that a datastore that
leaves takes nothing of the shared data along; checkov, trivy and statelint without a failed check.
"""

import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import machine
from proof import Failed, contents, edit, proved, render, run, same, say, scanned_by_checkov, scanned_by_trivy

HERE = pathlib.Path(__file__).parent
VARIABLES = {
    "platform": {"subnet_id": "subnet-1", "availability_zone": "eu-west-1a", "security_group_id": "sg-1"},
    "cells": {"subnet_ids": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]},
    "stacks": {},
}
LEFT_TO_VARIABLES = {
    "region": "eu-west-1",
    "account_id": "111122223333",
    "home_role_arn": "arn:aws:iam::111122223333:role/levada-stacks",
}
LOCAL_STATE = 'terraform {\n  backend "local" {}\n}\n'
# Checks that a rendering passes at least: scanners that read nothing fail nothing either.
CHECKOV_MIN = 100
TRIVY_MIN = 10
DATA = "zones/europe/teams/trade/data.yaml"
ONE_MORE = """\
  refunds:
    classification: internal
    columns:
      refund_id: { type: int64, key: true }
      order_id:  { type: int64, nullable: false }
"""


class Provider:
    """The stand-in for hashicorp/aws, for the types that some folders name."""

    def __init__(self, package, folders):
        self.socket = pathlib.Path(tempfile.mkdtemp(prefix="levada-tf-"), "s")
        command = [sys.executable, HERE / "server.py", package, self.socket, *folders]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.reattach = self.process.stdout.readline().strip()
        if not self.reattach:
            raise Failed("the stand-in provider did not start; what it wrote is above")

    def environment(self):
        return {**os.environ, "TF_REATTACH_PROVIDERS": self.reattach, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.socket.parent)


class Terraform:
    """The real program, in copies of roots that keep their state here."""

    def __init__(self, provider, work):
        self.provider, self.work = provider, work

    def root(self, rendered, root):
        """The copy of a root; its state stays where an earlier rendering was applied."""
        folder = self.work / root
        folder.mkdir(parents=True, exist_ok=True)
        for stale in [*folder.glob("*.tf"), *folder.glob("*.json"), *folder.glob("*.py")]:
            stale.unlink()
        for path in (rendered / root).iterdir():
            shutil.copy(path, folder)
        (folder / "backend_override.tf").write_text(LOCAL_STATE, encoding="utf-8")
        declared = re.findall(r'^variable "(\w+)"', (folder / "main.tf").read_text(encoding="utf-8"), re.M)
        known = {**VARIABLES[root.split("/")[0]], **LEFT_TO_VARIABLES}
        values = {name: known[name] for name in declared}
        (folder / "test.auto.tfvars.json").write_text(json.dumps(values), encoding="utf-8")
        return folder

    def call(self, folder, *arguments, expected=(0,)):
        return run(["terraform", *arguments], folder, expected, self.provider.environment())

    def validate(self, folder):
        self.call(folder, "init", "-input=false")
        self.call(folder, "validate")

    def plan(self, folder):
        """What would change: the action for each resource's address."""
        self.call(folder, "plan", "-input=false", "-out=plan")
        changes = json.loads(self.call(folder, "show", "-json", "plan")).get("resource_changes", [])
        actions = {it["address"]: "/".join(it["change"]["actions"]) for it in changes if it["mode"] == "managed"}
        return {address: action for address, action in actions.items() if action != "no-op"}

    def apply(self, folder):
        self.call(folder, "apply", "-input=false", "plan")


def roots(rendered):
    return sorted(str(path.parent.relative_to(rendered)) for path in rendered.rglob("main.tf"))


def file_of(rendered, datastore):
    """The one file of a datastore."""
    [file] = rendered.glob(f"stacks/*/store_{datastore}.tf")
    return str(file.relative_to(rendered))


def applied(terraform, rendered):
    """Every root validates, plans and applies; a second plan finds nothing to do."""
    total = 0
    for root in roots(rendered):
        folder = terraform.root(rendered, root)
        terraform.validate(folder)
        changes = terraform.plan(folder)
        same(f"actions of {root}", set(changes.values()) - {"create"}, set())
        terraform.apply(folder)
        same(f"a second plan of {root}", terraform.plan(folder), {})
        total += len(changes)
    say(f"terraform: {total} resources of {len(roots(rendered))} roots validated, planned, applied; a second plan finds nothing to do")


def machine_runs(terraform):
    """The state machine that was applied goes every way that it may."""
    states = [json.loads(path.read_text(encoding="utf-8")) for path in terraform.work.rglob("terraform.tfstate")]
    logging.disable(logging.CRITICAL)
    try:
        count = machine.walk(states)
    except AssertionError as error:
        raise Failed(f"the state machine, {error}") from None
    say(f"moto: the state machine goes {count} ways as it should")


def one_dataset_more(levada, terraform, model, rendered):
    before = contents(rendered)
    edit(model, DATA, ("      placed_at:   timestamptz\n", "      placed_at:   timestamptz\n" + ONE_MORE))
    edit(model, DATA, ("Shop.products, Trade.orders]", "Shop.products, Trade.orders, Trade.refunds]"))
    render(levada, "Lake", model, rendered)
    after, file = contents(rendered), file_of(rendered, "Trade")
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    same("files that one more dataset changes", changed, [file])
    folder = terraform.root(rendered, file.rsplit("/", 1)[0])
    changes = terraform.plan(folder)
    expected = {"aws_dms_replication_task.Trade": "update", "aws_s3_object.machine-Trade": "update", "aws_s3_object.store-Trade": "update"}
    same("what one more dataset changes", changes, expected)
    terraform.apply(folder)
    say(f"one dataset more: {file} differs, and the plan updates {' and '.join(expected)}")


def one_store_less(levada, terraform, model, rendered):
    root, file = file_of(rendered, "Shop").rsplit("/", 1)
    text = (model / DATA).read_text(encoding="utf-8")
    documents = [it for it in text.split("---\n") if not it.startswith(("datastore: Shop", "workspace: Partners"))]
    (model / DATA).write_text("---\n".join(documents), encoding="utf-8")
    edit(model, DATA, ("Shop.products, Trade.orders", "Trade.orders"))
    render(levada, "Lake", model, rendered)
    same(f"whether {file} is there", (rendered / root / file).exists(), False)
    folder = terraform.root(rendered, root)
    changes = terraform.plan(folder)
    same("actions on a store that left", set(changes.values()), {"delete"})
    types = sorted({address.split(".")[0] for address in changes})
    expected = ["aws_dms_endpoint", "aws_dms_replication_task", "aws_s3_object", "aws_scheduler_schedule"]
    same("what goes with a store", types, expected)
    terraform.apply(folder)
    for shared in ["platform", "cells/main"]:
        same(f"what changes in {shared}", terraform.plan(terraform.root(rendered, shared)), {})
    say(f"one datastore less: {root} loses {', '.join(types)}; the bucket, the catalog and everything shared stay")


def scanned(checkov, rendered):
    """Those who look for what is unsafe find nothing, and looked."""
    texts = [path.read_text(encoding="utf-8") for path in rendered.rglob("*.tf")]
    resources = sum(len(re.findall(r"^resource ", text, re.M)) for text in texts)
    scanned_by_checkov(checkov, rendered, "terraform", CHECKOV_MIN, resources)
    scanned_by_trivy(rendered, "terraform", TRIVY_MIN)

    definition = (rendered / "platform/machine.asl.json").read_text(encoding="utf-8")
    for name, value in {"partition": "aws", "bucket": "bucket", "job": "job"}.items():
        definition = definition.replace("${" + name + "}", value)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(definition)
        file.flush()
        run([pathlib.Path(sys.executable).with_name("statelint"), file.name], rendered)
    say("statelint: the state machine is one")


def wrong_is_seen(terraform, rendered):
    """What the stand-in is for: it refuses what AWS and its provider would."""
    mistakes = {
        "engine_name": "engine_nam",
        '"full-load-and-cdc"': '"full-load-and-change"',
        "= 5\n": '= "often"\n',
    }
    root, file = file_of(rendered, "Trade").rsplit("/", 1)
    for old, new in mistakes.items():
        folder = terraform.root(rendered, root)
        edit(folder, file, (old, new))
        terraform.call(folder, "validate", expected=(1,))
    say("an unknown argument, a word that AWS does not know and a wrong type are refused")


def cells(levada, model, package, work):
    """Sources read from another account, and whatever a platform may leave to variables."""
    edit(model, "ecosystem.yaml", ('      account: "111122223333"\n', ""), ('      regions: { "aws:eu/west": eu-west-1 }\n', ""))
    shares = 'cells: { main: { stacks: [0, 3] }, other: { account: "444455556666", stacks: [4, 7] } }'
    edit(model, "ecosystem.yaml", ("stacks: 8", f"stacks: 8, replication_instances: 2, {shares}"))
    rendered = work / "cells"
    render(levada, "Lake", model, rendered)
    run(["terraform", "fmt", "-check", "-recursive", "-diff", rendered], work)
    with Provider(package, [rendered]) as provider:
        applied(Terraform(provider, work / "roots-of-cells"), rendered)
    return rendered


def other_stacks(levada, model, package, work):
    """More stacks: what moves is let go here and taken over there, and nothing is made or destroyed."""
    rendered = work / "stacks"
    render(levada, "Lake", model, rendered)
    with Provider(package, [rendered]) as provider:
        terraform = Terraform(provider, work / "roots-of-stacks")
        for root in roots(rendered):
            folder = terraform.root(rendered, root)
            terraform.validate(folder)
            terraform.plan(folder)
            terraform.apply(folder)
        edit(model, "ecosystem.yaml", ("stacks: 8", "stacks: 40, stacks_before: 8"))
        render(levada, "Lake", model, rendered)
        run(["terraform", "fmt", "-check", "-recursive", "-diff", rendered], work)
        actions = []
        for root in roots(rendered):
            if root.startswith("stacks/"):
                folder = terraform.root(rendered, root)
                terraform.validate(folder)
                actions += terraform.plan(folder).values()
    # What is imported differs from what the stand-in knows of it, which is its name alone.
    same("actions on what moves", set(actions), {"forget", "update"})
    same("what is let go is taken over", actions.count("forget"), actions.count("update"))
    say(f"five times as many stacks: {actions.count('forget')} resources are let go and taken over, none is made or destroyed")


def main():
    levada, example, package, checkov, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    shutil.rmtree(work, ignore_errors=True)
    model, rendered = work / "model", work / "rendered"
    without_state = shutil.ignore_patterns(".levada")
    shutil.copytree(example, model, ignore=without_state)
    render(levada, "Lake", model, rendered)
    run(["terraform", "fmt", "-check", "-recursive", "-diff", rendered], work)
    with Provider(package, [rendered]) as provider:
        terraform = Terraform(provider, work / "roots")
        applied(terraform, rendered)
        machine_runs(terraform)
        one_dataset_more(levada, terraform, model, rendered)
        wrong_is_seen(terraform, rendered)
        scanned(checkov, rendered)
        one_store_less(levada, terraform, model, rendered)
    for name in ["model-of-stacks", "model-of-cells"]:
        shutil.copytree(example, work / name, ignore=without_state)
    other_stacks(levada, work / "model-of-stacks", package, work)
    scanned(checkov, cells(levada, work / "model-of-cells", package, work))


if __name__ == "__main__":
    # Whatever this machine's own Terraform is told is no matter of the proof.
    os.environ.pop("TF_CLI_CONFIG_FILE", None)
    proved(main)
