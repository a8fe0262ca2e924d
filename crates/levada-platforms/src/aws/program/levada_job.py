"""Everything that Levada's aws-batch platforms do with data: one Spark program, told what to do by documents.

    --action merge --subject STORE [--since TIME] [--loaded yes]
                                                      staged files into milestoned tables, one batch a stream;
                                                      since when this run's load was made; whether every table was
    --action export --subject STORE --container NAME  what is new, into a consumer's database
    --action transform --subject WORKSPACE            a transformer's queries, staged for the merge of its output
    --action maintain                                 what nobody is owed goes; small files become large ones
    --base URL --database NAME                        where control/, staging/ and tables/ are; the catalog's database

Milestones are data. A dataset's table has every version of every row: its columns, and

    lv_key        which row it is: a hash of the key, or of the whole row and its number among equal ones
    lv_row        a hash of its columns, to tell versions apart
    lv_seq        the source's own order of changes; empty where the source gives none
    lv_open       whether the version is the latest of its row; tables are partitioned by it
    lv_deleted    whether it says that the row is gone; such a version remembers lv_seq for changes that arrive late
    lv_from_batch, lv_to_batch, lv_valid_from, lv_valid_to    since when and until when it is the latest

A batch is visible once its row stands in the store's table of batches, which is written last. Whatever a run
that was killed left of a later batch is taken back by the next one. A file is merged once: the batch's row
names its files. Locks are soft: they expire, and are renewed while their holder runs.

A dataset's table says in its properties whose it is (`levada.datastore`, `levada.dataset`), what is owed (`levada.owed`),
whose batches it has (`levada.stream`), and the newest batch of which closed versions went (`levada.purged`).
"""

import contextlib
import datetime
import functools
import json
import sys
import threading
import time
import uuid

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

CATALOG = "levada"
VERSION = 1
LOCK_SECONDS = 600
LOCK_RENEWAL_SECONDS = 120
LOCK_WAIT_SECONDS = 3600
LOCK_POLL_SECONDS = 5
COMMIT_TRIES = 10
SNAPSHOTS_KEPT_DAYS = 2
TYPES = {
    "boolean": "boolean",
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "bigint",
    "float32": "float",
    "float64": "double",
    "date": "date",
    "timestamp": "timestamp_ntz",
    "timestamptz": "timestamp",
    "text": "string",
    "json": "string",
    "uuid": "string",
    "binary": "binary",
}
MILESTONES = [
    ("lv_key", "string"),
    ("lv_row", "string"),
    ("lv_seq", "string"),
    ("lv_open", "boolean"),
    ("lv_deleted", "boolean"),
    ("lv_from_batch", "bigint"),
    ("lv_to_batch", "bigint"),
    ("lv_valid_from", "timestamp"),
    ("lv_valid_to", "timestamp"),
]
# Types that a column may get in place, because every old value is one of the new type.
WIDER = {("int", "bigint"), ("float", "double")}
PERIODS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


# Times to the last digit, and the same ones wherever a session is.
EXACT = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
    "timeZone": "UTC",
}
# The least and the most of integers that are kept in wider ones.
BOUNDS = {"int8": (-128, 127), "int16": (-32_768, 32_767)}

# Texts of moments with all that a moment says: six digits below the second, and a zone where the type has one.
DAY_AND_TIME = r"^\s*[+-]?\d{4,}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{0,6}0*)?)?)?"
MOMENTS = {
    "timestamp": DAY_AND_TIME + r"\s*(Z|UTC|[+-]00(:?00)?)?\s*$",
    "timestamptz": DAY_AND_TIME + r"\s*([A-Za-z+-].*)?$",
}

# Never true, but a MERGE that only inserts would be a plain append, which no other commit conflicts with.
CHECKED = "WHEN MATCHED AND t.{} IS NULL THEN DELETE"
WRONG_VALUE = "levada-value: "


class Refused(Exception):
    """What people must look at; nothing was committed."""


def say(line):
    print(f"levada: {line}", flush=True)


def quoted(name):
    """A name in Spark's SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(text):
    """A text in Spark's SQL."""
    return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def spark_type(model_type):
    """The Spark type of a model's."""
    base = model_type.split("(")[0]
    if base == "decimal":
        return model_type.replace(" ", "")
    if base in ("char", "varchar"):
        return "string"
    if base not in TYPES:
        raise Refused(f"a column of type {model_type} can't be kept here")
    return TYPES[base]


class Files:
    """The folder or bucket of a platform, by Hadoop's file systems."""

    def __init__(self, spark, base):
        self.base = base.rstrip("/")
        self.jvm = spark._jvm
        self.system = self.path("").getFileSystem(spark._jsc.hadoopConfiguration())

    def url(self, relative):
        return f"{self.base}/{relative}"

    def path(self, relative):
        return self.jvm.org.apache.hadoop.fs.Path(self.url(relative))

    def document(self, relative):
        """A JSON document; None where there is none."""
        path = self.path(relative)
        if not self.system.exists(path):
            return None
        stream = self.system.open(path)
        try:
            text = self.jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
        finally:
            stream.close()
        return json.loads(text)

    def put_document(self, relative, document):
        stream = self.system.create(self.path(relative), True)
        try:
            stream.write(bytearray(json.dumps(document, sort_keys=True).encode()))
        finally:
            stream.close()

    def remove(self, relative):
        self.system.delete(self.path(relative), True)

    def parquet(self, relative):
        """The Parquet files right in a folder, as (name, mark, modified in ms); a mark tells a file from another of its name."""
        path = self.path(relative)
        found = []
        for it in self.system.listStatus(path) if self.system.exists(path) else []:
            name, size, modified = it.getPath().getName(), it.getLen(), it.getModificationTime()
            if it.isFile() and name.endswith(".parquet"):
                found.append((name, f"{name}@{size}@{modified}", modified))
        return sorted(found)


class Store:
    """A datastore: its document, its tables, its batches."""

    def __init__(self, job, name):
        self.job, self.spark, self.name = job, job.spark, name
        self.document = job.files.document(f"control/stores/{name}.json")
        if self.document is None:
            raise Refused(f"there is no datastore {name}: control/stores/{name}.json is not there")
        if self.document["version"] != VERSION:
            raise Refused(f"the document of {name} has version {self.document['version']}, this program knows {VERSION}")
        self.batches = job.table(self.document["batches"])
        self.locks = job.table(self.document["locks"])
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.batches} (stream string, batch bigint, committed_at timestamp, position string,"
            f" files array<string>, changed map<string, bigint>) USING iceberg TBLPROPERTIES ({self.own_properties()})"
        )
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.locks} (name string, holder string, alone boolean, until timestamp)"
            f" USING iceberg TBLPROPERTIES ({self.own_properties()})"
        )

    def own_properties(self):
        few = "'write.metadata.delete-after-commit.enabled' = 'true', 'write.metadata.previous-versions-max' = '20'"
        return f"'levada.datastore' = {literal(self.name)}, {few}"

    def dataset(self, name):
        return Dataset(self, name, self.document["datasets"][name])

    def last_batch(self, stream):
        """The newest visible batch of a stream; 0 before the first. One that takes datasets over from another, as
        when `consistency` changes, goes on counting behind whatever those have."""
        datasets = next((it["datasets"] for it in self.document["streams"] if it["stream"] == stream), [])
        had_one = " OR ".join([f"map_contains_key(changed, {literal(name)})" for name in datasets] or ["false"])
        those = f"stream IN (SELECT stream FROM {self.batches} WHERE {had_one})"
        found = self.spark.sql(f"SELECT max(batch) FROM {self.batches} WHERE stream = {literal(stream)} OR {those}").first()[0]
        return found or 0

    def start(self, stream, datasets, lock):
        """Takes back what killed runs left, under whatever stream's name the tables were, and gives the batch that
        this stream is at. Where that is another's, it gets a row of its own."""
        before = {dataset.name: dataset.stream() for dataset in datasets}
        own = {name: self.own_last_batch(name) for name in {stream, *filter(None, before.values())}}
        known = self.last_batch(stream)
        for dataset in datasets:
            dataset.take_back(own.get(before[dataset.name], known), lock)
        last = max([known, *own.values()])
        if last > own[stream]:
            say(f"{stream} goes on at batch {last}, where its datasets are")
            positions = {self.last_position(name or stream) for name in before.values()}
            position = positions.pop() if len(positions) == 1 else None
            self.commit(stream, last, self.next_moment(), position, [], {}, lock)
        for dataset in datasets:
            dataset.set_stream(stream)
        return last

    def own_last_batch(self, stream):
        """The newest visible batch under a stream's own name."""
        return self.spark.sql(f"SELECT max(batch) FROM {self.batches} WHERE stream = {literal(stream)}").first()[0] or 0

    def last_position(self, stream):
        rows = self.spark.sql(
            f"SELECT position FROM {self.batches} WHERE stream = {literal(stream)} ORDER BY batch DESC LIMIT 1"
        ).collect()
        return rows[0][0] if rows else None

    def merged_files(self, listed):
        """Those of some files, as `DATASET/NAME@SIZE@MODIFIED`, that are in a batch, however old it is: nobody knows
        when the bucket lets a file go."""
        if not listed:
            return set()
        marks = self.spark.createDataFrame([(mark,) for mark in listed], "mark string")
        merged = self.spark.sql(f"SELECT explode(files) AS mark FROM {self.batches}")
        return {row[0] for row in merged.join(marks, "mark", "left_semi").distinct().collect()}

    def loaded_datasets(self):
        """Those that are in some batch."""
        rows = self.spark.sql(f"SELECT DISTINCT explode(map_keys(changed)) FROM {self.batches}")
        return {row[0] for row in rows.collect()}

    def next_moment(self):
        """When the next batch is committed: later than the last one, whatever the clock says."""
        last = self.spark.sql(f"SELECT unix_micros(max(committed_at)) FROM {self.batches}").first()[0]
        now = time.time_ns() // 1000
        return max(now, (last or 0) + 1)

    def commit(self, stream, batch, moment, position, files, changed, lock):
        """Makes a batch visible, unless another run did; one commit."""
        marks = ", ".join(literal(mark) for mark in files)
        counts = ", ".join(f"{literal(name)}, {count}L" for name, count in sorted(changed.items()))
        self.job.commit(
            f"MERGE INTO {self.batches} AS t USING (SELECT {literal(stream)} AS stream, {batch}L AS batch) AS s"
            " ON t.stream = s.stream AND t.batch >= s.batch"
            f" {CHECKED.format('batch')} WHEN NOT MATCHED THEN INSERT (stream, batch, committed_at, position, files, changed) VALUES"
            f" (s.stream, s.batch, timestamp_micros({moment}), {literal(position) if position else 'NULL'},"
            f" cast(array({marks}) AS array<string>), cast(map({counts}) AS map<string, bigint>))",
            lock,
        )


class Dataset:
    """One dataset's milestoned table."""

    def __init__(self, store, name, document):
        self.store, self.spark, self.name = store, store.spark, name
        usual = [{"from": column["name"], "key": False, **column} for column in document["columns"]]
        self.document = {**document, "columns": usual}
        self.table = store.job.table(document["table"])
        self.columns = [(column["name"], spark_type(column["type"])) for column in usual]
        self.padded = {column["name"] for column in usual if column["type"].startswith("char")}
        self.keys = [column["name"] for column in usual if column["key"]]

    def prepare(self):
        """Makes the table, or brings its columns up to the document."""
        milestones = ", ".join(f"{name} {kind}" for name, kind in MILESTONES)
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in self.columns)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.table} ({columns}, {milestones}) USING iceberg PARTITIONED BY (lv_open)"
            " TBLPROPERTIES ('format-version' = '2', 'write.distribution-mode' = 'hash',"
            " 'write.metadata.delete-after-commit.enabled' = 'true', 'write.metadata.previous-versions-max' = '20')"
        )
        there = dict(self.spark.table(self.table).dtypes)
        for name, kind in self.columns:
            if name not in there:
                self.spark.sql(f"ALTER TABLE {self.table} ADD COLUMN {quoted(name)} {kind}")
            elif there[name] != kind:
                if not is_wider(there[name], kind):
                    raise Refused(f"column {name} of {self.store.name}.{self.name} is {there[name]} and can't become {kind}")
                self.spark.sql(f"ALTER TABLE {self.table} ALTER COLUMN {quoted(name)} TYPE {kind}")
        found = self.store.job.properties(self.table)
        owed = Owed.of(found).now(owed["retention"] for owed in self.document["owed"])
        properties = {"levada.datastore": self.store.name, "levada.dataset": self.name, "levada.owed": owed.text()}
        self.store.job.set_properties(self.table, found, properties)

    def stream(self):
        """Whose batches the table has; None before the first."""
        return self.store.job.properties(self.table).get("levada.stream")

    def set_stream(self, stream):
        self.store.job.set_properties(self.table, self.store.job.properties(self.table), {"levada.stream": stream})

    def take_back(self, last, lock):
        """Undoes what a run left of the batch that never became visible."""
        job = self.store.job
        newest = self.spark.sql(f"SELECT greatest(max(lv_from_batch), max(lv_to_batch)) FROM {self.table}").first()[0] or 0
        if newest <= last:
            return
        if newest > last + 1:
            raise Refused(
                f"{self.store.name}.{self.name} has batch {newest}, and the batches of its datastore end at {last}: a killed run"
                " leaves one batch at most, so something else wrote here; nothing is taken back"
            )
        say(f"{self.store.name}.{self.name}: taking back what a run left of batch {last + 1}")
        job.commit(f"DELETE FROM {self.table} WHERE lv_from_batch > {last}", lock)
        job.commit(
            f"UPDATE {self.table} SET lv_open = true, lv_to_batch = NULL, lv_valid_to = NULL WHERE lv_to_batch > {last}", lock
        )

    def staged(self, urls):
        """Staged rows with the model's names and types."""
        raws = self.raw(urls)
        there = {name for raw in raws for name in raw.columns}
        for column in self.document["columns"]:
            if column["from"] not in there:
                raise Refused(f"{self.store.name}.{self.name} has no column {column['from']} in {urls[0]}")
        parts = [self.selected(raw) for raw in raws]
        return functools.reduce(lambda rows, part: rows.unionByName(part, allowMissingColumns=True), parts)

    def raw(self, urls):
        """Files as they were staged: together, or, where a column of the source got another type, apart by their types."""
        try:
            return [self.spark.read.option("mergeSchema", "true").parquet(*urls)]
        except Exception as error:
            if "CANNOT_MERGE" not in str(error):
                raise
        by_schema = {}
        for url in urls:
            by_schema.setdefault(self.spark.read.parquet(url).schema.json(), []).append(url)
        return [self.spark.read.parquet(*alike) for _, alike in sorted(by_schema.items())]

    def selected(self, raw):
        """Rows of files that have one schema; a column that only others have is empty."""
        kinds = dict(raw.dtypes)
        nothing = lambda column: F.lit(None).cast(spark_type(column["type"]))
        typed = [
            (self.typed(column["from"], kinds[column["from"]], column) if column["from"] in kinds else nothing(column)).alias(column["name"])
            for column in self.document["columns"]
        ]
        order = F.coalesce(F.col("lv_seq").cast("string"), F.lit("")) if "lv_seq" in raw.columns else F.lit("")
        operation = F.coalesce(F.col("Op"), F.lit("I")) if "Op" in raw.columns else F.lit("I")
        before = [
            self.typed(f"lv_before_{column['from']}", kinds[f"lv_before_{column['from']}"], column).alias(f"lv_before_{column['name']}")
            for column in self.document["columns"]
            if column["key"] and f"lv_before_{column['from']}" in raw.columns
        ]
        placed = [F.input_file_name().alias("lv_file"), F.monotonically_increasing_id().alias("lv_place")]
        return raw.select(*typed, *before, operation.alias("lv_op"), order.alias("lv_seq"), *placed)

    def typed(self, name, kind, column):
        """A staged column in the model's type; a value that has no image there stops the stream."""
        source, target = F.col(quoted(name)), spark_type(column["type"])
        value = source if kind == target else F.expr(f"try_cast({quoted(name)} AS {target})")
        is_lost = beyond(value, column["type"])
        if kind == target and is_lost is None:
            return source
        is_lost = F.lit(False) if is_lost is None else is_lost
        if kind == "string":
            # A text has many forms of one value; none of them may say more than the value.
            is_lost = value.isNull() | ~says_no_more(source, column["type"]) | is_lost
        elif kind != target:
            is_lost = value.isNull() | (value.cast(kind) != source) | is_lost
        what = f"{WRONG_VALUE}column {column['name']} of {self.store.name}.{self.name} is {column['type']}, and staged is "
        return F.when(source.isNotNull() & is_lost, F.raise_error(F.concat(F.lit(what), source.cast("string")))).otherwise(value)

    def hashed(self, rows, added_in=None):
        """Adds lv_key and lv_row. Equal rows without a key are told apart by their number, and by the batch
        that adds them."""
        # The order in which the model lists columns says nothing about rows.
        rows = rows.withColumn("lv_row", digest(self.canonical(sorted(name for name, _ in self.columns))))
        if self.keys:
            return rows.withColumn("lv_key", digest(self.canonical(sorted(self.keys))))
        window = Window.partitionBy("lv_row").orderBy("lv_place")
        number = F.row_number().over(window).cast("string")
        parts = [F.col("lv_row"), number] + ([] if added_in is None else [F.lit(str(added_in))])
        return rows.withColumn("lv_key", F.concat_ws("-", *parts))

    def canonical(self, names):
        """Columns in the form in which equal values are equal texts."""
        kinds = dict(self.columns)
        made = []
        for name in names:
            value = F.col(quoted(name))
            if kinds[name] in ("float", "double"):
                value = F.when(value == 0, F.lit(0).cast(kinds[name])).otherwise(value)
            made.append((F.rtrim(value) if name in self.padded else value).alias(name))
        return made

    def changes_of(self, whole, files, added_in=None):
        """What staged files say: at most one row for each lv_key.

        `whole`: the files that hold everything there is, or everything that batch `added_in` adds; None: they
        are changes only.
        """
        parts = []
        if whole is not None:
            rows = self.staged(whole) if whole else self.nothing()
            if self.keys:
                rows = rows.dropDuplicates(self.keys)
            parts.append(self.hashed(rows, added_in).withColumn("lv_rank", F.lit(0)))
        if files:
            if not self.keys:
                raise Refused(f"{self.store.name}.{self.name} has no key, and its source tells single changes")
            parts.append(self.latest(self.staged(files)).withColumn("lv_rank", F.lit(1)))
        rows = parts[0]
        for part in parts[1:]:
            rows = rows.unionByName(part, allowMissingColumns=True)
        if len(parts) > 1:
            window = Window.partitionBy("lv_key").orderBy(F.col("lv_rank").desc())
            rows = rows.withColumn("lv_best", F.row_number().over(window)).where("lv_best = 1")
        return rows.select(*[quoted(name) for name, _ in self.columns], "lv_key", "lv_row", "lv_seq", "lv_op")

    def latest(self, rows):
        """The last change of each key; a change of the key itself is also the end of the old one."""
        rows = self.hashed(rows)
        moved = [name for name in self.keys if f"lv_before_{name}" in rows.columns]
        if moved:
            differs = F.lit(False)
            for name in moved:
                before = F.col(quoted(f"lv_before_{name}"))
                differs = differs | (before.isNotNull() & ~before.eqNullSafe(F.col(quoted(name))))
            old = rows.where((F.col("lv_op") == "U") & differs)
            for name in moved:
                old = old.withColumn(name, F.coalesce(F.col(quoted(f"lv_before_{name}")), F.col(quoted(name))))
            # The end of the old key comes before whatever the same change makes of the new one.
            old = self.hashed(old).withColumn("lv_op", F.lit("D")).withColumn("lv_place", F.col("lv_place") - F.lit(0.5))
            rows = rows.withColumn("lv_place", F.col("lv_place").cast("double")).unionByName(old)
        order = [F.col(name).desc() for name in ("lv_seq", "lv_file", "lv_place")]
        window = Window.partitionBy("lv_key").orderBy(*order)
        return rows.withColumn("lv_nth", F.row_number().over(window)).where("lv_nth = 1")

    def nothing(self):
        columns = ", ".join(f"cast(NULL AS {kind}) AS {quoted(name)}" for name, kind in self.columns)
        return self.spark.sql(f"SELECT {columns}, '' AS lv_op, '' AS lv_seq, '' AS lv_file, 0L AS lv_place WHERE false")

    def merge(self, changes, is_whole, batch, moment, lock):
        """Writes one batch's versions: one commit. Gives how many rows changed."""
        now = self.spark.table(self.table).where("lv_open").select(
            "lv_key", F.col("lv_row").alias("old_row"), F.col("lv_seq").alias("old_seq"), F.col("lv_deleted").alias("old_deleted")
        )
        joined = changes.join(now, "lv_key", "full_outer" if is_whole else "left_outer")
        is_there = F.col("old_deleted").isNotNull()
        is_live = is_there & ~F.col("old_deleted")
        # Whoever is in the table and not in everything that there is has gone.
        operation = F.when(F.col("lv_op").isNull(), F.lit("D")).otherwise(F.col("lv_op"))
        is_late = (F.col("lv_seq") != "") & is_there & (F.col("lv_seq") <= F.col("old_seq"))
        goes, differs = operation == "D", ~F.col("lv_row").eqNullSafe(F.col("old_row"))
        remembers = F.coalesce(F.col("lv_seq"), F.lit("")) != ""
        actions = (
            F.when(F.coalesce(is_late, F.lit(False)), F.array())
            .when(goes & is_live, F.array(F.lit("close"), F.lit("bury")))
            .when(goes & ~is_there & remembers, F.array(F.lit("bury")))
            .when(goes, F.when(remembers, F.array(F.lit("touch"))).otherwise(F.array()))
            .when(is_live & ~differs, F.when(remembers, F.array(F.lit("touch"))).otherwise(F.array()))
            .when(is_there, F.array(F.lit("close"), F.lit("open")))
            .otherwise(F.array(F.lit("open")))
        )
        written = joined.withColumn("lv_action", F.explode(actions.cast("array<string>")))
        # A MERGE reads its source twice, and both times it must be the same: it is written down first.
        with self.store.job.written_down(written) as written:
            counts = {row[0]: row[1] for row in written.groupBy("lv_action").count().collect()}
            if counts:
                view = f"lv_{uuid.uuid4().hex}"
                written.createOrReplaceTempView(view)
                self.store.job.commit(self.merge_statement(view, batch, moment), lock)
                self.spark.catalog.dropTempView(view)
            return counts.get("open", 0) + counts.get("bury", 0)

    def merge_statement(self, view, batch, moment):
        columns = [quoted(name) for name, _ in self.columns]
        # The end of a row keeps its place in the source's order, and nothing of what it was.
        kept = lambda name: f"CASE WHEN s.lv_action = 'bury' THEN NULL ELSE s.{name} END"
        values = [kept(name) for name in columns]
        names = ", ".join(columns + [name for name, _ in MILESTONES])
        opened = ", ".join(
            values
            + ["s.lv_key", kept("lv_row"), "coalesce(s.lv_seq, '')", "true", "s.lv_action = 'bury'", f"{batch}L", "NULL",
               f"timestamp_micros({moment})", "NULL"]
        )
        return (
            f"MERGE INTO {self.table} AS t USING {view} AS s"
            " ON t.lv_open AND t.lv_key = s.lv_key AND s.lv_action IN ('close', 'touch')"
            " WHEN MATCHED AND s.lv_action = 'close' THEN UPDATE SET"
            f" lv_open = false, lv_to_batch = {batch}L, lv_valid_to = timestamp_micros({moment})"
            " WHEN MATCHED AND s.lv_action = 'touch' THEN UPDATE SET lv_seq = s.lv_seq"
            f" WHEN NOT MATCHED AND s.lv_action IN ('open', 'bury') THEN INSERT ({names}) VALUES ({opened})"
        )

    def purged(self):
        """The newest batch of which ended versions have gone; 0: of none."""
        return int(self.store.job.properties(self.table).get("levada.purged", "0"))

    def live(self, batch):
        """What was valid at a batch."""
        return self.spark.table(self.table).where(live_at(batch))

    def history(self, batch):
        """Every version up to a batch; what was closed later is open."""
        later = F.col("lv_to_batch") > batch
        rows = self.spark.table(self.table).where(f"NOT lv_deleted AND lv_from_batch <= {batch}")
        for name in ("lv_to_batch", "lv_valid_to"):
            rows = rows.withColumn(name, F.when(later, F.lit(None)).otherwise(F.col(name)))
        return rows


def live_at(batch):
    """In Spark's SQL: whether a version was valid at a batch."""
    return f"NOT lv_deleted AND lv_from_batch <= {batch} AND (lv_to_batch IS NULL OR lv_to_batch > {batch})"


@contextlib.contextmanager
def told():
    """Turns what Spark says of a wrong value into our own words."""
    try:
        yield
    except Exception as error:
        said = str(error)
        if WRONG_VALUE not in said:
            raise
        raise Refused(said[said.index(WRONG_VALUE) + len(WRONG_VALUE) :].splitlines()[0]) from None


def digest(columns):
    """128 bits of some columns, in hexadecimal digits; a NULL is told from every text."""
    return F.md5(F.to_json(F.struct(*columns), EXACT))


def beyond(value, model_type):
    """Whether a value is longer or larger than its type in the model has room for; None: it never is."""
    base, _, length = model_type.rstrip(")").partition("(")
    if base in ("char", "varchar"):
        return F.length(F.rtrim(value) if base == "char" else value) > int(length)
    if base in BOUNDS:
        least, most = BOUNDS[base]
        return (value < least) | (value > most)
    return None


def says_no_more(text, model_type):
    """Whether a text says nothing that a value of its type leaves out: digits behind the last, a time behind a day."""
    base, _, rest = model_type.rstrip(")").partition("(")
    if base == "decimal":
        scale = int(rest.split(",")[1])
        return text.rlike(rf"^\s*[+-]?\d*(\.\d{{0,{scale}}}0*)?\s*$")
    if base == "date":
        return text.rlike(r"^\s*[+-]?\d{4,}-\d{1,2}-\d{1,2}([T ]00:00(:00(\.0*)?)?)?\s*$")
    if base in MOMENTS:
        return text.rlike(MOMENTS[base])
    return F.lit(True)


def is_wider(old, new):
    if (old, new) in WIDER:
        return True
    if old.startswith("decimal(") and new.startswith("decimal("):
        (old_digits, old_scale), (new_digits, new_scale) = (
            tuple(map(int, kind[8:-1].split(","))) for kind in (old, new)
        )
        return old_scale == new_scale and new_digits >= old_digits
    return False


class Owed:
    """For how long the milestones of a table are owed, kept in its properties.

    Each retention that somebody asks for, with the day on which nobody asked for it any more: it runs out so
    long after that day. `hold` is without end, and ends with its being lifted.
    """

    def __init__(self, days):
        self.days = days

    @classmethod
    def of(cls, properties):
        return cls(json.loads(properties.get("levada.owed", "{}")))

    def text(self):
        return json.dumps(self.days, sort_keys=True)

    def now(self, asked, today=None):
        """The same, where these retentions are asked for from now on."""
        asked = {"hold" if retention is None else retention for retention in asked}
        today = (today or datetime.datetime.now(datetime.timezone.utc).date()).isoformat()
        days = {retention: day or today for retention, day in self.days.items() if retention not in asked and retention != "hold"}
        return Owed({**days, **{retention: None for retention in asked}})

    def conditions(self):
        """In Spark's SQL: until when a closed version, or the end of a row, is owed, and whether an obligation still runs."""
        found = []
        for retention, day in self.days.items():
            if retention == "hold":
                found.append(("timestamp '9999-12-31'", "true"))
                continue
            length = interval(retention)
            runs = "true" if day is None else f"current_timestamp() < timestamp {literal(day)} + {length}"
            found.append((f"coalesce(lv_valid_to, lv_valid_from) + {length}", runs))
        return found


def interval(period):
    """A length such as 30d or 6mo in Spark's SQL."""
    digits = period.rstrip("abcdefghijklmnopqrstuvwxyz")
    return f"INTERVAL {int(digits)} {PERIODS[period[len(digits):]].upper()}"


class Lock:
    """A soft lock on something of a store, held alone or with others."""

    def __init__(self, store, name, alone, wait_seconds=LOCK_WAIT_SECONDS):
        self.store, self.name, self.alone, self.wait_seconds = store, name, alone, wait_seconds
        self.holder = str(uuid.uuid4())
        self.stopping = threading.Event()
        self.renewing = None
        self.until, self.is_lost = 0, False

    def __enter__(self):
        deadline = time.monotonic() + self.wait_seconds
        while not self.take():
            if time.monotonic() >= deadline:
                raise Refused(f"{self.store.name}: another run holds the lock {self.name}; it expires {LOCK_SECONDS} s after the run ended")
            time.sleep(LOCK_POLL_SECONDS)
        self.renewing = threading.Thread(target=self.renew, name=f"lock-{self.name}", daemon=True)
        self.renewing.start()
        return self

    def take(self):
        self.until = int(time.time()) + LOCK_SECONDS
        until = f"timestamp_micros({self.until * 1_000_000})"
        now = f"timestamp_micros({time.time_ns() // 1000})"
        alone = str(self.alone).lower()
        # Two that take it at once add rows that the other's condition would have matched: one of them
        # fails and looks again.
        self.store.job.commit(
            f"MERGE INTO {self.store.locks} AS t USING (SELECT {literal(self.name)} AS name, {alone} AS alone) AS s"
            f" ON t.name = s.name AND t.until > {now} AND (t.alone OR s.alone)"
            f" {CHECKED.format('name')} WHEN NOT MATCHED THEN INSERT (name, holder, alone, until) VALUES (s.name, {literal(self.holder)}, s.alone, {until})"
        )
        return self.is_held()

    def is_held(self):
        now = f"timestamp_micros({time.time_ns() // 1000})"
        mine = f"holder = {literal(self.holder)} AND until > {now}"
        return bool(self.store.spark.sql(f"SELECT 1 FROM {self.store.locks} WHERE {mine}").collect())

    def renew(self):
        """Moves the end of the lock on; what fails is tried again while the lock is held, then the run is stopped."""
        pause = LOCK_RENEWAL_SECONDS
        while not self.stopping.wait(pause):
            try:
                self.renew_once()
                pause = LOCK_RENEWAL_SECONDS
            except Exception as error:
                say(f"{self.store.name}: the lock {self.name} could not be renewed: {error}")
                pause = LOCK_POLL_SECONDS
                if time.time() >= self.until:
                    self.is_lost = True
                    self.store.spark.sparkContext.cancelAllJobs()
                    return

    def renew_once(self):
        until = int(time.time()) + LOCK_SECONDS
        now = f"timestamp_micros({time.time_ns() // 1000})"
        # One that expired may be another run's by now.
        self.store.job.commit(
            f"UPDATE {self.store.locks} SET until = timestamp_micros({until * 1_000_000})"
            f" WHERE holder = {literal(self.holder)} AND until > {now}"
        )
        self.must_be_held()
        self.until = until

    def must_be_held(self):
        """Refuses to go on with a lock that expired: another run may be at it."""
        if self.is_lost or not self.is_held():
            raise Refused(f"{self.store.name}: the lock {self.name} expired under this run")

    def __exit__(self, *_):
        self.stopping.set()
        self.renewing.join()
        now = f"timestamp_micros({time.time_ns() // 1000})"
        # Rows that expired go with it.
        self.store.job.commit(
            f"DELETE FROM {self.store.locks} WHERE holder = {literal(self.holder)} OR until <= {now}"
        )


class Job:
    """One run."""

    def __init__(self, spark, base, database):
        self.spark, self.database = spark, database
        # Dates are days of the calendar that everybody has, however old they are.
        for way in ("datetimeRebaseModeInRead", "datetimeRebaseModeInWrite", "int96RebaseModeInRead", "int96RebaseModeInWrite"):
            spark.conf.set(f"spark.sql.parquet.{way}", "CORRECTED")
        self.files = Files(spark, base)

    def table(self, name):
        return f"{CATALOG}.{quoted(self.database)}.{quoted(name)}"

    def properties(self, table):
        return {row[0]: row[1] for row in self.spark.sql(f"SHOW TBLPROPERTIES {table}").collect()}

    def set_properties(self, table, found, wanted):
        """Sets those properties that differ."""
        differing = {key: value for key, value in wanted.items() if found.get(key) != value}
        if differing:
            pairs = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in differing.items())
            self.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({pairs})")

    def commit(self, statement, lock=None):
        """One commit of one table, while a lock is held; where another run's came between, it is tried again on what
        is there then."""
        for attempt in range(1, COMMIT_TRIES + 1):
            if lock is not None:
                lock.must_be_held()
            try:
                self.spark.sql(statement)
                return
            except Exception as error:
                names = ("ValidationException", "CommitFailedException", "Found conflicting files", "concurrently modified")
                said = str(error)
                # Of a commit whose end nobody knows another try might be the second one: the next run takes it back.
                if attempt == COMMIT_TRIES or "CommitStateUnknown" in said or not any(name in said for name in names):
                    raise
                time.sleep(0.2 * attempt)

    @contextlib.contextmanager
    def written_down(self, rows):
        """Rows that stay the same however often they are read."""
        relative = f"temporary/{uuid.uuid4()}"
        rows.write.parquet(self.files.url(relative))
        try:
            yield self.spark.read.parquet(self.files.url(relative))
        finally:
            self.files.remove(relative)

    def merge(self, name, since, is_loaded=False):
        """Every stream of a datastore, a batch each, where something is staged."""
        store = Store(self, name)
        with Lock(store, "merge", alone=True) as lock, Lock(store, "files", alone=False):
            for stream in store.document["streams"]:
                self.merge_stream(store, stream, since, is_loaded, lock)

    def merge_stream(self, store, stream, since, is_loaded, lock):
        name = stream["stream"]
        datasets = [store.dataset(dataset) for dataset in stream["datasets"]]
        for dataset in datasets:
            dataset.prepare()
        last = store.start(name, datasets, lock)
        staged = Staged(store, name, datasets, since, is_loaded)
        if not staged.is_something:
            say(f"{name}: nothing is staged that was not merged before")
            return
        batch, moment = last + 1, store.next_moment()
        changed = {}
        for dataset in datasets:
            whole, files = staged.of(dataset)
            if whole is None and not files:
                continue
            adds = store.document["adds"]
            changes = dataset.changes_of(whole, files, batch if adds else None)
            is_whole = whole is not None and not adds
            with told():
                changed[dataset.name] = dataset.merge(changes, is_whole, batch, moment, lock)
        store.commit(name, batch, moment, staged.position, staged.marks, changed, lock)
        say(f"{name}: batch {batch} of {sum(changed.values())} changes in {len(changed)} datasets")


    def transform(self, workspace):
        """A transformer's queries on what its inputs are now; the result is staged, and merged by the next run."""
        document = self.files.document(f"control/transformers/{workspace}.json")
        if document is None:
            raise Refused(f"there is no transformer of {workspace}: control/transformers/{workspace}.json is not there")
        output = Store(self, document["output"])
        with Lock(output, "transform", alone=True) as lock:
            stores = {it["datastore"]: Store(self, it["datastore"]) for it in document["inputs"]}
            streams = [stream["stream"] for stream in output.document["streams"]]
            # Before anything is read: what another run merges from here on is newer than what this one reads.
            behind = {stream: output.last_batch(stream) for stream in streams}
            read = {it["stream"]: stores[it["datastore"]].last_batch(it["stream"]) for it in document["inputs"]}
            vector = {it["stream"]: read[it["stream"]] for it in document["inputs"] if not it["self"]}
            waiting = sorted(stream for stream, batch in vector.items() if batch == 0)
            if waiting:
                say(f"{workspace}: {', '.join(waiting)} has no batch yet")
                return
            position = json.dumps(vector, sort_keys=True)
            if all(output.last_position(stream) == position for stream in streams):
                say(f"{workspace}: nothing is newer than what it has read")
                return
            with contextlib.ExitStack() as readers:
                for store in stores.values():
                    readers.enter_context(Lock(store, "files", alone=False))
                run = str(uuid.uuid4())
                Queries(self, document, stores, read).stage(run)
            lock.must_be_held()
            # Named last: a run without this document is as if it had never been.
            self.files.put_document(f"staging/{output.name}/run.json", {"run": run, "vector": vector, "behind": behind})
        say(f"{workspace}: staged {run} of {position}")

    def maintain(self):
        """What nobody is owed goes, tables that nobody needs go, small files become large ones."""
        tables = [row[1] for row in self.spark.sql(f"SHOW TABLES IN {CATALOG}.{quoted(self.database)}").collect()]
        by_store = {}
        for name in tables:
            found = self.properties(self.table(name))
            if "levada.datastore" in found:
                by_store.setdefault(found["levada.datastore"], []).append((name, found))
        for store, kept in sorted(by_store.items()):
            self.maintain_store(store, kept)

    def maintain_store(self, name, kept):
        document = self.files.document(f"control/stores/{name}.json")
        datasets, store = document["datasets"] if document else {}, None
        with contextlib.ExitStack() as locks:
            if document:
                try:
                    store = Store(self, name)
                    locks.enter_context(Lock(store, "files", alone=True, wait_seconds=0))
                except Refused:
                    say(f"{name}: a run is at it; its tables are looked after the next time")
                    return
            milestones = [(table, found) for table, found in kept if "levada.dataset" in found]
            dropped = 0
            for table, found in milestones:
                asked = [owed["retention"] for owed in datasets.get(found["levada.dataset"], {"owed": []})["owed"]]
                owed = Owed.of(found).now(asked)
                self.set_properties(self.table(table), found, {"levada.owed": owed.text()})
                is_in_use = found["levada.dataset"] in datasets
                dropped += self.keep_what_is_owed(table, owed, self.removable(store, found), is_in_use)
            if document is None and dropped == len(milestones):
                for table, found in kept:
                    if "levada.dataset" not in found:
                        self.spark.sql(f"DROP TABLE {self.table(table)} PURGE")
            elif document is not None:
                names = {document["batches"], document["locks"]}
                self.compact([table for table, found in kept if table in names])

    def removable(self, store, found):
        """In Spark's SQL: closed versions and ends of rows that may go where nobody is owed them.

        What a batch closed that is not visible yet may still be taken back. The end of a row holds back older
        changes, as long as some may be staged.
        """
        if store is None:
            return "(NOT lv_open OR lv_deleted)"
        stream = found.get("levada.stream")
        last = store.own_last_batch(stream) if stream else 0
        days = store.document["staging_days"] + 1
        is_old = f"lv_deleted AND lv_from_batch <= {last} AND lv_valid_from < current_timestamp() - INTERVAL {days} DAYS"
        return f"((NOT lv_open AND lv_to_batch <= {last}) OR (lv_open AND {is_old}))"

    def keep_what_is_owed(self, name, owed, removable, is_in_use):
        """Drops versions, or the whole table; gives whether it is gone."""
        table = self.table(name)
        conditions = owed.conditions()
        runs = " OR ".join(f"({runs})" for _, runs in conditions) or "false"
        if not is_in_use and not self.spark.sql(f"SELECT {runs}").first()[0]:
            say(f"{name}: nobody is owed it any more")
            self.spark.sql(f"DROP TABLE {table} PURGE")
            return 1
        owing = " OR ".join(f"(({runs}) AND {until} > current_timestamp())" for until, runs in conditions) or "false"
        goes = f"{removable} AND NOT ({owing})"
        count, newest = self.spark.sql(f"SELECT count(*), max(lv_to_batch) FROM {table} WHERE {goes}").first()
        if count:
            # Whoever has less than this batch can't be told any more what went since.
            found = self.properties(table)
            self.set_properties(table, found, {"levada.purged": str(max(newest or 0, int(found.get("levada.purged", "0"))))})
            self.commit(f"DELETE FROM {table} WHERE {goes}")
        self.compact([name])
        return 0

    def compact(self, names):
        """Merges small files and forgets old snapshots of the table format; no milestone is touched."""
        for name in names:
            target = literal(f"{self.database}.{name}")
            self.spark.sql(f"CALL {CATALOG}.system.rewrite_data_files(table => {target})")
            older = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=SNAPSHOTS_KEPT_DAYS)
            until = f"TIMESTAMP {literal(older.strftime('%Y-%m-%d %H:%M:%S'))}"
            self.spark.sql(f"CALL {CATALOG}.system.expire_snapshots(table => {target}, older_than => {until}, retain_last => 2)")

    def export(self, name, container):
        """What is new of a datastore, into a consumer's database: one transaction a stream."""
        store = Store(self, name)
        exports = [it for it in store.document["exports"] if it["connection"]["container"] == container]
        if not exports:
            raise Refused(f"nothing of {name} is delivered to {container}")
        with Lock(store, f"export {container}", alone=True), Lock(store, "files", alone=False):
            with Target.of(self, exports[0]["connection"]) as target:
                delivery = Delivery(store, container, target)
                delivery.prepare()
                # A view that goes may stand on a table that is built anew.
                delivery.retire(exports)
                for stream in sorted({it["stream"] for it in exports}):
                    delivery.deliver(stream, [it for it in exports if it["stream"] == stream])

    def secret(self, name):
        """A secret of Secrets Manager: a document with username and password."""
        import boto3

        return json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])


class Queries:
    """A transformer's queries on its inputs, as views `STORE.DATASET` of a catalog that only this run sees."""

    def __init__(self, job, document, stores, read):
        self.job, self.document, self.stores, self.read = job, document, stores, read
        self.spark = job.spark

    def stage(self, run):
        catalog = f"run_{run.replace('-', '')}"
        self.spark.conf.set(f"spark.sql.catalog.{catalog}", "org.apache.iceberg.spark.SparkCatalog")
        self.spark.conf.set(f"spark.sql.catalog.{catalog}.catalog-impl", "org.apache.iceberg.inmemory.InMemoryCatalog")
        before = self.spark.catalog.currentCatalog()
        try:
            self.spark.sql(f"USE {catalog}")
            alone = self.make_views(catalog)
            for output in self.document["outputs"]:
                if output["consumed"]:
                    self.stage_output(run, output)
            for name in alone:
                self.spark.catalog.dropTempView(name)
        finally:
            self.spark.catalog.setCurrentCatalog(before)

    def make_views(self, catalog):
        """`STORE.DATASET`, and `DATASET` where only one input is called so; gives the latter."""
        names = [it["dataset"].lower() for it in self.document["inputs"]]
        alone = []
        for it in self.document["inputs"]:
            dataset = self.stores[it["datastore"]].dataset(it["dataset"])
            if self.read[it["stream"]] == 0:
                # Its own output before the first run: empty.
                dataset.prepare()
            columns = ", ".join(quoted(name) for name, _ in dataset.columns)
            query = f"SELECT {columns} FROM {dataset.table} WHERE {live_at(self.read[it['stream']])}"
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {catalog}.{quoted(it['datastore'])}")
            self.spark.sql(f"CREATE VIEW {catalog}.{quoted(it['datastore'])}.{quoted(it['dataset'])} AS {query}")
            if names.count(it["dataset"].lower()) == 1:
                self.spark.sql(query).createOrReplaceTempView(quoted(it["dataset"]))
                alone.append(it["dataset"])
        return alone

    def stage_output(self, run, output):
        queries = [it["sql"] for it in self.document["queries"] if it["dataset"] in (None, output["dataset"])]
        if len(queries) != 1:
            raise Refused(f"{self.document['workspace']}: {len(queries)} queries make {output['dataset']}")
        result = self.spark.sql(queries[0].strip().rstrip(";"))
        wanted = [column["name"] for column in output["columns"]]
        if sorted(result.columns) != sorted(wanted):
            raise Refused(
                f"{self.document['workspace']}: the query of {output['dataset']} gives the columns {', '.join(result.columns)};"
                f" the model says {', '.join(wanted)}"
            )
        folder = f"staging/{self.document['output']}/{output['dataset']}/{run}"
        result.write.parquet(self.job.files.url(folder))


class Staged:
    """What is staged for a stream and in no batch yet."""

    def __init__(self, store, stream, datasets, since, is_loaded):
        self.store, self.whole, self.changes, self.marks, self.position = store, {}, {}, [], None
        kind = store.document["ingest"]
        if kind == "transformer":
            self.of_run(stream, datasets)
        elif kind == "snapshot":
            for dataset in datasets:
                self.of_snapshot(dataset, self.listed(dataset), since or 0)
        else:
            listed = {dataset.name: self.listed(dataset) for dataset in datasets}
            merged, loaded = store.merged_files([it[1] for files in listed.values() for it in files]), store.loaded_datasets()
            for dataset in datasets:
                fresh = [it for it in listed[dataset.name] if it[1] not in merged]
                self.of_changes(dataset, fresh, since, dataset.name in loaded, is_loaded)
        self.is_something = bool(self.whole or self.changes)

    def of_run(self, stream, datasets):
        """A transformer's output, whole; its position is the vector of what it read."""
        run = self.store.job.files.document(f"staging/{self.store.name}/run.json")
        if run is None:
            return
        position = json.dumps(run["vector"], sort_keys=True)
        if position == self.store.last_position(stream):
            return
        behind = run.get("behind", {}).get(stream)
        if self.store.document["adds"] and behind is not None and behind != self.store.last_batch(stream):
            say(f"{stream}: its output has grown since the run read it; the next run adds to what is there now")
            return
        self.position = position
        for dataset in datasets:
            folder = f"staging/{self.store.name}/{dataset.name}/{run['run']}"
            self.whole[dataset.name] = [self.store.job.files.url(f"{folder}/{it[0]}") for it in self.store.job.files.parquet(folder)]

    def listed(self, dataset):
        """The files of a dataset that DMS wrote: name, mark, when it was modified, in ms."""
        found = self.store.job.files.parquet(f"staging/{self.store.name}/{dataset.name}")
        return [(name, f"{dataset.name}/{mark}", modified) for name, mark, modified in found]

    def urls(self, dataset, files):
        return [self.store.job.files.url(f"staging/{self.store.name}/{dataset.name}/{it[0]}") for it in files]

    def of_snapshot(self, dataset, listed, since):
        """The load of this run, and nothing that an earlier one left: everything there is."""
        loads = [it for it in listed if it[2] >= since and is_load(it)]
        self.whole[dataset.name] = self.urls(dataset, loads)
        self.marks += [it[1] for it in loads]

    def of_changes(self, dataset, fresh, since, is_merged, is_loaded):
        """What was not merged yet: `LOAD…` hold everything, others changes in their order.

        `is_merged`: whether some batch has the dataset; `is_loaded`: whether DMS has loaded every table.
        """
        name = f"{self.store.name}.{dataset.name}"
        # Of an earlier load some files may still be there: those are not fresh.
        loads = [it for it in fresh if is_load(it)]
        changes = [it for it in fresh if not is_load(it)]
        if since is not None and any(it[2] >= whole_second(since) for it in loads):
            say(f"{name}: it is being loaded again; that is merged once it is whole, with its changes")
            return
        if loads and is_merged:
            # What was staged before a table was loaded again is in the load already.
            began = min(it[2] for it in loads)
            changes = [it for it in changes if it[2] >= began]
        if loads:
            self.whole[dataset.name] = self.urls(dataset, loads)
        elif not is_merged and is_loaded:
            # DMS makes no file for a table without rows.
            self.whole[dataset.name] = []
        elif not is_merged:
            if changes:
                say(f"{name}: its changes wait until DMS has loaded it: reload the table in its task")
            return
        if changes:
            self.changes[dataset.name] = self.urls(dataset, changes)
        self.marks += [it[1] for it in fresh]

    def of(self, dataset):
        return self.whole.get(dataset.name), self.changes.get(dataset.name, [])


def is_load(file):
    """Whether a file is part of a full load."""
    return file[0].startswith("LOAD")


def whole_second(milliseconds):
    """S3 tells when a file was modified without what is below the second."""
    return milliseconds // 1000 * 1000


class Target:
    """A consumer's database: its SQL and the way there."""

    # The model's types where they are not called as in the model.
    types = {}

    def __init__(self, job, connection):
        self.job, self.place = job, next(iter(connection["place"].values()))
        self.secret = job.secret(connection["secret"])
        self.connection = None

    @staticmethod
    def of(job, connection):
        return {"postgres": Postgres, "redshift": Redshift, "snowflake": Snowflake}[connection["kind"]](job, connection)

    def __enter__(self):
        self.connection = self.connect()
        return self

    def __exit__(self, *_):
        self.connection.close()

    def run(self, statement, values=()):
        """One statement; gives its rows, or how many it touched."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else cursor.rowcount
        finally:
            cursor.close()

    @contextlib.contextmanager
    def transaction(self):
        try:
            yield
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise

    def name(self, text):
        return '"' + text.replace('"', '""') + '"'

    def table(self, name):
        return f"{self.name('levada')}.{self.name(name)}"

    def type(self, model_type):
        base = model_type.split("(")[0]
        return self.types.get(base, model_type)

    def grantee(self, reader):
        return self.name(reader["name"])


class Postgres(Target):
    types = {
        "int8": "smallint", "int16": "smallint", "int32": "integer", "int64": "bigint", "float32": "real",
        "float64": "double precision", "decimal": None, "binary": "bytea",
    }
    port = 5432

    def type(self, model_type):
        if model_type.startswith("decimal"):
            return model_type.replace("decimal", "numeric")
        return super().type(model_type)

    def connect(self):
        import ssl

        import pg8000.dbapi

        context = None
        if self.place["tls"] != "prefer":
            context = ssl.create_default_context()
            if self.place["tls"] == "require":
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return pg8000.dbapi.connect(
            user=self.secret["username"], password=self.secret["password"], host=self.place["host"],
            port=self.place["port"] or self.port, database=self.place["database"], ssl_context=context,
        )

    def load(self, rows, name):
        """Rows into a new table; texts find their types there."""
        mode = {"prefer": "prefer", "require": "require", "verify-full": "verify-full"}[self.place["tls"]]
        port = self.place["port"] or self.port
        url = f"jdbc:postgresql://{self.place['host']}:{port}/{self.place['database']}?sslmode={mode}&stringtype=unspecified&reWriteBatchedInserts=true"
        if mode == "verify-full":
            # The authorities that Java trusts, instead of a file in a home folder.
            url += "&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory"
        options = {"user": self.secret["username"], "password": self.secret["password"], "driver": "org.postgresql.Driver", "batchsize": "10000"}
        rows.write.jdbc(url, self.table(name), mode="append", properties=options)


class Redshift(Postgres):
    types = {
        **Postgres.types, "text": "varchar(65535)", "json": "varchar(65535)", "uuid": "varchar(36)", "binary": "varbyte(1024000)",
    }
    port = 5439

    def connect(self):
        import redshift_connector

        return redshift_connector.connect(
            user=self.secret["username"], password=self.secret["password"], host=self.place["host"],
            port=self.place["port"] or self.port, database=self.place["database"], ssl=True,
        )

    def load(self, rows, name):
        port = self.place["port"] or self.port
        url = f"jdbc:redshift://{self.place['host']}:{port}/{self.place['database']}"
        options = {"user": self.secret["username"], "password": self.secret["password"], "driver": "com.amazon.redshift.Driver", "batchsize": "10000"}
        rows.write.jdbc(url, self.table(name), mode="append", properties=options)

    def grantee(self, reader):
        return ("ROLE " if reader["is"] == "role" else "") + self.name(reader["name"])


class Snowflake(Target):
    types = {
        "int8": "number(3)", "int16": "number(5)", "int32": "number(10)", "int64": "number(19)", "float32": "float",
        "float64": "float", "text": "varchar", "json": "varchar", "uuid": "varchar(36)", "timestamp": "timestamp_ntz",
        "timestamptz": "timestamp_tz",
    }

    def connect(self):
        import snowflake.connector

        return snowflake.connector.connect(
            user=self.secret["username"], password=self.secret["password"], account=self.place["account"],
            warehouse=self.place["warehouse"], database=self.place["database"], autocommit=False,
        )

    def name(self, text):
        """Plain names as everybody types them there: Snowflake keeps those in upper case."""
        is_plain = text.isascii() and text.replace("_", "a").isalnum() and not text[0].isdigit()
        return super().name(text.upper() if is_plain else text)

    def load(self, rows, name):
        options = {
            "sfURL": f"{self.place['account']}.snowflakecomputing.com", "sfUser": self.secret["username"],
            "sfPassword": self.secret["password"], "sfDatabase": self.place["database"], "sfSchema": self.name("levada"),
            "sfWarehouse": self.place["warehouse"], "keep_column_case": "on", "column_mapping": "name",
        }
        plain = rows.toDF(*[self.name(it).strip('"') for it in rows.columns])
        plain.write.format("net.snowflake.spark.snowflake").options(**options).option("dbtable", self.table(name)).mode("append").save()

    def grantee(self, reader):
        return "ROLE " + self.name(reader["name"])


class Delivery:
    """What a datastore has in one consumer's database, and bringing it up to date.

    A row in `levada.applied_…` for each table and view says what it holds: its batch and its shape. It is written
    in the transaction that changes the table.
    """

    def __init__(self, store, container, target):
        self.store, self.target = store, target
        # Two containers may be one database.
        self.what = f"{store.name} to {container}"
        self.applied_table = target.table(store.document["applied"])

    def prepare(self):
        target = self.target
        with target.transaction():
            target.run(f"CREATE SCHEMA IF NOT EXISTS {target.name('levada')}")
            target.run(
                f"CREATE TABLE IF NOT EXISTS {self.applied_table} (delivery varchar(300) NOT NULL, name varchar(300) NOT NULL,"
                " batch bigint NOT NULL, shape varchar(60000) NOT NULL)"
            )

    def applied(self):
        """(batch, shape) by name, of this datastore."""
        with self.target.transaction():
            rows = self.target.run(f"SELECT name, batch, shape FROM {self.applied_table} WHERE delivery = %s", (self.what,))
        return {name: (batch, shape) for name, batch, shape in rows}

    def remember(self, applied, name, batch, shape):
        """Writes what a table or view holds now, if it is still what was read before."""
        target = self.target
        if name in applied:
            touched = target.run(
                f"UPDATE {self.applied_table} SET batch = %s, shape = %s WHERE delivery = %s AND name = %s AND batch = %s",
                (batch, shape, self.what, name, applied[name][0]),
            )
            if touched != 1:
                raise Refused(f"{name}: another run delivers it")
        else:
            target.run(f"INSERT INTO {self.applied_table} (delivery, name, batch, shape) VALUES (%s, %s, %s, %s)", (self.what, name, batch, shape))

    def deliver(self, stream, exports):
        """Brings all tables of a stream to its last batch, in one transaction."""
        last = self.store.last_batch(stream)
        if last == 0:
            return
        applied = self.applied()
        tables = [Table(self, export, reading, applied, last) for export in exports for reading in ("live", "history") if export[reading]]
        behind = [table for table in tables if not table.is_at(last)]
        views = self.views_to_make(exports, applied, behind)
        if not behind and not views:
            return
        try:
            for table in behind:
                table.load(last)
            with self.target.transaction():
                # Whatever table a view stands on, it is out of the way before that is built anew.
                for export, view in self.remade_views(exports, applied, behind):
                    self.target.run(f"DROP VIEW IF EXISTS {self.target.name(view['schema'])}.{self.target.name(view['name'])}")
                for table in behind:
                    table.apply(last)
                for view in views:
                    view()
                for table in tables:
                    table.forget()
        finally:
            with self.target.transaction():
                for table in behind:
                    table.clear()
        say(f"{stream}: {len(behind)} tables are at batch {last}")

    def views_to_make(self, exports, applied, rebuilt):
        """What is to be done for the workspaces' views, as calls."""
        moved = {table.name for table in rebuilt if table.is_new}
        calls = []
        for export in exports:
            for view in export["views"]:
                name = f"{view['schema']}.{view['name']}"
                wanted = json.dumps({"view": self.view_statement(export, view), "readers": view["readers"]}, sort_keys=True)
                is_moved = export[view["reading"]] in moved
                if is_moved or applied.get(f"view {name}", (0, ""))[1] != wanted:
                    calls.append(functools.partial(self.make_view, applied, view, wanted, is_moved))
        return calls

    def remade_views(self, exports, applied, behind):
        """Views that stand on a table that is built anew, or stood on another one."""
        moved = {table.name for table in behind if table.is_new}
        for export in exports:
            for view in export["views"]:
                _, before = applied.get(f"view {view['schema']}.{view['name']}", (0, '{"view": null}'))
                if export[view["reading"]] in moved or json.loads(before)["view"] != self.view_statement(export, view):
                    yield export, view

    def view_statement(self, export, view):
        target = self.target
        columns = [name for name, _ in self.store.dataset(export["dataset"]).columns]
        where = ""
        if view["reading"] == "history":
            columns += ["valid_from", "valid_to"]
            if view["retention"]:
                length = view["retention"]
                count = length.rstrip("abcdefghijklmnopqrstuvwxyz")
                unit = PERIODS[length[len(count):]]
                where = f" WHERE {target.name('valid_to')} IS NULL OR {target.name('valid_to')} > current_timestamp - interval '{count} {unit}'"
        listed = ", ".join(target.name(column) for column in columns)
        schema, name = target.name(view["schema"]), target.name(view["name"])
        return f"CREATE VIEW {schema}.{name} AS SELECT {listed} FROM {target.table(export[view['reading']])}{where}"

    def make_view(self, applied, view, wanted, is_moved):
        target, name = self.target, f"view {view['schema']}.{view['name']}"
        schema, full = target.name(view["schema"]), f"{target.name(view['schema'])}.{target.name(view['name'])}"
        before = json.loads(applied[name][1]) if name in applied else {"view": None, "readers": []}
        now = json.loads(wanted)
        target.run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        if is_moved or before["view"] != now["view"]:
            target.run(f"DROP VIEW IF EXISTS {full}")
            target.run(now["view"])
            before["readers"] = []
        for reader in before["readers"]:
            if reader not in now["readers"]:
                target.run(f"REVOKE SELECT ON {full} FROM {target.grantee(reader)}")
        for reader in now["readers"]:
            target.run(f"GRANT USAGE ON SCHEMA {schema} TO {target.grantee(reader)}")
            target.run(f"GRANT SELECT ON {full} TO {target.grantee(reader)}")
        self.remember(applied, name, 0, wanted)

    def retire(self, exports):
        """Takes away tables and views that nobody asks for any more."""
        target = self.target
        tables = {export[reading] for export in exports for reading in ("live", "history") if export[reading]}
        views = {f"view {view['schema']}.{view['name']}" for export in exports for view in export["views"]}
        gone = sorted(self.applied().keys() - tables - views, key=lambda name: not name.startswith("view "))
        with target.transaction():
            for name in gone:
                if name.startswith("view "):
                    schema, view = name.removeprefix("view ").split(".", 1)
                    target.run(f"DROP VIEW IF EXISTS {target.name(schema)}.{target.name(view)}")
                else:
                    target.run(f"DROP TABLE IF EXISTS {target.table(name)}")
                target.run(f"DELETE FROM {self.applied_table} WHERE delivery = %s AND name = %s", (self.what, name))


class Table:
    """One delivered table: the live reading of a dataset, or its history."""

    def __init__(self, delivery, export, reading, applied, last):
        self.delivery, self.target, self.reading, self.applied = delivery, delivery.target, reading, applied
        self.export, self.name = export, export[reading]
        self.dataset = delivery.store.dataset(export["dataset"])
        self.columns = [("lv_key", "varchar(128)")] + ([("lv_from_batch", "bigint")] if reading == "history" else [])
        self.columns += [(column["name"], self.target.type(column["type"])) for column in self.dataset.document["columns"]]
        if reading == "history":
            instant = self.target.type("timestamptz")
            self.columns += [("valid_from", instant), ("valid_to", instant)]
        self.shape = json.dumps(self.columns)
        # Nothing is there, or something of another shape, or of batches that are no more, or that has fallen behind
        # what is kept: it is built anew beside.
        there, shape = applied.get(self.name, (None, None))
        self.is_new = there is None or shape != self.shape or there > last or there < self.dataset.purged()
        digest_of = uuid.uuid5(uuid.NAMESPACE_OID, self.name).hex
        self.staging, self.beside = f"s_{digest_of}", f"n_{digest_of}"

    def is_at(self, batch):
        return not self.is_new and self.applied[self.name][0] == batch

    def rows(self, batch):
        """What is to be written: everything, or what changed since the batch that is there."""
        since = None if self.is_new else self.applied[self.name][0]
        columns = [F.col(quoted(name)) for name, _ in self.dataset.columns]
        if self.reading == "live":
            rows = self.dataset.live(batch)
            if since is not None:
                rows = rows.where(f"lv_from_batch > {since}")
            return rows.select("lv_key", *columns)
        rows = self.dataset.history(batch)
        if since is not None:
            rows = rows.where(f"lv_from_batch > {since} OR lv_to_batch > {since}")
        return rows.select("lv_key", "lv_from_batch", *columns, F.col("lv_valid_from").alias("valid_from"), F.col("lv_valid_to").alias("valid_to"))

    def gone(self, batch):
        """Keys that were live at the batch that is there and are not at this one."""
        since = self.applied[self.name][0]
        closed = self.dataset.live(since).where(f"lv_to_batch <= {batch}").select("lv_key")
        return closed.join(self.dataset.live(batch).select("lv_key"), "lv_key", "left_anti")

    def create(self, name, columns):
        listed = ", ".join(f"{self.target.name(column)} {kind}" for column, kind in columns)
        self.target.run(f"DROP TABLE IF EXISTS {self.target.table(name)}")
        self.target.run(f"CREATE TABLE {self.target.table(name)} ({listed})")

    def load(self, batch):
        """Brings rows near, into a table that nobody reads."""
        with self.target.transaction():
            self.create(self.beside if self.is_new else self.staging, self.columns)
        self.target.load(self.rows(batch), self.beside if self.is_new else self.staging)
        if not self.is_new and self.reading == "live":
            with self.target.transaction():
                self.create(f"{self.staging}g", self.columns[:1])
            self.target.load(self.gone(batch), f"{self.staging}g")

    def apply(self, batch):
        """Part of the transaction: what was brought near takes its place."""
        target, table = self.target, self.target.table(self.name)
        if self.is_new:
            target.run(f"DROP TABLE IF EXISTS {table}")
            target.run(f"ALTER TABLE {target.table(self.beside)} RENAME TO {target.name(self.name)}")
        else:
            staged = target.table(self.staging)
            keys = ["lv_key"] + (["lv_from_batch"] if self.reading == "history" else [])
            match = " AND ".join(f"{table}.{target.name(key)} = s.{target.name(key)}" for key in keys)
            target.run(f"DELETE FROM {table} USING {staged} AS s WHERE {match}")
            if self.reading == "live":
                target.run(f"DELETE FROM {table} USING {target.table(self.staging + 'g')} AS s WHERE {match}")
            listed = ", ".join(target.name(column) for column, _ in self.columns)
            target.run(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {staged}")
        self.delivery.remember(self.applied, self.name, batch, self.shape)

    def forget(self):
        """Part of the transaction: versions that no view shows."""
        if self.reading == "history" and self.export["history_retention"]:
            length = self.export["history_retention"]
            count = length.rstrip("abcdefghijklmnopqrstuvwxyz")
            unit = PERIODS[length[len(count):]]
            ended = self.target.name("valid_to")
            self.target.run(f"DELETE FROM {self.target.table(self.name)} WHERE {ended} < current_timestamp - interval '{count} {unit}'")

    def clear(self):
        for name in (self.staging, f"{self.staging}g", self.beside):
            self.target.run(f"DROP TABLE IF EXISTS {self.target.table(name)}")


def arguments(words):
    """`--name value` pairs; Glue adds some of its own."""
    found = {}
    for index, word in enumerate(words):
        if word.startswith("--") and index + 1 < len(words):
            found[word[2:]] = words[index + 1]
    return found


def moment_of(text):
    """Milliseconds of a time such as 2026-11-26T12:00:00.000Z."""
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def main():
    given = arguments(sys.argv[1:])
    spark = SparkSession.builder.getOrCreate()
    job = Job(spark, given["base"], given["database"])
    match given["action"]:
        case "merge":
            job.merge(given["subject"], moment_of(given["since"]) if "since" in given else None, given.get("loaded") == "yes")
        case "export":
            job.export(given["subject"], given["container"])
        case "transform":
            job.transform(given["subject"])
        case "maintain":
            job.maintain()
        case other:
            raise SystemExit(f"levada: there is no action {other}")


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        raise SystemExit(f"levada: {refused}") from None
