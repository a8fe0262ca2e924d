#!/usr/bin/env python3
"""Imports rendered DAGs with Airflow itself and compares them with what was rendered.

`check_dags.py FOLDER`: FOLDER is the `dags` folder of a rendering. Needs Airflow 3.
"""

import json
import os
import sys
import tempfile
from pathlib import Path


def check(folder):
    """Exits with a message where Airflow sees anything else than the files say."""
    from airflow.models.dagbag import DagBag

    wanted = {spec["id"]: spec for spec in map(json.loads, (p.read_text() for p in folder.glob("levada/dag_*.json")))}
    bag = DagBag(dag_folder=str(folder), include_examples=False)
    assert not bag.import_errors, bag.import_errors
    assert set(bag.dags) == set(wanted), (sorted(bag.dags), sorted(wanted))
    assert wanted, f"no DAG in {folder}"
    edges = 0
    for name, spec in wanted.items():
        tasks = bag.dags[name].task_dict
        after = {step["id"]: set(step["after"]) for step in spec["steps"]}
        assert {task_id: task.upstream_task_ids for task_id, task in tasks.items()} == after, name
        edges += sum(map(len, after.values()))
        assets = spec["schedule"] and spec["schedule"].get("assets")
        if assets:
            seen = {asset.name for _, asset in bag.dags[name].timetable.asset_condition.iter_assets()}
            assert seen == set(assets), (seen, assets)
    print(f"{len(wanted)} DAGs, {sum(len(spec['steps']) for spec in wanted.values())} tasks, {edges} edges")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("AIRFLOW_HOME", home)
        os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        check(Path(sys.argv[1]).resolve())
