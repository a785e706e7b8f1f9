"""foveal: SQL over tables and video. `foveal.connect()` opens a database (PEP 249).

Nothing is imported before its name is used, so that importing one room loads no other.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.dbapi import (
        Binary,
        Connection,
        Cursor,
        Date,
        DateFromTicks,
        Time,
        TimeFromTicks,
        Timestamp,
        TimestampFromTicks,
        apilevel,
        connect,
        last_query,
        paramstyle,
        threadsafety,
    )
    from foveal.errors import (
        DatabaseError,
        DataError,
        Error,
        IntegrityError,
        InterfaceError,
        InternalError,
        NotSupportedError,
        OperationalError,
        ProgrammingError,
        QueryCanceled,
        Warning,
    )
    from foveal.reports import Notice, Progress, QueryReport
    from foveal.types import BINARY, DATETIME, NUMBER, ROWID, STRING
    from foveal.udfs.functions.annotated import annotated
    from foveal.udfs.functions.split_types import (
        Aligned,
        Broadcast,
        Concat,
        Reduce,
        Rows,
        Written,
    )
    from foveal.udfs.functions.splitting import annotate, splittable
    from foveal.udfs.functions.udf import udf

    __version__: str

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Aligned",
    "Binary",
    "Broadcast",
    "Concat",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "Notice",
    "OperationalError",
    "ProgrammingError",
    "Progress",
    "QueryCanceled",
    "QueryReport",
    "Reduce",
    "Rows",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "Written",
    "__version__",
    "annotate",
    "annotated",
    "apilevel",
    "connect",
    "last_query",
    "paramstyle",
    "splittable",
    "threadsafety",
    "udf",
]

_HOME = {
    "foveal.errors": {
        "DataError",
        "DatabaseError",
        "Error",
        "IntegrityError",
        "InterfaceError",
        "InternalError",
        "NotSupportedError",
        "OperationalError",
        "ProgrammingError",
        "QueryCanceled",
        "Warning",
    },
    "foveal.reports": {"Notice", "Progress", "QueryReport"},
    "foveal.udfs.functions.annotated": {"annotated"},
    "foveal.udfs.functions.split_types": {
        "Aligned",
        "Broadcast",
        "Concat",
        "Reduce",
        "Rows",
        "Written",
    },
    "foveal.udfs.functions.splitting": {"annotate", "splittable"},
    "foveal.udfs.functions.udf": {"udf"},
    "foveal.types": {"BINARY", "DATETIME", "NUMBER", "ROWID", "STRING"},
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("foveal")
    if name not in __all__:
        raise AttributeError(f"module 'foveal' has no attribute {name!r}")
    home = next((module for module, names in _HOME.items() if name in names), "foveal.dbapi")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
