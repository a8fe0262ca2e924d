"""The merge on real Spark and real Iceberg: what is staged becomes milestones, once."""

import threading
import time
import unittest
from decimal import Decimal

import bench
from bench import PEOPLE, Platform, column, levada_job


def money(text):
    return Decimal(text)


ANA, BEN, EVA = (1, "Ana", money("1.00")), (2, "Ben", money("2.50")), (3, "Eva", None)


class Merging(unittest.TestCase):
    def test_a_load_and_changes_become_batches_with_every_version(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA, BEN])
        platform.merge()
        self.assertEqual(platform.live("people"), [ANA, BEN])
        platform.stage("people", [("U", "01", 2, "Benno", money("2.50")), ("I", "02", *EVA), ("D", "03", 1, None, None)])
        platform.merge()
        benno = (2, "Benno", money("2.50"))
        self.assertEqual(platform.batch(), 2)
        self.assertEqual(platform.live("people"), [benno, EVA])
        self.assertEqual(platform.live("people", 1), [ANA, BEN])
        self.assertEqual(
            platform.history("people"), [(*ANA, 1, 2), (*BEN, 1, 2), (*benno, 2, None), (*EVA, 2, None)]
        )

    def test_nothing_staged_makes_no_batch(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.merge()
        self.assertEqual(platform.batch(), 0)
        platform.load("people", [ANA])
        platform.merge()
        snapshots = platform.snapshots("people")
        platform.merge()
        self.assertEqual((platform.batch(), platform.snapshots("people")), (1, snapshots))

    def test_of_many_changes_of_a_row_in_one_batch_the_last_counts(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        changes = [("U", f"{n:02}", 1, f"Ana{n}", None) for n in range(1, 9)] + [("I", "09", *BEN), ("D", "10", 2, None, None)]
        platform.stage("people", changes[:5])
        platform.stage("people", changes[5:])
        platform.merge()
        self.assertEqual(platform.live("people"), [(1, "Ana8", None)])

    def test_a_row_that_comes_back_has_two_lives(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        for change in [("D", "01", 1, None, None), ("I", "02", *ANA)]:
            platform.stage("people", [change])
            platform.merge()
        self.assertEqual(platform.history("people"), [(*ANA, 1, 2), (*ANA, 3, None)])
        self.assertEqual(platform.live("people", 2), [])

    def test_a_repeated_file_changes_nothing(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        changes = [("U", "01", 1, "Anna", None), ("I", "02", *BEN)]
        platform.stage("people", changes)
        platform.merge()
        before = platform.history("people")
        platform.stage("people", changes, name="20261126-999999999")
        platform.merge()
        self.assertEqual(platform.history("people"), before)

    def test_a_file_that_arrives_late_does_not_turn_time_back(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA, BEN])
        platform.stage("people", [("U", "05", 1, "newest", None), ("D", "06", 2, None, None), ("D", "07", 4, None, None)])
        platform.merge()
        late = [("U", "03", 1, "older", None), ("U", "04", 2, "older", None), ("I", "01", 4, "older", None), ("I", "02", *EVA)]
        platform.stage("people", late)
        platform.merge()
        self.assertEqual(platform.live("people"), [(1, "newest", None), EVA])

    def test_a_change_without_a_difference_is_no_version_and_still_holds_back_what_is_older(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        platform.stage("people", [("U", "05", *ANA)])
        platform.merge()
        platform.stage("people", [("U", "04", 1, "older", None)])
        platform.merge()
        self.assertEqual(platform.history("people"), [(*ANA, 1, None)])

    def test_a_changed_key_ends_the_old_row(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        schema = bench.T.StructType(
            [bench.T.StructField(name, kind) for name, kind in [
                ("Op", bench.T.StringType()), ("lv_seq", bench.T.StringType()), ("lv_before_id", bench.T.LongType()),
                ("id", bench.T.LongType()), ("name", bench.T.StringType()), ("paid", bench.T.DecimalType(10, 2)),
            ]]
        )
        rows = [("U", "01", 1, 7, "Ana", money("1.00")), ("U", "02", 7, 7, "Anna", money("1.00"))]
        platform.write("people", rows, schema, "20261126-1")
        platform.merge()
        self.assertEqual(platform.live("people"), [(7, "Anna", money("1.00"))])

    def test_snapshots_are_diffed(self):
        platform = Platform(self, {"people": PEOPLE}, ingest="snapshot")
        since = bench.now_ms()
        platform.load("people", [ANA, BEN])
        platform.merge(since)
        platform.forget_loads("people")
        since = bench.now_ms()
        platform.load("people", [ANA, (2, "Benno", None)])
        platform.load("people", [EVA])
        platform.merge(since)
        self.assertEqual(platform.history("people"), [(*ANA, 1, None), (*BEN, 1, 2), (2, "Benno", None, 2, None), (*EVA, 2, None)])
        # An empty table writes no file.
        platform.forget_loads("people")
        platform.merge(bench.now_ms())
        self.assertEqual(platform.live("people"), [])

    def test_equal_rows_without_a_key_keep_their_count(self):
        platform = Platform(self, {"log": [column("line", "text"), column("n", "int32")]}, ingest="snapshot")
        platform.load("log", [("a", 1)] * 3 + [("b", None)] * 2)
        platform.merge(0)
        platform.forget_loads("log")
        platform.load("log", [("a", 1)] * 2 + [("b", None)] * 3)
        platform.merge(0)
        self.assertEqual(platform.live("log"), [("a", 1)] * 2 + [("b", None)] * 3)
        self.assertEqual(len(platform.history("log")), 6)

    def test_a_reload_is_diffed_and_changes_go_on_top(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA, BEN])
        platform.merge()
        platform.stage("people", [("U", "00", 1, "before the load", None)])
        # The new load has fewer files: what is left of the old one is no part of it.
        platform.load("people", [ANA, EVA])
        platform.stage("people", [("U", "01", 3, "Eva2", None)])
        platform.merge()
        self.assertEqual(platform.history("people"), [(*ANA, 1, None), (*BEN, 1, 2), (3, "Eva2", None, 2, None)])

    def test_changes_wait_for_the_load_of_their_table(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.stage("people", [("U", "01", 1, "Anna", None)])
        platform.merge()
        self.assertEqual(platform.batch(), 0)
        platform.load("people", [ANA])
        platform.merge()
        self.assertEqual(platform.live("people"), [(1, "Anna", None)])

    def test_datasets_of_a_stream_share_a_batch_and_single_ones_have_their_own(self):
        datasets = {"a": PEOPLE, "b": PEOPLE}
        together = Platform(self, datasets)
        together.load("a", [ANA])
        together.load("b", [BEN])
        together.merge()
        together.stage("b", [("D", "01", 2, None, None)])
        together.merge()
        self.assertEqual((together.batch(), together.live("a"), together.live("b")), (2, [ANA], []))

    def test_single_datasets_have_batches_of_their_own(self):
        streams = [{"stream": "S/a", "datasets": ["a"]}, {"stream": "S/b", "datasets": ["b"]}]
        platform = Platform(self, {"a": PEOPLE, "b": PEOPLE}, streams=streams)
        platform.load("a", [ANA])
        platform.load("b", [BEN])
        platform.merge()
        platform.stage("b", [("D", "01", 2, None, None)])
        platform.merge()
        self.assertEqual((platform.batch("S/a"), platform.batch("S/b")), (1, 2))

    def test_a_new_column_and_a_wider_type_are_taken_and_a_narrower_one_is_refused(self):
        platform = Platform(self, {"people": [column("id", "int32", key=True), column("n", "int32")]})
        platform.load("people", [(1, 1)])
        platform.merge()
        described = platform.document["datasets"]["people"]
        described["columns"] = [column("id", "int32", key=True), column("n", "int64"), column("more", "text")]
        platform.describe()
        platform.stage("people", [("U", "01", 1, 2**40, "x")])
        platform.merge()
        self.assertEqual(platform.live("people"), [(1, 2**40, "x")])
        self.assertEqual(platform.history("people")[0][:3], (1, 1, None))
        described["columns"][1] = column("n", "int16")
        platform.describe()
        with self.assertRaisesRegex(levada_job.Refused, "n of S.people is bigint and can't become int"):
            platform.merge()

    def test_a_column_that_is_not_staged_and_a_value_that_does_not_fit_stop_the_stream(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        described = platform.document["datasets"]["people"]
        platform.stage("people", [("U", "01", 1, "Anna", None)])
        described["columns"] = [*PEOPLE, column("gone", "text")]
        platform.describe()
        with self.assertRaisesRegex(levada_job.Refused, "no column gone"):
            platform.merge()
        described["columns"] = [PEOPLE[0], column("name", "int32"), PEOPLE[2]]
        described["table"] = "s__other"
        platform.describe()
        with self.assertRaisesRegex(levada_job.Refused, "name of S.people.*Anna"):
            platform.merge()
        self.assertEqual(platform.batch(), 1)

    def test_names_and_values_of_all_kinds_survive(self):
        columns = [
            column("the `key`", "text", key=True, source="THE KEY"), column("a.b", "boolean"), column("f", "float64"),
            column("d", "date"), column("t", "timestamp"), column("tz", "timestamptz"), column("raw", "binary"), column("c", "char(5)"),
        ]
        datetime = bench.datetime
        row = (
            "it's\\ \"x\" 漢", True, float("-inf"), datetime.date(1, 1, 1), datetime.datetime(2026, 1, 1, 1, 2, 3, 4),
            datetime.datetime(2026, 1, 1, 1, 2, 3, 999999), bytearray(b"\0\xff"), "ab",
        )
        platform = Platform(self, {"odd": columns})
        platform.load("odd", [row, ("nothing", *[None] * 7)])
        platform.merge()
        self.assertIn(row, platform.live("odd"))
        # Blanks behind a char and the sign of zero are no change.
        platform.forget_loads("odd")
        platform.load("odd", [(*row[:7], "ab   "), ("nothing", *[None] * 7)])
        platform.merge()
        self.assertEqual(len(platform.history("odd")), 2)


class Killed(Exception):
    """Where a run ends."""


class Ending(unittest.TestCase):
    """Runs that end in the middle, and runs at once."""

    def killed_after(self, platform, commits):
        """Runs a merge that dies right after so many commits to the catalog."""
        left, commit = [commits], platform.job.commit

        def counted(statement, *lock):
            if "locks" in statement:
                return commit(statement)
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            commit(statement, *lock)

        platform.job.commit = counted
        try:
            with self.assertRaises(Killed):
                platform.merge()
        finally:
            platform.job.commit = commit

    def test_a_run_killed_after_any_commit_is_taken_back_and_the_next_ends_in_the_same_state(self):
        for commits in range(3):
            with self.subTest(commits=commits):
                platform = Platform(self, {"a": PEOPLE, "b": PEOPLE}) if commits == 0 else platform
                if commits == 0:
                    platform.load("a", [ANA, BEN])
                    platform.load("b", [BEN])
                    platform.merge()
                before = (platform.history("a"), platform.history("b"))
                order = f"{commits:02}"
                platform.stage("a", [("U", order, 1, f"Ana{commits}", None), ("D", order, 2, None, None), ("I", order + "x", 2, "Ben", money("2.50"))])
                platform.stage("b", [("U", order, 2, f"Ben{commits}", None)])
                self.killed_after(platform, commits)
                # Readers see nothing of it.
                self.assertEqual((platform.history("a"), platform.history("b")), before)
                platform.merge()
                self.assertEqual(platform.batch(), commits + 2)
                self.assertEqual(platform.live("a"), [(1, f"Ana{commits}", None), BEN])
                self.assertEqual(platform.live("b"), [(2, f"Ben{commits}", None)])

    def test_two_runs_at_once_merge_each_file_once(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        platform.stage("people", [("U", "01", 1, "Anna", None)])
        failures = []

        def run():
            try:
                levada_job.Job(platform.spark.newSession(), f"file://{platform.folder}", platform.job.database).merge("S", None)
            except Exception as failure:
                failures.append(str(failure))

        runs = [threading.Thread(target=run) for _ in range(2)]
        for it in runs:
            it.start()
        for it in runs:
            it.join()
        self.assertEqual(failures, [])
        self.assertEqual(platform.batch(), 2)
        self.assertEqual(platform.history("people"), [(*ANA, 1, 2), (1, "Anna", None, 2, None)])

    def test_many_read_at_once_and_one_compacts_alone(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        store = platform.store()
        lock = lambda alone: levada_job.Lock(store, "files", alone, wait_seconds=0)
        with lock(False), lock(False):
            with self.assertRaises(levada_job.Refused), lock(True):
                pass
        with lock(True):
            for alone in (True, False):
                with self.assertRaises(levada_job.Refused), lock(alone):
                    pass
        with lock(True):
            pass

    def hurried(self, **seconds):
        """Locks that are renewed sooner than usual."""
        for name, value in seconds.items():
            self.addCleanup(setattr, levada_job, name, getattr(levada_job, name))
            setattr(levada_job, name, value)

    def test_a_lock_whose_renewal_failed_once_is_kept(self):
        platform = Platform(self, {"people": PEOPLE})
        self.hurried(LOCK_SECONDS=60, LOCK_RENEWAL_SECONDS=1, LOCK_POLL_SECONDS=1)
        commit, failed = platform.job.commit, []

        def fails_once(statement, *lock):
            if statement.startswith("UPDATE") and not failed:
                failed.append(statement)
                raise OSError("Rate exceeded")
            commit(statement, *lock)

        platform.job.commit = fails_once
        with levada_job.Lock(platform.store(), "merge", alone=True) as lock:
            first = lock.until
            deadline = time.monotonic() + 60
            while (not failed or lock.until == first) and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual((len(failed), lock.is_lost), (1, False))
            self.assertGreater(lock.until, first)
            lock.must_be_held()

    def test_a_lock_that_can_not_be_renewed_in_time_stops_its_run_before_the_next_commit(self):
        platform = Platform(self, {"people": PEOPLE})
        platform.load("people", [ANA])
        platform.merge()
        store = platform.store()
        self.hurried(LOCK_SECONDS=8, LOCK_RENEWAL_SECONDS=1, LOCK_POLL_SECONDS=1)
        commit = platform.job.commit

        def fails(statement, *lock):
            if statement.startswith("UPDATE"):
                raise OSError("Rate exceeded")
            commit(statement, *lock)

        platform.job.commit = fails
        table = store.dataset("people").table
        with levada_job.Lock(store, "merge", alone=True) as lock:
            lock.renewing.join(60)
            self.assertTrue(lock.is_lost)
            with self.assertRaisesRegex(levada_job.Refused, "expired under this run"):
                commit(f"DELETE FROM {table}", lock)
        self.assertEqual(platform.live("people"), [ANA])

    def test_a_lock_that_expired_is_not_renewed(self):
        platform = Platform(self, {"people": PEOPLE})
        store = platform.store()
        self.hurried(LOCK_SECONDS=-1)
        dead = levada_job.Lock(store, "merge", alone=True)
        dead.take()
        levada_job.LOCK_SECONDS = 600
        with self.assertRaises(levada_job.Refused):
            dead.renew_once()
        self.assertFalse(dead.is_held())

    def test_every_commit_of_a_merge_takes_the_lock(self):
        platform = Platform(self, {"people": PEOPLE, "more": PEOPLE})
        platform.load("people", [ANA])
        platform.load("more", [BEN])
        commit, unfenced = platform.job.commit, []

        def watched(statement, lock=None):
            if lock is None and "locks" not in statement:
                unfenced.append(statement)
            commit(statement, lock)

        platform.job.commit = watched
        platform.merge()
        self.assertEqual((platform.batch(), unfenced), (1, []))

    def test_a_lock_of_a_killed_run_expires(self):
        platform = Platform(self, {"people": PEOPLE})
        store = platform.store()
        seconds, levada_job.LOCK_SECONDS = levada_job.LOCK_SECONDS, -1
        self.addCleanup(setattr, levada_job, "LOCK_SECONDS", seconds)
        dead = levada_job.Lock(store, "merge", alone=True)
        dead.take()
        levada_job.LOCK_SECONDS = seconds
        with levada_job.Lock(store, "merge", alone=True, wait_seconds=0) as lock:
            lock.must_be_held()
            with self.assertRaises(levada_job.Refused):
                dead.must_be_held()


if __name__ == "__main__":
    unittest.main()
