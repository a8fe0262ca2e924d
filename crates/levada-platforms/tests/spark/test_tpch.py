"""The same changes through the embedded platform and through the merge: live and history agree row by row.

TPC-H's eight tables at scale 0.01, loaded, then changed twice with updates, deletes and rows that come back.
LEVADA names the program.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from pyspark.sql import functions as F

import bench
from bench import Platform, column

TABLES = {
    "customer": ["c_custkey:int64*", "c_name:varchar(25)", "c_address:varchar(40)", "c_nationkey:int64", "c_phone:char(15)",
                 "c_acctbal:decimal(15,2)", "c_mktsegment:char(10)", "c_comment:varchar(117)"],
    "lineitem": ["l_orderkey:int64*", "l_partkey:int64", "l_suppkey:int64", "l_linenumber:int32*", "l_quantity:decimal(15,2)",
                 "l_extendedprice:decimal(15,2)", "l_discount:decimal(15,2)", "l_tax:decimal(15,2)", "l_returnflag:char(1)",
                 "l_linestatus:char(1)", "l_shipdate:date", "l_commitdate:date", "l_receiptdate:date", "l_shipinstruct:char(25)",
                 "l_shipmode:char(10)", "l_comment:varchar(44)"],
    "nation": ["n_nationkey:int64*", "n_name:char(25)", "n_regionkey:int64", "n_comment:varchar(152)"],
    "orders": ["o_orderkey:int64*", "o_custkey:int64", "o_orderstatus:char(1)", "o_totalprice:decimal(15,2)", "o_orderdate:date",
               "o_orderpriority:char(15)", "o_clerk:char(15)", "o_shippriority:int32", "o_comment:varchar(79)"],
    "part": ["p_partkey:int64*", "p_name:varchar(55)", "p_mfgr:char(25)", "p_brand:char(10)", "p_type:varchar(25)", "p_size:int32",
             "p_container:char(10)", "p_retailprice:decimal(15,2)", "p_comment:varchar(23)"],
    "partsupp": ["ps_partkey:int64*", "ps_suppkey:int64*", "ps_availqty:int32", "ps_supplycost:decimal(15,2)", "ps_comment:varchar(199)"],
    "region": ["r_regionkey:int64*", "r_name:char(25)", "r_comment:varchar(152)"],
    "supplier": ["s_suppkey:int64*", "s_name:char(25)", "s_address:varchar(40)", "s_nationkey:int64", "s_phone:char(15)",
                 "s_acctbal:decimal(15,2)", "s_comment:varchar(101)"],
}
MODEL = {
    "ecosystem.yaml": """\
ecosystem: tpch
vendors: [{ vendor: home, cloud: private, locations: { here: {} } }]
platforms: [{ platform: P, kind: embedded, style: forensic, locations: ["home:here"] }]
""",
    "z/zone.yaml": "zone: Z\n",
    "z/t/team.yaml": """\
team: T
containers:
  - { container: landing, kind: files, location: "home:here", path: landing }
  - { container: delivered, kind: files, location: "home:here", path: delivered }
""",
}


def columns(table):
    parts = [spec.rstrip("*").split(":") + [spec.endswith("*")] for spec in TABLES[table]]
    return [column(name, kind, key=key) for name, kind, key in parts]


def datastore():
    lines = ["datastore: S", "container: landing", "ingest:", "  kind: files", "  pattern: \"{dataset}/*.parquet\"", "  format: parquet", "  each-file: replaces",
             "  trigger: { cron: \"0 0 1 1 *\" }", "datasets:"]
    for table in TABLES:
        lines += [f"  {table}:", "    classification: pub", "    columns:"]
        for it in columns(table):
            lines.append(f"      {it['name']}: {{ type: \"{it['type']}\"{', key: true' if it.get('key') else ''} }}")
    lines += ["---", "workspace: W", "container: delivered", "groups:", "  G:", "    requires: { latency: hours, milestoning: both, retention: 7y }",
              f"    datasets: [{', '.join(f'S.{table}' for table in TABLES)}]"]
    return "\n".join(lines) + "\n"


class Embedded:
    """The embedded platform, on the same rows in files."""

    def __init__(self, folder):
        self.folder, self.program = folder, os.environ["LEVADA"]
        for path, text in {**MODEL, "z/t/data.yaml": datastore()}.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self.landing = folder / "z/t/landing"
        self.delivered = folder / "z/t/delivered/levada/S"

    def levada(self, *arguments):
        done = subprocess.run([self.program, *arguments, self.folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"levada {' '.join(arguments)}: {done.stdout}{done.stderr}")

    def take(self, states, number):
        """One batch of these rows."""
        for table, rows in states.items():
            folder = self.landing / table
            folder.mkdir(parents=True, exist_ok=True)
            write_one(rows, folder / f"{number}.parquet")
        if number == 1:
            self.levada("apply", "--yes")
        self.levada("run", "--until-idle")

    def reading(self, table, reading, batch):
        return bench.spark().read.parquet(str(self.delivered / table / reading / f"batch={batch}"))


def write_one(rows, file):
    with tempfile.TemporaryDirectory() as part:
        rows.coalesce(1).write.mode("overwrite").parquet(part)
        [made] = pathlib.Path(part).glob("part-*.parquet")
        shutil.move(made, file)


def changed(rows, table, number):
    """A later state: some rows differ, some are gone, some of those that went before are back."""
    keys = [it["name"] for it in columns(table) if it.get("key")]
    comment = f"{table[0] if table != 'partsupp' else 'ps'}_comment"
    place = F.abs(F.hash(*keys)) % 100
    gone = (place == 3 * number) | (place == 7)
    back = (place == 7) & (F.lit(number) == 2)
    differs = (place == 11) | (place == 20 + number)
    text = F.when(differs, F.concat(F.lit(f"changed {number} "), F.substring(comment, 1, 10))).otherwise(F.col(comment))
    return rows.where(~gone | back).withColumn(comment, text)


def delta(before, after, table, number):
    """The same as a change log: operation, order, columns."""
    keys = [it["name"] for it in columns(table) if it.get("key")]
    names = [it["name"] for it in columns(table)]
    old = before.select(*keys, F.md5(F.to_json(F.struct(*names))).alias("was"))
    new = after.withColumn("now", F.md5(F.to_json(F.struct(*names))))
    joined = new.join(old, keys, "full_outer").where(~F.col("was").eqNullSafe(F.col("now")))
    operation = F.when(F.col("now").isNull(), "D").when(F.col("was").isNull(), "I").otherwise("U")
    return joined.select(operation.alias("Op"), F.lit(f"{number:02}").alias("lv_seq"), *names)


class Agreement(unittest.TestCase):
    def test_both_platforms_keep_the_same_versions(self):
        spark = bench.spark()
        platform = Platform(self, {table: columns(table) for table in TABLES})
        embedded = Embedded(platform.folder / "model")
        generated = platform.folder / "generated"
        generator = pathlib.Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run([generator, "parquet", "-s", "0.01", f"--output-dir={generated}"], check=True, capture_output=True)
        states = [{table: spark.read.parquet(str(generated / f"{table}.parquet")) for table in TABLES}]
        states += [{table: changed(states[0][table], table, number) for table in TABLES} for number in (1, 2)]
        compared = 0
        for number, state in enumerate(states, 1):
            embedded.take(state, number)
            for table in TABLES:
                staging = platform.folder / "staging/S" / table
                staging.mkdir(parents=True, exist_ok=True)
                if number == 1:
                    write_one(state[table].withColumn("Op", F.lit("I")), staging / "LOAD00000001.parquet")
                else:
                    write_one(delta(states[number - 2][table], state[table], table, number), staging / f"2026-{number}.parquet")
            platform.merge()
            self.assertEqual(platform.batch(), number)
            compared += sum(self.same_live(platform, embedded, table, number) for table in TABLES)
        compared += sum(self.same_history(platform, embedded, table) for table in TABLES)
        self.assertGreater(compared, 250_000)
        print(f"{compared} rows agree", file=sys.stderr)

    def same_live(self, platform, embedded, table, batch):
        names = [it["name"] for it in columns(table)]
        here = platform.store().dataset(table).live(batch).select(*names)
        return self.same(here, embedded.reading(table, "live", batch).select(*names), f"{table} at {batch}")

    def same_history(self, platform, embedded, table):
        """Times differ, their order does not: they are compared as the numbers of their batches."""
        names = [it["name"] for it in columns(table)]
        there = embedded.reading(table, "history", 3)
        moments = sorted(
            row[0] for row in there.select(F.explode(F.array("valid_from", "valid_to")).alias("t")).where("t IS NOT NULL").distinct().collect()
        )
        # A batch in which this table did not change has no moment here.
        store = platform.store()
        changing = sorted(row[0] for row in platform.spark.table(store.dataset(table).table).select("lv_from_batch").union(
            platform.spark.table(store.dataset(table).table).select("lv_to_batch").where("lv_to_batch IS NOT NULL")).distinct().collect())
        self.assertEqual(len(moments), len(changing), table)
        numbers = dict(zip(moments, changing))
        number = F.create_map(*[F.lit(it) for pair in numbers.items() for it in pair])
        there = there.select(*names, number[F.col("valid_from")].alias("f"), F.when(F.col("valid_to").isNotNull(), number[F.col("valid_to")]).alias("t"))
        here = store.dataset(table).history(3).select(*names, F.col("lv_from_batch").alias("f"), F.col("lv_to_batch").alias("t"))
        return self.same(here, there, f"the history of {table}")

    def same(self, here, there, what):
        only_here, only_there = here.exceptAll(there), there.exceptAll(here)
        self.assertEqual((only_here.take(2), only_there.take(2)), ([], []), what)
        return here.count()


if __name__ == "__main__":
    unittest.main()
