"""What the tests of the program share: a platform's folder, documents as the renderer writes them, files as DMS
leaves them, and the program as the job starts it."""

import atexit
import datetime
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from decimal import Decimal

from pyspark.sql import types as T

import session

PROGRAM = pathlib.Path(__file__).parents[2] / "src/aws/program/levada_job.py"
spec = importlib.util.spec_from_file_location("levada_job", PROGRAM)
levada_job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(levada_job)

_folder = pathlib.Path(tempfile.mkdtemp(prefix="levada-spark-"))
_spark = None


def spark():
    """One session for all tests: starting Spark takes longer than most of them."""
    global _spark
    if _spark is None:
        drivers = [path for path in [pathlib.Path("/usr/share/java/postgresql.jar")] if path.exists()]
        _spark = session.start(_folder, drivers)
        atexit.register(stop)
    return _spark


def stop():
    _spark.stop()
    shutil.rmtree(_folder, ignore_errors=True)


def column(name, kind, key=False, source=None):
    """A column as the renderer tells it: whatever is usual is left out."""
    told = {"name": name, "type": kind}
    return {**told, **({"key": True} if key else {}), **({"from": source} if source else {})}


PEOPLE = [column("id", "int64", key=True), column("name", "varchar(20)"), column("paid", "decimal(10,2)")]


class Cluster:
    """A PostgreSQL server of its own, in a temporary folder, without passwords."""

    def __init__(self):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not programs:
            raise FileNotFoundError("the tests need PostgreSQL's server programs: `cargo xtask test` installs them")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="levada-pg-"))
        self.programs = programs[-1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.getuid() == 0:
            # initdb refuses root.
            shutil.chown(self.folder, "postgres", "postgres")
        self.run("initdb", "--auth=trust", "--username=levada", "--encoding=UTF8", "--no-sync", "-D", self.folder / "data")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-w", "-l", self.folder / "log", "-o", options, "-D", self.folder / "data", "start")

    def run(self, program, *arguments):
        command = [self.programs / program, *arguments]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)

    def stop(self):
        self.run("pg_ctl", "-m", "immediate", "-D", self.folder / "data", "stop")
        shutil.rmtree(self.folder)

    def sql(self, statement):
        import pg8000.dbapi

        connection = pg8000.dbapi.connect(user="levada", host="127.0.0.1", port=self.port, database="postgres")
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return [tuple(row) for row in rows]
        finally:
            connection.close()

    def connection(self):
        server = {"host": "127.0.0.1", "port": self.port, "database": "postgres", "schema": None, "tls": "prefer"}
        return {"container": "C", "kind": "postgres", "place": {"server": server}, "secret": "levada/c"}


class Platform:
    """A platform with one datastore `S`, in a folder and a database of its own."""

    def __init__(self, test, datasets, ingest="cdc", streams=None, adds=False):
        self.spark = spark()
        for way in ("datetimeRebaseModeInWrite", "int96RebaseModeInWrite"):
            self.spark.conf.set(f"spark.sql.parquet.{way}", "CORRECTED")
        name = "t" + test.id().rsplit(".", 1)[-1].lower()[:80]
        self.folder = _folder / name
        self.folder.mkdir()
        self.job = levada_job.Job(self.spark, f"file://{self.folder}", name)
        self.job.secret = lambda _: {"username": "levada", "password": "unused"}
        self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS levada.{name}")
        self.document = {
            "version": 1,
            "datastore": "S",
            "applied": "applied_0123456789abcdef",
            "batches": "s__batches",
            "locks": "s__locks",
            "staging_days": 30,
            "ingest": ingest,
            "adds": adds,
            "streams": streams or [{"stream": "S", "datasets": sorted(datasets)}],
            "datasets": {
                dataset: {"table": f"s__{dataset}", "columns": columns, "owed": [owed("30d")]} for dataset, columns in datasets.items()
            },
            "exports": [],
        }
        self.describe()
        self.number = 0

    def describe(self):
        path = self.folder / "control/stores/S.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document), encoding="utf-8")
        # Hadoop's local file system keeps a checksum beside what it wrote itself.
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)

    def stage(self, dataset, rows, name=None):
        """A file of changes as DMS writes them: (operation, order, values of the columns…)."""
        self.number += 1
        columns = self.document["datasets"][dataset]["columns"]
        fields = [T.StructField("Op", T.StringType()), T.StructField("lv_seq", T.StringType())]
        fields += [T.StructField(it.get("from", it["name"]), kind_of(it["type"])) for it in columns]
        self.write(dataset, rows, T.StructType(fields), name or f"20261126-{self.number:09}")

    def load(self, dataset, rows, name=None):
        """A file of a full load."""
        self.number += 1
        columns = self.document["datasets"][dataset]["columns"]
        fields = [T.StructField("Op", T.StringType())] + [T.StructField(it.get("from", it["name"]), kind_of(it["type"])) for it in columns]
        self.write(dataset, [("I", *row) for row in rows], T.StructType(fields), name or f"LOAD{self.number:08}")

    def write(self, dataset, rows, schema, name):
        folder = self.folder / "staging/S" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as part:
            self.spark.createDataFrame(rows, schema).coalesce(1).write.mode("overwrite").parquet(part)
            [file] = pathlib.Path(part).glob("part-*.parquet")
            shutil.move(file, folder / f"{name}.parquet")

    def forget_loads(self, dataset):
        """A full load begins by emptying its table's folder."""
        for file in (self.folder / "staging/S" / dataset).glob("*.parquet"):
            file.unlink()

    def merge(self, since=None, is_loaded=False):
        self.job.merge("S", since, is_loaded)

    def store(self):
        return levada_job.Store(self.job, "S")

    def batch(self, stream="S"):
        return self.store().last_batch(stream)

    def live(self, dataset, batch=None):
        """The live reading, as sorted tuples."""
        found = self.store().dataset(dataset)
        rows = found.live(self.batch() if batch is None else batch).select(*[levada_job.quoted(name) for name, _ in found.columns])
        return sorted((tuple(row) for row in rows.collect()), key=repr)

    def history(self, dataset):
        """Every version: its columns, from which batch, to which."""
        found = self.store().dataset(dataset)
        rows = found.history(self.batch()).select(*[levada_job.quoted(name) for name, _ in found.columns], "lv_from_batch", "lv_to_batch")
        return sorted((tuple(row) for row in rows.collect()), key=repr)

    def snapshots(self, dataset):
        return self.spark.sql(f"SELECT count(*) FROM {self.job.table('s__' + dataset)}.snapshots").first()[0]


def owed(retention):
    return {"to": "Group/W/G", "because": "requires", "retention": retention}


def kind_of(model_type):
    text = levada_job.spark_type(model_type)
    return T._parse_datatype_string(text) if text != "timestamp_ntz" else T.TimestampNTZType()


def now_ms():
    return int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000)
