#!/usr/bin/env python3
"""A platform that makes its part real as Airflow 3 DAGs, by Levada's platform protocol.

Asked `describe`, `lint` or `render` as its argument, it reads one question in JSON from standard
input and writes one answer in JSON to standard output. Stores are data here: the DAGs are built by
one static file, `levada_dags.py`, from one JSON file per stream or transformer.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

PROTOCOL = 1
FACTORY = Path(__file__).with_name("levada_dags.py")

DESCRIPTION = {
    "program": "airflow-platform",
    "version": "1.0",
    "capabilities": {
        "sources": {"postgres": ["snapshot", "watermark"], "sqlite": ["snapshot"]},
        "sinks": ["postgres", "sqlite"],
        "code": ["sql"],
        "feeds": [],
        "catch_up": ["latest"],
    },
    "settings_schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "command": {"type": "string", "description": "what does a step; finds it in LEVADA_STEP"},
            "pool": {"type": "string", "description": "the Airflow pool of all steps"},
        },
    },
}


class BadQuestion(Exception):
    """What came in is no question of this protocol."""


def slug(address):
    """A name that Airflow takes, one per address: what is readable of it, and a hash of all of it."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", address).strip("_")[:60]
    return f"{readable}_{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def lower_nodes(nodes):
    """Address → addresses of the nodes that it feeds, without what feeds itself."""
    lower = {address: [] for address in nodes}
    for address, node in nodes.items():
        for edge in node["inputs"]:
            if not edge.get("self") and edge["node"] in lower:
                lower[edge["node"]].append(address)
    return lower


def is_root(node):
    """A DAG begins where a source is read, or where a transformer is triggered."""
    spec = node["spec"]
    return spec["kind"] == "trigger" or (spec["kind"] == "ingest" and spec["origin"]["from"] == "container")


def schedule(node):
    """When a root runs: by a clock, by changes of its inputs, or by hand only."""
    spec = node["spec"]
    if spec["kind"] == "ingest":
        timed = spec["origin"]["trigger"]
    elif spec["trigger"] == "on_change":
        return {"assets": sorted(slug(item["export"]) for item in spec["inputs"])}
    else:
        timed = spec["trigger"]["cron"]
    if timed is None:
        return None
    return {"cron": timed["cron"]["expression"], "timezone": timed["cron"].get("timezone") or "UTC"}


def dag(root, nodes, lower):
    """One DAG as data: its schedule, and its steps, each after those of the same DAG that feed it."""
    found, waiting = [], [root]
    while waiting:
        address = waiting.pop()
        if address not in found:
            found.append(address)
            waiting += [below for below in lower[address] if not is_root(nodes[below])]
    names = {address: slug(address) for address in found if nodes[address]["spec"]["kind"] != "trigger"}
    steps = []
    for address, name in sorted(names.items()):
        node = nodes[address]
        after = sorted(names[edge["node"]] for edge in node["inputs"] if edge["node"] in names)
        asset = name if node["spec"]["kind"] == "export" else None
        steps.append({"id": name, "after": after, "asset": asset, "step": node})
    return {"id": slug(root), "title": root, "schedule": schedule(nodes[root]), "steps": steps}


def findings(nodes):
    """What Airflow can't do of the part; an error keeps it from being rendered."""
    for address, node in sorted(nodes.items()):
        origin = node["spec"].get("origin", {})
        if origin.get("calendars"):
            yield {
                "code": "AIRFLOW-1",
                "severity": "error",
                "address": address,
                "message": "Airflow has no windows for a source",
                "hint": "take the calendar from the container, or choose another platform",
            }


def pretty(value):
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def render(question, nodes):
    """All files of the part: the factory, what is common, and one file per DAG."""
    settings = question["platform"]["settings"]
    common = {"platform": question["platform"]["name"], "pool": settings.get("pool", "default_pool"),
              "command": settings.get("command", "levada-step")}
    files = {"dags/levada_dags.py": FACTORY.read_text(), "dags/levada/common.json": pretty(common)}
    lower = lower_nodes(nodes)
    for address, node in nodes.items():
        if is_root(node):
            files[f"dags/levada/dag_{slug(address)}.json"] = pretty(dag(address, nodes, lower))
    return [{"path": path, "text": text} for path, text in sorted(files.items())]


def answer(ask, question):
    if not isinstance(question, dict) or question.get("protocol") != PROTOCOL or question.get("ask") != ask:
        raise BadQuestion(f"this program answers protocol {PROTOCOL}, and what its argument asks")
    if ask == "describe":
        return DESCRIPTION
    nodes = {node["address"]: node for node in question["graph"]["nodes"]}
    found = list(findings(nodes))
    return {"findings": found} if ask == "lint" else {"findings": found, "files": render(question, nodes)}


def main():
    try:
        if len(sys.argv) != 2 or sys.argv[1] not in ("describe", "lint", "render"):
            raise BadQuestion("usage: airflow_platform.py describe|lint|render < QUESTION")
        question = json.loads(sys.stdin.buffer.read())
        json.dump({"protocol": PROTOCOL} | answer(sys.argv[1], question), sys.stdout)
    except (BadQuestion, KeyError, ValueError) as error:
        sys.exit(f"airflow_platform.py: {error}")


if __name__ == "__main__":
    main()
