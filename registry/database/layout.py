"""How the tables lie on PostgreSQL: each whole, a patient's rows in hash partitions, or spread over servers by Citus.

What is a patient's is placed by patient_key in all three, and every statement of the registry names that key, so none
of them changes. Partitions let one server go on when a table grows large: vacuum, reindexing and clustering work on one
partition at a time (64 cost a query by patient 5 %, measured). Citus is for when one machine is too small.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from registry.database.engine import Database, Undone
from registry.database.tables import association, document, folder, submission_set

PARTITIONS = 64
"""More make ids without a patient slower (measured with 256: four times), fewer leave partitions large."""
MOST_PARTITIONS = 1024
SHARDS = 64
"""Shards of each table under Citus: some for each core of eight servers."""
PATIENT_TABLES = (document, submission_set, folder, association)
"""What grows with every submission and is read by patient."""

_KIND = sa.text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
_HAS_CITUS = sa.text("SELECT 1 FROM pg_extension WHERE extname = 'citus'")
_IS_SPREAD = sa.text("SELECT 1 FROM pg_dist_partition WHERE logicalrelid = to_regclass('document')")


class LayoutRefused(Undone):
    """The tables cannot be laid out so. `str()` says why in one sentence."""


def partition(database: Database, count: int = PARTITIONS) -> bool:
    """Puts each patient table into `count` hash partitions, with what it holds; False where it is so already.

    Takes as long as copying the tables, and nobody reads or writes them meanwhile: other processes are told that the
    registry is busy. All of it or nothing. Raises: LayoutRefused; StoreTrouble.
    """
    if not 2 <= count <= MOST_PARTITIONS:
        raise LayoutRefused(f"there can be 2 to {MOST_PARTITIONS} partitions")
    _demand_postgresql(database, "SQLite keeps a patient's rows together by itself and has no partitions")
    return database.write(lambda connection: _partition(connection, count))


def distribute(database: Database) -> None:
    """Spreads the tables over the servers of a Citus, with what they hold. Run once, on its coordinator.

    Raises: LayoutRefused; StoreTrouble.
    """
    _demand_postgresql(database, "Citus is an extension of PostgreSQL")
    database.write(_distribute)


def distribution() -> tuple[str, ...]:
    """The statements that hand the tables to Citus, in order.

    A patient's rows lie together on one server, whatever table they are of; the directory and the claims lie by their
    own keys; words and dictionaries are on every server. Blocks, bindings, findings and the version stay on the
    coordinator: few rows, changed under one lock.
    """
    return (
        *(f"SELECT create_reference_table('{table}')" for table in ("code", "label", "body_dict")),
        _spread("patient", "patient_key", "none"),
        _spread("patient_alias", "patient_key", "patient"),
        *(_spread(table.name, "patient_key", "patient") for table in PATIENT_TABLES),
        _spread("object_dir", "entry_uuid", "none"),
        _spread("uid_claim", "uid_hash", "none"),
    )


def is_partition(name: str) -> bool:
    """Whether a table of this name is a partition that this module made."""
    table, _, number = name.rpartition("_p")
    return number.isdecimal() and table in {each.name for each in PATIENT_TABLES}


def _spread(table: str, column: str, beside: str) -> str:
    count = f", shard_count => {SHARDS}" if beside == "none" else ""
    return f"SELECT create_distributed_table('{table}', '{column}', colocate_with => '{beside}'{count})"


def _demand_postgresql(database: Database, otherwise: str) -> None:
    if database.sqlite:
        raise LayoutRefused(otherwise)


def _is_spread(connection: Connection) -> bool:
    return bool(connection.execute(_HAS_CITUS).scalar() and connection.execute(_IS_SPREAD).scalar())


def _distribute(connection: Connection) -> None:
    if not connection.execute(_HAS_CITUS).scalar():
        raise LayoutRefused("this PostgreSQL has no Citus: CREATE EXTENSION citus, and add its workers, first")
    if _is_spread(connection):
        raise LayoutRefused("the tables are spread already")
    if _kind(connection, document) == "p":
        raise LayoutRefused("the tables are in hash partitions; Citus has shards of its own")
    _take_time(connection)
    for statement in distribution():
        connection.exec_driver_sql(statement)


def _partition(connection: Connection, count: int) -> bool:
    if _is_spread(connection):
        raise LayoutRefused("the tables are spread by Citus, which has shards of its own")
    _take_time(connection)
    names = ", ".join(table.name for table in PATIENT_TABLES)
    connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
    whole = [table for table in PATIENT_TABLES if _kind(connection, table) == "r"]
    for table in whole:
        for statement in _put_aside(table):
            connection.exec_driver_sql(statement)
        made = _partitioned(table)
        connection.execute(CreateTable(made))
        for statement in _partitions(table, count):
            connection.exec_driver_sql(statement)
        before = sa.table(f"{table.name}_whole", *(sa.column(column.name, column.type) for column in table.columns))
        connection.execute(made.insert().from_select([each.name for each in before.c], sa.select(*before.c)))
        connection.exec_driver_sql(f"DROP TABLE {before.name}")
        # After the rows: an index that is built once is smaller and sooner there.
        for index in sorted(made.indexes, key=lambda each: str(each.name)):
            connection.execute(CreateIndex(index))
        connection.exec_driver_sql(f"ANALYZE {table.name}")
    return bool(whole)


def _kind(connection: Connection, table: sa.Table) -> str:
    return str(connection.execute(_KIND, {"name": table.name}).scalar_one())


def _take_time(connection: Connection) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _put_aside(table: sa.Table) -> Iterator[str]:
    yield f"ALTER TABLE {table.name} RENAME TO {table.name}_whole"
    yield f"ALTER TABLE {table.name}_whole RENAME CONSTRAINT pk_{table.name} TO pk_{table.name}_whole"
    for index in table.indexes:
        yield f"ALTER INDEX {index.name} RENAME TO {index.name}_whole"


def _partitioned(table: sa.Table) -> sa.Table:
    made = table.to_metadata(sa.MetaData(naming_convention=table.metadata.naming_convention))
    made.dialect_options["postgresql"]["partition_by"] = "HASH (patient_key)"
    made.dialect_options["postgresql"]["with"] = None  # room for updates is the partitions' matter
    return made


def _partitions(table: sa.Table, count: int) -> Iterator[str]:
    wanted = table.dialect_options["postgresql"]["with"] or {}
    settings = ", ".join(f"{name} = {value}" for name, value in wanted.items())
    for number in range(count):
        place = f"FOR VALUES WITH (MODULUS {count}, REMAINDER {number})"
        made = f"CREATE TABLE {table.name}_p{number:03d} PARTITION OF {table.name} {place}"
        yield f"{made} WITH ({settings})" if settings else made
