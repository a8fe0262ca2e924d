"""Builds one DAG from each `levada/dag_*.json` beside it; rendered by Levada, the same in every rendering."""

import json
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetAny
from airflow.timetables.trigger import CronTriggerTimetable

FOLDER = Path(__file__).with_name("levada")


def asset(name):
    return Asset(name=name, uri=f"x-levada://export/{name}")


def schedule(wanted):
    if wanted is None:
        return None
    if "cron" in wanted:
        return CronTriggerTimetable(wanted["cron"], timezone=wanted["timezone"])
    return AssetAny(*[asset(name) for name in wanted["assets"]])


def build(spec, common):
    """One DAG; a step is the common command with its node as JSON in the environment."""
    with DAG(
        dag_id=spec["id"],
        dag_display_name=spec["title"],
        schedule=schedule(spec["schedule"]),
        catchup=False,
        max_active_runs=1,
        tags=["levada", common["platform"]],
    ) as dag:
        tasks = {}
        for step in spec["steps"]:
            tasks[step["id"]] = BashOperator(
                task_id=step["id"],
                bash_command='exec $LEVADA_COMMAND',
                env={"LEVADA_COMMAND": common["command"], "LEVADA_STEP": json.dumps(step["step"])},
                append_env=True,
                pool=common["pool"],
                outlets=[asset(step["asset"])] if step["asset"] else [],
            )
        for step in spec["steps"]:
            for upper in step["after"]:
                tasks[upper] >> tasks[step["id"]]
    return dag


COMMON = json.loads((FOLDER / "common.json").read_text())
for path in sorted(FOLDER.glob("dag_*.json")):
    found = build(json.loads(path.read_text()), COMMON)
    globals()[found.dag_id] = found
