"""Measures what dlt needs to bring changed rows from one PostgreSQL database to another.

    pip install 'dlt[postgres,sql-database]==1.31.0' 'connectorx==0.4.6' 'pyarrow==26.0.1' \\
        'adbc-driver-postgresql==1.13.0' 'psycopg[binary]==3.3.9'
    python dlt_merge.py URL --rows 1000000 --changes 100000 --few 1000

dlt's source for a change log, pg_replication, isn't in the package: `dlt init pg_replication postgres` fetches it
from GitHub. What the package has is sql_database: it asks for the rows with a newer `changed` and merges them
by their key. So a row that was deleted stays at the consumer, and of several changes of a row only the last
one is seen. An index on `changed` at the producer and one on `id` at the consumer, which dlt makes neither
of, are made here.

It loads all rows, then runs once for many changed rows, then ten times for a few: how long such a run takes
is the least time between a change and its being seen.

URL is that of a superuser on a server on this machine, such as
postgresql://postgres:secret@127.0.0.1:5432/postgres. The script makes a database for the producer and one for
the consumer there and drops them afterwards. Python 3.11 or newer is needed.
"""

import argparse
import os
import tempfile
import time
from importlib.util import find_spec
from statistics import fmean

from common import TABLE, at, connect, cpu_seconds, database, fail, peak_megabytes, server_cpu_seconds

PACKAGES = {
    "dlt": "dlt[postgres,sql-database]==1.31.0",
    "sqlalchemy": "dlt[postgres,sql-database]==1.31.0",
    "psycopg2": "dlt[postgres,sql-database]==1.31.0",
    "connectorx": "connectorx==0.4.6",
    "pyarrow": "pyarrow==26.0.1",
    "adbc_driver_postgresql": "adbc-driver-postgresql==1.13.0",
}
for module, package in PACKAGES.items():
    if find_spec(module) is None:
        fail(f"the package {module} is missing: pip install '{package}'")

# dlt's files; the folder goes when the program ends.
FOLDER = tempfile.TemporaryDirectory()

# dlt reads these when it is imported: its files are here, nothing is told to its makers, and its log is quiet.
# Only the number by which it knows a user goes where it likes, .anonymous_id in its folder of the user's.
os.environ["DLT_DATA_DIR"] = FOLDER.name
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt  # noqa: E402
from dlt.sources.sql_database import sql_table  # noqa: E402

PRODUCER, CONSUMER = "peer_dlt_shop", "peer_dlt_reports"
DATASET = "reporting"
FEW_TIMES = 10

# The cheapest of what dlt has for PostgreSQL: rows read and written as Arrow tables, merged by one MERGE.
BACKEND, FILES, STRATEGY = "connectorx", "parquet", "upsert"


def pull(pipeline: dlt.Pipeline, producer: str) -> None:
    """One run: what has changed since the last one."""
    rows = sql_table(
        credentials=producer,
        table="items",
        backend=BACKEND,
        incremental=dlt.sources.incremental("changed"),
        primary_key="id",
        write_disposition={"disposition": "merge", "strategy": STRATEGY},
    )
    pipeline.run(rows, loader_file_format=FILES).raise_on_failed_jobs()


def measure(producer: str, consumer: str, rows: int, changes: int, few: int) -> None:
    """Loads, changes, pulls, and prints what each cost."""
    pipeline = dlt.pipeline(
        "peer", pipelines_dir=FOLDER.name, destination=dlt.destinations.postgres(consumer), dataset_name=DATASET
    )
    with connect(producer) as shop, connect(consumer) as reports:
        shop.execute(TABLE)
        shop.execute(
            "INSERT INTO items SELECT i, 'name ' || i, i * 1.25, '2026-01-01'::timestamptz + i * interval '1 second', "
            f"md5(i::text) FROM generate_series(1, {rows}) i"
        )
        shop.execute("CREATE INDEX ON items (changed)")
        shop.execute("ANALYZE items")

        def change(count: int, step: int) -> None:
            shop.execute(
                "UPDATE items SET amount = amount + 1, changed = clock_timestamp() "
                f"WHERE id IN (SELECT 1 + (i::bigint * 7919 + {step}) % {rows} FROM generate_series(1, {count}) i)"
            )

        def timed() -> tuple[float, float, float]:
            cpu, server, started = cpu_seconds(), server_cpu_seconds(shop), time.monotonic()
            pull(pipeline, producer)
            wall = time.monotonic() - started
            return cpu_seconds() - cpu, server_cpu_seconds(shop) - server, wall

        def tell(what: str, cpu: float, server: float, wall: float) -> None:
            print(f"{what}: {cpu:.2f} CPU s of dlt, {server:.2f} of the server, {wall:.2f} s")

        tell(f"{rows} rows loaded", *timed())
        reports.execute(f"CREATE UNIQUE INDEX ON {DATASET}.items (id)")
        reports.execute(f"ANALYZE {DATASET}.items")

        change(changes, 0)
        tell(f"{changes} changed rows merged", *timed())

        runs = []
        for step in range(1, FEW_TIMES + 1):
            change(few, step)
            runs.append(timed())
        cpu, server, walls = zip(*runs, strict=True)
        print(
            f"{few} changed rows merged, {FEW_TIMES} times: p50 {at(sorted(walls), 0.5):.2f} s, "
            f"most {max(walls):.2f} s a run; on average {fmean(cpu):.2f} CPU s of dlt, "
            f"{fmean(server):.2f} of the server"
        )
        print(f"peak {peak_megabytes():.0f} MB resident, with the first load")
        totals = "SELECT count(*), sum(hashtextextended(concat_ws('|', id, name, amount, changed, note), 0)) FROM"
        there = shop.execute(f"{totals} items").fetchone()
        here = reports.execute(f"{totals} {DATASET}.items").fetchone()
    if there != here:
        fail(f"the rows differ: the producer's number and hash are {there}, the consumer's {here}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures dlt between two databases of a PostgreSQL server.")
    parser.add_argument("url", help="of a superuser")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows before the changes (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=100_000, help="changed rows of one run (default: %(default)s)")
    parser.add_argument("--few", type=int, default=1_000, help="changed rows of a short run (default: %(default)s)")
    arguments = parser.parse_args()
    with database(arguments.url, PRODUCER) as producer, database(arguments.url, CONSUMER) as consumer:
        measure(producer, consumer, arguments.rows, arguments.changes, arguments.few)


if __name__ == "__main__":
    main()
