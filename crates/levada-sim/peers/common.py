"""What the scripts share: the table, a database of their own, and the CPU of processes."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict
except ImportError:
    sys.exit("the package psycopg is missing: pip install 'psycopg[binary]==3.3.9'")

TABLE = (
    "CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(12,2), changed timestamptz, note varchar(60))"
)

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def fail(message: str) -> NoReturn:
    """Ends the program with a message for its caller."""
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def connect(url: str) -> psycopg.Connection:
    """A session in which every statement is a transaction of its own."""
    try:
        return psycopg.connect(url, autocommit=True)
    except psycopg.Error as error:
        fail(f"the server can't be reached: {error}")


def parts(url: str) -> dict[str, str]:
    """Host, port, user, password and database of a URL, with what a URL may leave out."""
    given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    return {"host": "127.0.0.1", "port": "5432", "user": "postgres", "password": "", "dbname": "postgres"} | given


@contextmanager
def database(url: str, name: str) -> Iterator[str]:
    """A new database on the server, and its URL; it goes when the caller is done."""
    with connect(url) as session:
        try:
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            fail(f"the database {name} can't be made: {error}")
        try:
            of = parts(url)
            yield (
                f"postgresql://{quote(of['user'], safe='')}:{quote(of['password'], safe='')}"
                f"@{of['host']}:{of['port']}/{quote(name, safe='')}"
            )
        finally:
            # A slot that is being read would keep its database.
            session.execute(
                "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots "
                "WHERE database = %s AND active",
                [name],
            )
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def cpu_seconds() -> float:
    """CPU of this process, all threads, and of its children that have ended."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def server_cpu_seconds(session: psycopg.Connection) -> float:
    """CPU of all processes of a server on this machine, of those that have ended, too."""
    (pid_file,) = session.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
    postmaster = pid_file.split("\n")[0]
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has just ended
        if path.parent.name == postmaster:
            # With its children that have ended.
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == postmaster:
            ticks += sum(map(int, fields[11:13]))
    if ticks == 0:
        fail("the server does not run on this machine, so its CPU can't be measured")
    return ticks / TICKS_PER_SECOND


def at(times: list[float], share: float) -> float:
    """The time below which a share of the sorted times lies."""
    return times[int((len(times) - 1) * share)]
