"""Transformers on real Spark: what their inputs are at one vector becomes one batch of their output."""

import json
import unittest

import bench
from bench import PEOPLE, Platform, column, levada_job, owed
from test_merge import ANA, BEN, EVA

# Adds one to what it has made so far, and whoever is new.
ONE_MORE = (
    "SELECT name, n + 1 AS n FROM O.counts"
    " UNION ALL SELECT DISTINCT name, 0L FROM people WHERE name NOT IN (SELECT name FROM counts)"
)
COUNTS = [column("name", "text", key=True), column("n", "int64")]


class Transforming(unittest.TestCase):
    def platform(self, sql, is_self=False):
        platform = Platform(self, {"people": PEOPLE})
        output = {
            **platform.document, "datastore": "O", "batches": "o__batches", "locks": "o__locks", "ingest": "transformer",
            "streams": [{"stream": "O", "datasets": ["counts"]}],
            "datasets": {"counts": {"table": "o__counts", "columns": COUNTS, "owed": [owed("30d")]}},
        }
        (platform.folder / "control/stores/O.json").write_text(json.dumps(output), encoding="utf-8")
        inputs = [{"datastore": "S", "dataset": "people", "stream": "S", "self": False}]
        if is_self:
            inputs.append({"datastore": "O", "dataset": "counts", "stream": "O", "self": True})
        document = {
            "version": 1, "workspace": "W", "output": "O", "inputs": inputs, "queries": [{"dataset": None, "sql": sql}],
            "outputs": [{"dataset": "counts", "columns": COUNTS, "consumed": True}],
        }
        folder = platform.folder / "control/transformers"
        folder.mkdir()
        (folder / "W.json").write_text(json.dumps(document), encoding="utf-8")
        return platform

    def stage_first_addition(self, platform):
        """The output appends; its first run is staged."""
        described = platform.folder / "control/stores/O.json"
        described.write_text(json.dumps({**json.loads(described.read_text(encoding="utf-8")), "adds": True}), encoding="utf-8")
        described.with_name(f".{described.name}.crc").unlink(missing_ok=True)
        platform.load("people", [ANA])
        platform.merge()
        platform.job.transform("W")

    def run_once(self, platform):
        platform.job.transform("W")
        platform.job.merge("O", None)

    def counts(self, platform):
        store = levada_job.Store(platform.job, "O")
        last = store.last_batch("O")
        rows = store.dataset("counts").live(last).select("name", "n").collect() if last else []
        return last, sorted(tuple(row) for row in rows)

    def test_each_vector_is_one_batch_and_none_is_committed_twice(self):
        platform = self.platform("SELECT p.name, COUNT(*) AS n FROM S.people AS p GROUP BY p.name;\n")
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (0, []))
        platform.load("people", [ANA, BEN, (4, "Ana", None)])
        platform.merge()
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (1, [("Ana", 2), ("Ben", 1)]))
        self.run_once(platform)
        platform.job.merge("O", None)
        self.assertEqual(self.counts(platform)[0], 1)
        platform.stage("people", [("D", "01", 2, None, None), ("I", "02", *EVA)])
        platform.merge()
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (2, [("Ana", 2), ("Eva", 1)]))

    def test_an_input_is_also_called_by_its_dataset_alone_and_the_own_output_is_read_at_its_last_batch(self):
        platform = self.platform(ONE_MORE, is_self=True)
        platform.load("people", [ANA])
        platform.merge()
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (1, [("Ana", 0)]))
        # Its own new batch fires nothing.
        self.run_once(platform)
        platform.stage("people", [("I", "01", *BEN)])
        platform.merge()
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (2, [("Ana", 1), ("Ben", 0)]))

    def test_what_was_read_before_another_run_added_is_not_added(self):
        platform = self.platform(ONE_MORE, is_self=True)
        self.stage_first_addition(platform)
        stale = platform.folder / "staging/O/run.json"
        run = json.loads(stale.read_text(encoding="utf-8"))
        platform.job.merge("O", None)
        self.assertEqual(self.counts(platform), (1, [("Ana", 0)]))
        # An execution that read the same and was slower names its run only now.
        stale.with_name(".run.json.crc").unlink(missing_ok=True)
        stale.write_text(json.dumps({**run, "vector": {"S": 2}}), encoding="utf-8")
        platform.job.merge("O", None)
        self.assertEqual(self.counts(platform), (1, [("Ana", 0)]))

    def test_what_another_run_adds_while_the_own_output_is_read_counts_as_newer(self):
        sql = "SELECT p.name, 1L AS n FROM people p WHERE p.name NOT IN (SELECT name FROM counts)"
        platform = self.platform(sql, is_self=True)
        self.stage_first_addition(platform)
        platform.stage("people", [("I", "01", *BEN)])
        platform.merge()
        stage = levada_job.Queries.stage

        def overtaken(queries, run):
            stage(queries, run)
            platform.job.merge("O", None)

        levada_job.Queries.stage = overtaken
        try:
            platform.job.transform("W")
        finally:
            levada_job.Queries.stage = stage
        platform.job.merge("O", None)
        self.assertEqual(self.counts(platform), (1, [("Ana", 1)]))
        self.run_once(platform)
        self.assertEqual(self.counts(platform), (2, [("Ana", 1), ("Ben", 1)]))

    def test_other_columns_than_the_model_says_are_refused_before_anything_is_staged(self):
        platform = self.platform("SELECT name, COUNT(*) AS many FROM S.people GROUP BY name")
        platform.load("people", [ANA])
        platform.merge()
        with self.assertRaisesRegex(levada_job.Refused, "gives the columns name, many; the model says name, n"):
            platform.job.transform("W")
        platform.job.merge("O", None)
        self.assertEqual(self.counts(platform), (0, []))


class Keeping(unittest.TestCase):
    """Maintenance: what is owed stays, and nothing else."""

    def aged(self, platform, days):
        """Makes all closed versions older."""
        table = platform.job.table("s__people")
        platform.spark.sql(f"UPDATE {table} SET lv_valid_to = lv_valid_to - INTERVAL {days} DAYS WHERE NOT lv_open")

    def platform(self, retention):
        platform = Platform(self, {"people": PEOPLE})
        platform.document["datasets"]["people"]["owed"] = [owed(retention)]
        platform.describe()
        platform.load("people", [ANA, BEN])
        platform.merge()
        platform.stage("people", [("U", "01", 1, "Anna", None), ("D", "02", 2, None, None)])
        platform.merge()
        return platform

    def closed(self, platform):
        return sum(row[-1] is not None for row in platform.history("people"))

    def test_versions_go_when_the_longest_retention_has_run_out(self):
        platform = self.platform("30d")
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 2)
        self.aged(platform, 31)
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 0)
        self.assertEqual(platform.live("people"), [(1, "Anna", None)])

    def ends(self, platform):
        return platform.spark.table(platform.job.table("s__people")).where("lv_deleted").count()

    def test_the_end_of_a_row_goes_with_its_retention_once_nothing_older_can_be_staged(self):
        platform = self.platform("7d")
        table = platform.job.table("s__people")
        for days, left in ((8, 1), (24, 0)):
            platform.spark.sql(
                f"UPDATE {table} SET lv_valid_from = lv_valid_from - INTERVAL {days} DAYS, lv_valid_to = lv_valid_to - INTERVAL {days} DAYS"
            )
            platform.job.maintain()
            self.assertEqual((self.closed(platform), self.ends(platform)), (0, left))
        self.assertEqual(platform.live("people"), [(1, "Anna", None)])

    def test_what_a_killed_run_closed_is_not_removed_and_can_be_taken_back(self):
        platform = self.platform("30d")
        platform.document["datasets"]["people"]["owed"] = []
        platform.describe()
        platform.spark.sql(f"DELETE FROM {platform.store().batches} WHERE batch = 2")
        gone = levada_job.Owed({"30d": "2020-01-01"}).text()
        platform.spark.sql(f"ALTER TABLE {platform.job.table('s__people')} SET TBLPROPERTIES ('levada.owed' = '{gone}')")
        platform.job.maintain()
        self.assertEqual(platform.live("people", 1), [ANA, BEN])
        platform.merge()
        self.assertEqual(platform.live("people"), [(1, "Anna", None)])

    def test_whoever_leaves_is_owed_until_the_retention_runs_out_and_a_hold_until_it_is_lifted(self):
        platform = self.platform("1y")
        self.aged(platform, 100)
        platform.document["datasets"]["people"]["owed"] = [owed("30d")]
        platform.describe()
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 2)
        days = levada_job.Owed({"1y": None}).now(["30d"], bench.datetime.date(2020, 1, 1))
        self.assertEqual(days.days, {"1y": "2020-01-01", "30d": None})
        platform.spark.sql(f"ALTER TABLE {platform.job.table('s__people')} SET TBLPROPERTIES ('levada.owed' = '{days.text()}')")
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 0)

    def test_a_hold_keeps_everything_and_ends_when_it_is_lifted(self):
        platform = self.platform(None)
        self.aged(platform, 10_000)
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 2)
        platform.document["datasets"]["people"]["owed"] = [owed("30d")]
        platform.describe()
        platform.job.maintain()
        self.assertEqual(self.closed(platform), 0)

    def test_the_tables_of_a_datastore_that_left_stay_until_nobody_is_owed_them(self):
        platform = self.platform("30d")
        (platform.folder / "control/stores/S.json").unlink()
        tables = lambda: sorted(row[1] for row in platform.spark.sql(f"SHOW TABLES IN levada.{platform.job.database}").collect())
        platform.job.maintain()
        self.assertEqual(tables(), ["s__batches", "s__locks", "s__people"])
        gone = levada_job.Owed({"30d": "2020-01-01"}).text()
        platform.spark.sql(f"ALTER TABLE {platform.job.table('s__people')} SET TBLPROPERTIES ('levada.owed' = '{gone}')")
        platform.job.maintain()
        self.assertEqual(tables(), [])

    def test_compaction_makes_fewer_files_and_changes_no_reading(self):
        platform = self.platform("30d")
        for n in range(6):
            platform.stage("people", [("I", f"1{n}", 10 + n, "more", None)])
            platform.merge()
        files = lambda: platform.spark.sql(f"SELECT count(*) FROM {platform.job.table('s__people')}.files").first()[0]
        before, count = (platform.history("people"), platform.live("people", 1)), files()
        platform.job.maintain()
        self.assertLess(files(), count)
        self.assertEqual((platform.history("people"), platform.live("people", 1)), before)

    def test_compaction_leaves_alone_what_somebody_reads(self):
        platform = self.platform("30d")
        snapshots = platform.snapshots("people")
        with levada_job.Lock(platform.store(), "files", alone=False):
            platform.job.maintain()
        self.assertEqual(platform.snapshots("people"), snapshots)


if __name__ == "__main__":
    unittest.main()
