"""Exports into a real PostgreSQL: the difference, in one transaction, and never twice."""

import unittest
import unittest.mock

import bench
from bench import PEOPLE, Platform, column, levada_job
from test_merge import ANA, BEN, EVA

cluster = None


def setUpModule():
    global cluster
    cluster = bench.Cluster()
    cluster.sql("CREATE ROLE analysts")
    cluster.sql("CREATE ROLE auditors")


def tearDownModule():
    cluster.stop()


def export(test, dataset, stream="S", readers=("analysts",), history=True):
    """One export, with tables and a schema of the test's own."""
    schema = test.id().rsplit(".", 1)[-1][:40]
    view = lambda name, reading, retention: {
        "schema": schema, "name": name, "reading": reading, "retention": retention,
        "readers": [{"is": "role", "name": reader} for reader in readers],
    }
    views = [view(f"s_{dataset}", "live", None)] + ([view(f"s_{dataset}_history", "history", "7d")] if history else [])
    return {
        "connection": cluster.connection(), "dataset": dataset, "stream": stream,
        "live": f"s_{dataset}_{schema}"[:60], "history": f"h_{dataset}_{schema}"[:60] if history else None,
        "history_retention": "7d" if history else None, "views": views,
    }


class Exporting(unittest.TestCase):
    def platform(self, **readers):
        self.schema = self.id().rsplit(".", 1)[-1][:40]
        platform = Platform(self, {"people": PEOPLE})
        platform.document["exports"] = [export(self, "people", **readers)]
        platform.describe()
        platform.load("people", [ANA, BEN])
        platform.merge()
        return platform

    def deliver_another_shape(self, platform):
        platform.document["datasets"]["people"]["columns"] = [*PEOPLE, column("more", "text")]
        platform.describe()
        platform.stage("people", [("I", "01", *EVA, "more")])
        platform.merge()
        platform.job.export("S", "C")

    def view(self, name="s_people", what="*", order=1):
        return cluster.sql(f'SELECT {what} FROM "{self.schema}"."{name}" ORDER BY {order}')

    def test_a_consumer_gets_everything_once_and_then_the_difference(self):
        platform = self.platform()
        platform.job.export("S", "C")
        self.assertEqual(self.view(), [ANA, BEN])
        loaded = []
        load = levada_job.Postgres.load
        self.addCleanup(setattr, levada_job.Postgres, "load", load)
        levada_job.Postgres.load = lambda target, rows, name: (loaded.append(rows.count()), load(target, rows, name))
        platform.stage("people", [("D", "01", 1, None, None), ("U", "02", 2, "Benno", None), ("I", "03", *EVA)])
        platform.merge()
        platform.job.export("S", "C")
        self.assertEqual(self.view(), [(2, "Benno", None), EVA])
        # Two live rows, one that went, and four versions.
        self.assertEqual(sorted(loaded), [1, 2, 4])
        platform.job.export("S", "C")
        self.assertEqual(len(loaded), 3)
        history = self.view("s_people_history", "id, name, valid_to IS NULL", "1, 3")
        self.assertEqual(history, [(1, "Ana", False), (2, "Ben", False), (2, "Benno", True), (3, "Eva", True)])

    def test_several_batches_at_once_and_a_row_that_came_back(self):
        platform = self.platform()
        platform.job.export("S", "C")
        for change in [("D", "01", 1, None, None), ("I", "02", *ANA), ("U", "03", 2, "Benno", None)]:
            platform.stage("people", [change])
            platform.merge()
        platform.job.export("S", "C")
        self.assertEqual(self.view(), [ANA, (2, "Benno", None)])

    def test_whoever_leaves_the_readers_loses_the_grant_and_others_keep_theirs(self):
        platform = self.platform()
        platform.job.export("S", "C")
        cluster.sql(f'GRANT SELECT ON "{self.schema}".s_people TO auditors')
        may = lambda role: cluster.sql(f"SELECT has_table_privilege('{role}', '\"{self.schema}\".s_people', 'SELECT')")[0][0]
        self.assertTrue(may("analysts"))
        platform.document["exports"] = [export(self, "people", readers=())]
        platform.describe()
        platform.job.export("S", "C")
        self.assertEqual((may("analysts"), may("auditors")), (False, True))

    def test_another_shape_is_built_beside_and_takes_the_place_of_the_old(self):
        platform = self.platform()
        platform.job.export("S", "C")
        columns = [*PEOPLE, column("more", "text")]
        platform.document["datasets"]["people"]["columns"] = columns
        platform.document["exports"] = [export(self, "people")]
        platform.describe()
        platform.stage("people", [("U", "01", 1, "Anna", None, "more")])
        platform.merge()
        platform.job.export("S", "C")
        self.assertEqual(self.view(), [(1, "Anna", None, "more"), (*BEN, None)])

    def test_a_failed_delivery_changes_nothing_and_the_next_one_delivers(self):
        platform = self.platform()
        platform.job.export("S", "C")
        platform.stage("people", [("D", "01", 1, None, None)])
        platform.merge()
        remember = levada_job.Delivery.remember

        def fails(*_):
            raise levada_job.Refused("killed")

        levada_job.Delivery.remember = fails
        try:
            with self.assertRaises(levada_job.Refused):
                platform.job.export("S", "C")
        finally:
            levada_job.Delivery.remember = remember
        self.assertEqual(self.view(), [ANA, BEN])
        platform.job.export("S", "C")
        self.assertEqual(self.view(), [BEN])

    def test_a_consumer_that_fell_behind_what_is_kept_is_built_anew(self):
        platform = self.platform()
        platform.job.export("S", "C")
        platform.stage("people", [("D", "01", 1, None, None)])
        platform.merge()
        table = platform.store().dataset("people").table
        platform.spark.sql(f"UPDATE {table} SET lv_valid_to = lv_valid_to - INTERVAL 40 DAYS WHERE NOT lv_open")
        platform.job.maintain()
        platform.job.export("S", "C")
        self.assertEqual(self.view(what="id"), [(2,)])
        self.assertEqual(self.view("s_people_history", what="id"), [(2,)])

    def test_a_view_that_goes_does_not_hold_up_a_table_of_another_shape(self):
        platform = self.platform()
        platform.job.export("S", "C")
        export = platform.document["exports"][0]
        export["views"] = [{**view, "name": f"{view['name']}_new"} for view in export["views"]]
        self.deliver_another_shape(platform)
        self.assertEqual(self.view("s_people_new", what="id, more"), [(1, None), (2, None), (3, "more")])

    def test_a_view_that_turns_to_the_history_does_not_hold_up_a_table_of_another_shape(self):
        platform = self.platform()
        platform.job.export("S", "C")
        export = platform.document["exports"][0]
        live, history = export["views"]
        # In each other's place.
        export["views"] = [{**live, "reading": "history", "retention": "7d"}, {**history, "reading": "live", "retention": None}]
        self.deliver_another_shape(platform)
        self.assertEqual(self.view("s_people_history", what="id, more"), [(1, None), (2, None), (3, "more")])
        self.assertEqual(self.view("s_people", what="id, valid_to"), [(1, None), (2, None), (3, None)])

    def test_the_authority_of_a_server_is_looked_for_where_java_has_them(self):
        rows, asked = unittest.mock.Mock(), {}
        for tls in ("prefer", "require", "verify-full"):
            target = levada_job.Postgres.__new__(levada_job.Postgres)
            target.place = {"host": "h", "port": None, "database": "d", "tls": tls}
            target.secret = {"username": "u", "password": "p"}
            target.load(rows, "t")
            asked[tls] = rows.write.jdbc.call_args.args[0]
        factory = "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory"
        self.assertEqual([tls for tls, url in asked.items() if factory in url], ["verify-full"])
        self.assertIn("sslmode=verify-full", asked["verify-full"])

    def test_what_nobody_asks_for_any_more_is_taken_away(self):
        platform = self.platform()
        platform.job.export("S", "C")
        platform.document["exports"] = [export(self, "people", history=False)]
        platform.describe()
        platform.job.export("S", "C")
        left = cluster.sql(f"SELECT count(*) FROM pg_class WHERE relname IN ('s_people_history', 'h_people_{self.schema}')")
        self.assertEqual((left, self.view()), ([(0,)], [ANA, BEN]))

    def test_values_of_all_types_arrive_as_they_are(self):
        self.schema = self.id().rsplit(".", 1)[-1][:40]
        datetime = bench.datetime
        columns = [
            column("k", "int8", key=True), column("b", "boolean"), column("d", "decimal(38,10)"), column("f", "float64"), column("day", "date"),
            column("t", "timestamp"), column("tz", "timestamptz"), column("u", "uuid"), column("j", "json"), column("raw", "binary"),
        ]
        platform = Platform(self, {"odd": columns})
        platform.document["exports"] = [export(self, "odd", history=False)]
        platform.describe()
        moment = datetime.datetime(2026, 3, 4, 5, 6, 7, 89)
        row = (
            1, True, bench.Decimal("1234567890123456789012345678.0123456789"), 1e300, datetime.date(1, 1, 2), moment, moment,
            "00112233-4455-6677-8899-aabbccddeeff", '{"a": [1]}', bytearray(b"\0\1\xff"),
        )
        platform.load("odd", [row, (2, *[None] * 9)])
        platform.merge()
        platform.job.export("S", "C")
        [got, nothing] = self.view("s_odd")
        self.assertEqual(nothing[1:], (None,) * 9)
        instant = moment.replace(tzinfo=datetime.timezone.utc)
        expected = (1, True, row[2], 1e300, row[4], moment, instant, row[7], {"a": [1]}, bytes(row[9]))
        self.assertEqual(tuple(str(it) if "UUID" in type(it).__name__ else it for it in got), expected)


if __name__ == "__main__":
    unittest.main()
