"""Runs an SQL query over runs with DuckDB. Used by `Store.query` and `tracelet query`, on the caller's thread.

The tables that a query names, and only these, are copied into a database in a temporary folder: DuckDB spills there
what does not fit into memory, and a query may read a table as often as it likes. The store itself is only read. DuckDB
is imported here alone.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet.errors import NotInstalled, QueryError, install_command
from tracelet.store.run import Run
from tracelet.store.sql.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ROWS = 10_000
"""Rows in a batch of the result."""
SETTINGS = {
    "python_enable_replacements": False,  # `from x` never means a variable of the calling program
    "autoinstall_known_extensions": False,  # nothing is downloaded
}
SCHEMA_ONLY = re.compile(r"\s*(describe|desc|show)\b", re.IGNORECASE)
"""Queries about columns, not rows."""


@contextmanager
def query(
    sql: str, runs: Callable[[], Iterable[Run]], metrics: Collection[str] = ()
) -> Iterator[pyarrow.RecordBatchReader]:
    """The rows of a query, in batches, while the context is open.

    `runs` is called if the query reads a table. `metrics`: read only these into the tables metrics and points.
    QueryError for SQL that is wrong; NotInstalled without DuckDB.
    """
    duckdb = _engine()
    with (
        _explained(duckdb.Error),
        tempfile.TemporaryDirectory(prefix="tracelet-query-") as folder,
        duckdb.connect(Path(folder) / "query.duckdb", config=SETTINGS) as connection,
    ):
        read = _tables_read(duckdb, connection, sql)
        chosen = list(runs()) if read else []
        for name in TABLES:
            _fill(connection, name, chosen if name in read else (), metrics)
        yield connection.sql(sql).to_arrow_reader(ROWS)


def _fill(connection: duckdb.DuckDBPyConnection, name: str, runs: Sequence[Run], metrics: Collection[str]) -> None:
    """Create the table with the rows of these runs, copied as they are read."""
    connection.register("incoming", TABLES[name].batches(runs, metrics))
    connection.table("incoming").create(name)
    connection.unregister("incoming")


def _engine() -> Any:
    try:
        import duckdb
        import pyarrow  # noqa: F401  DuckDB imports it when rows go in or out
    except ImportError as error:
        raise NotInstalled(f"queries need {error.name}. Type: {install_command('query')}") from None
    return duckdb


def _tables_read(duckdb: Any, connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """The tables whose rows the query reads. QueryError unless it is one query."""
    types, found = duckdb.StatementType, [one.type for one in connection.extract_statements(sql)]
    # DuckDB 2 reads PIVOT as one MULTI; DuckDB 1 as one that creates a type for its columns, and a SELECT.
    if not {*found[:-1]} <= {types.CREATE} or not {*found[-1:]} & {types.SELECT, types.EXPLAIN, types.MULTI}:
        raise QueryError("expected one query, such as: select name, status from runs")
    if SCHEMA_ONLY.match(sql):
        return set()
    # DuckDB's own get_table_names() fails on joins with USING and on PIVOT. A word that is no table costs only time.
    return {word.lower() for word in re.findall(r"\w+", sql)} & TABLES.keys()


@contextmanager
def _explained(expected: type[Exception]) -> Iterator[None]:
    """The engine's errors as ours."""
    try:
        yield
    except expected as error:
        text = str(error).strip()
        if text.startswith("Catalog Error: Table with name"):
            text = f"{text.partition('!')[0]}. Tables: {', '.join(TABLES)}"
        raise QueryError(text) from None
