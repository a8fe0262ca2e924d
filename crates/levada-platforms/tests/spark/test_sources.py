"""What sources and their loads do to a platform, and what must come of it."""

import datetime
import os
import unittest

from pyspark.sql import types as T

import bench
from bench import PEOPLE, Platform, column, kind_of, levada_job
from test_merge import ANA, BEN, EVA


def write(platform, dataset, rows, fields, name):
    """A file of columns that are other than the model's."""
    schema = T.StructType([T.StructField(field, T._parse_datatype_string(kind)) for field, kind in fields])
    platform.write(dataset, rows, schema, name)


CHANGE = [("Op", "string"), ("lv_seq", "string")]


class Values(unittest.TestCase):
    def takes_and_refuses(self, kind, good, bad):
        """A text is a value of a type, and another one is none."""
        platform = Platform(self, {"v": [column("id", "int32", key=True), column("v", kind)]})
        fields = [*CHANGE, ("id", "int"), ("v", "string")]
        write(platform, "v", [("I", "", 1, good)], fields, "LOAD1")
        platform.merge()
        self.assertEqual(len(platform.live("v")), 1)
        write(platform, "v", [("I", "01", 2, bad)], fields, "2026-1")
        with self.assertRaisesRegex(levada_job.Refused, "column v of S.v"):
            platform.merge()

    def test_times_that_differ_by_a_microsecond_are_different_keys_and_different_rows(self):
        times = [column("at", "timestamp", key=True), column("seen", "timestamptz")]
        platform = Platform(self, {"ticks": times})
        first, second = (datetime.datetime(2026, 1, 1, 12, 0, 0, micro) for micro in (1234, 1235))
        utc = lambda at: at.replace(tzinfo=datetime.timezone.utc)
        platform.load("ticks", [(first, utc(first)), (second, utc(first))])
        platform.merge()
        self.assertEqual(len(platform.live("ticks")), 2)
        platform.stage("ticks", [("U", "01", second, utc(second))])
        platform.merge()
        self.assertEqual(platform.live("ticks")[1], (second, second))
        self.assertEqual(len(platform.history("ticks")), 3)

    def test_the_order_of_columns_and_of_key_columns_says_nothing_about_rows(self):
        columns = [column("a", "int32", key=True), column("b", "int32", key=True), column("c", "text")]
        platform = Platform(self, {"pairs": columns})
        platform.load("pairs", [(1, 2, "x")])
        platform.merge()
        described = platform.document["datasets"]["pairs"]
        described["columns"] = [columns[2], columns[1], columns[0]]
        platform.describe()
        platform.stage("pairs", [("U", "01", "x", 2, 1)])
        platform.merge()
        self.assertEqual(len(platform.history("pairs")), 1)
        platform.stage("pairs", [("U", "02", "y", 2, 1)])
        platform.merge()
        self.assertEqual(platform.live("pairs"), [("y", 2, 1)])

    def test_no_value_is_rounded_or_cut(self):
        for kind, good, bad in [
            ("decimal(10,2)", "1.50", "1.006"), ("date", "2026-01-02", "2026-01-02 03:04:05"), ("int8", "127", "128"),
            ("varchar(3)", "abc", "abcd"), ("char(2)", "ab ", "abc"),
        ]:
            with self.subTest(kind):
                self._testMethodName = f"no_value_of_{kind.split('(')[0]}_is_cut"
                self.takes_and_refuses(kind, good, bad)

    def test_a_column_that_grew_at_the_source_is_read_from_files_of_both_types(self):
        wide = [column("id", "int64", key=True), column("n", "decimal(20,4)")]
        platform = Platform(self, {"n": wide})
        money = bench.Decimal
        narrow = [*CHANGE, ("id", "int"), ("n", "decimal(10,4)")]
        write(platform, "n", [("I", "", 1, money("1.5")), ("I", "", 2, None)], narrow, "LOAD1")
        platform.merge()
        write(platform, "n", [("U", "01", 1, money("2.5"))], narrow, "2026-1")
        grown = [*CHANGE, ("id", "bigint"), ("n", "decimal(20,4)")]
        write(platform, "n", [("U", "02", 2, money("123456789012.5"))], grown, "2026-2")
        platform.merge()
        self.assertEqual(platform.live("n"), [(1, money("2.5000")), (2, money("123456789012.5000"))])

    def test_a_column_that_only_files_of_one_type_have_is_empty_in_the_others(self):
        columns = [column("id", "int64", key=True), column("n", "int64"), column("more", "text")]
        platform = Platform(self, {"n": columns})
        usual = [*CHANGE, ("id", "bigint")]
        write(platform, "n", [("I", "", 1, 1, None)], [*usual, ("n", "int"), ("more", "string")], "LOAD1")
        platform.merge()
        write(platform, "n", [("U", "01", 1, 3)], [*usual, ("n", "int")], "2026-1")
        write(platform, "n", [("I", "02", 2, 2**40, "x")], [*usual, ("n", "bigint"), ("more", "string")], "2026-2")
        platform.merge()
        self.assertEqual(platform.live("n"), [(1, 3, None), (2, 2**40, "x")])

    def test_no_text_of_a_moment_says_more_than_the_moment(self):
        for kind, good, bad in [
            ("timestamp", "2026-01-02 03:04:05.123456000", "2026-01-02 03:04:05.1234567"),
            ("timestamp", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05+02:00"),
            ("timestamptz", "2026-01-02 03:04:05.5+02:00", "2026-01-02 03:04:05.1234567+02:00"),
            ("timestamptz", "2026-01-02", "03:04:05"),
        ]:
            with self.subTest(f"{kind} {bad}"):
                self._testMethodName = f"no_text_{kind}_{sum(bad.encode())}"
                self.takes_and_refuses(kind, good, bad)


class Loads(unittest.TestCase):
    def test_a_file_that_stays_longer_than_it_should_is_still_known(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA, BEN])
        platform.merge()
        platform.stage("people", [("U", "01", 1, "Anna", None), ("D", "02", 2, None, None)])
        platform.merge()
        batches = platform.store().batches
        platform.spark.sql(f"UPDATE {batches} SET committed_at = committed_at - INTERVAL 400 DAYS")
        platform.merge()
        self.assertEqual((platform.batch(), platform.live("people")), (2, [(1, "Anna", None)]))

    def test_a_table_that_is_being_loaded_again_waits_with_its_changes(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA, BEN, EVA])
        platform.merge(bench.now_ms() + 60_000)
        since = bench.now_ms() - 60_000
        # The first of the load's files, while the run is under way.
        platform.load("people", [ANA])
        platform.stage("people", [("U", "01", 3, "Eva2", None)])
        platform.merge(since)
        self.assertEqual((platform.batch(), platform.live("people")), (1, [ANA, BEN, EVA]))
        platform.load("people", [BEN, EVA])
        platform.merge(bench.now_ms() + 60_000)
        self.assertEqual(platform.live("people"), [ANA, BEN, (3, "Eva2", None)])

    def test_a_table_without_rows_is_loaded_when_all_tables_are(self):
        platform = Platform(self, {"people": PEOPLE, "more": PEOPLE})
        platform.load("people", [ANA])
        platform.stage("more", [("I", "01", *EVA)])
        platform.merge()
        self.assertEqual(platform.live("more"), [])
        platform.merge(is_loaded=True)
        self.assertEqual((platform.live("people"), platform.live("more")), ([ANA], [EVA]))
        platform.stage("more", [("D", "02", *EVA)])
        platform.merge(is_loaded=True)
        self.assertEqual(platform.live("more"), [])

    def test_a_load_of_the_second_in_which_the_run_began_waits(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        [file] = (platform.folder / "staging/S/people").glob("*.parquet")
        # S3 tells no more than the second.
        os.utime(file, (1_790_000_000, 1_790_000_000))
        platform.merge(1_790_000_000_500)
        self.assertEqual(platform.batch(), 0)
        platform.merge(1_790_000_001_000)
        self.assertEqual(platform.live("people"), [ANA])


class Streams(unittest.TestCase):
    def test_datasets_that_change_their_stream_keep_every_version_and_go_on_counting(self):
        platform = Platform(self, {"a": PEOPLE, "b": PEOPLE})
        platform.load("a", [ANA])
        platform.load("b", [BEN])
        platform.merge()
        platform.stage("a", [("U", "01", 1, "Anna", None)])
        platform.merge()
        together, alone = platform.document["streams"], [{"stream": f"S/{it}", "datasets": [it]} for it in "ab"]
        platform.document["streams"] = alone
        platform.describe()
        platform.stage("a", [("U", "02", 1, "Anne", None)])
        platform.merge()
        self.assertEqual((platform.batch("S/a"), platform.batch("S/b")), (3, 2))
        platform.document["streams"] = together
        platform.describe()
        platform.stage("b", [("U", "03", 2, "Benno", None)])
        platform.merge()
        self.assertEqual(platform.batch(), 4)
        names = [(row[1], row[3], row[4]) for row in platform.history("a")]
        self.assertEqual(sorted(names), [("Ana", 1, 2), ("Anna", 2, 3), ("Anne", 3, None)])
        self.assertEqual(platform.live("b"), [(2, "Benno", None)])

    def test_what_a_killed_run_left_under_the_old_name_is_taken_back_under_the_new_one(self):
        alone = [{"stream": f"S/{it}", "datasets": [it]} for it in "ab"]
        platform = Platform(self, {"a": PEOPLE, "b": PEOPLE}, streams=alone)
        platform.load("a", [ANA])
        platform.load("b", [BEN])
        platform.merge()
        for number in range(2):
            platform.stage("a", [("U", f"0{number}", 1, f"Ana{number}", None)])
            platform.merge()
        # What a run leaves that is killed before its batch is visible.
        platform.stage("b", [("U", "05", 2, "half", None)])
        platform.merge()
        platform.spark.sql(f"DELETE FROM {platform.store().batches} WHERE stream = 'S/b' AND batch = 2")
        platform.forget_loads("b")
        platform.document["streams"] = [{"stream": "S", "datasets": ["a", "b"]}]
        platform.describe()
        platform.merge()
        self.assertEqual((platform.batch(), platform.live("b")), (3, [BEN]))
        self.assertEqual(platform.live("a"), [(1, "Ana1", None)])
        properties = platform.job.properties(platform.store().dataset("b").table)
        self.assertEqual(properties["levada.stream"], "S")

    def test_a_run_killed_after_the_change_of_name_is_taken_back_too(self):
        platform = Platform(self, {"a": PEOPLE, "b": PEOPLE}, streams=[{"stream": f"S/{it}", "datasets": [it]} for it in "ab"])
        platform.load("a", [ANA])
        platform.load("b", [BEN])
        platform.merge()
        for number in range(2):
            platform.stage("a", [("U", f"0{number}", 1, f"Ana{number}", None)])
            platform.merge()
        platform.document["streams"] = [{"stream": "S", "datasets": ["a", "b"]}]
        platform.describe()
        platform.merge()
        platform.stage("b", [("U", "05", 2, "Benno", None)])
        platform.merge()
        platform.spark.sql(f"DELETE FROM {platform.store().batches} WHERE stream = 'S' AND batch = 4")
        platform.merge()
        self.assertEqual((platform.batch(), platform.live("b")), (4, [(2, "Benno", None)]))

    def test_what_is_beyond_the_next_batch_is_no_trace_of_a_killed_run(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        for number in range(2):
            platform.stage("people", [("U", f"0{number}", 1, f"Ana{number}", None)])
            platform.merge()
        platform.spark.sql(f"DELETE FROM {platform.store().batches} WHERE batch > 1")
        with self.assertRaisesRegex(levada_job.Refused, "S.people has batch 3"):
            platform.merge()
        self.assertEqual(platform.spark.table(platform.store().dataset("people").table).count(), 3)

    def test_the_end_of_a_row_keeps_nothing_of_what_it_was(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        platform.stage("people", [("D", "05", *ANA)])
        platform.merge()
        ends = platform.spark.table(platform.store().dataset("people").table).where("lv_deleted").select("id", "name", "lv_row", "lv_seq").collect()
        self.assertEqual([tuple(row) for row in ends], [(None, None, None, "05")])
        # It still holds back what is older.
        platform.stage("people", [("U", "04", 1, "late", None)])
        platform.merge()
        self.assertEqual(platform.live("people"), [])


if __name__ == "__main__":
    unittest.main()
