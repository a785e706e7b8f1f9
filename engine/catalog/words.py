"""The names that a console completes."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.engine.catalog.definitions import SCHEMA, Definitions
from foveal.engine.catalog.system import SCHEMAS
from foveal.engine.pixel_functions import PREFIX
from foveal.engine.substrate import Substrate
from foveal.planner.logical import FRAME_COLUMNS, OBJECT_COLUMNS, TRACK_COLUMNS
from foveal.settings import SETTINGS


@dataclass(frozen=True, slots=True)
class CatalogWords:
    """Names as they are written, sorted."""

    tables: tuple[str, ...]
    columns: tuple[str, ...]
    functions: tuple[str, ...]
    settings: tuple[str, ...]


def catalog_words(substrate: Substrate, definitions: Definitions) -> CatalogWords:
    """Return what the session's transaction can name now."""
    from foveal.udfs.pixels import FUNCTIONS

    def names(sql: str) -> list[str]:
        return [str(name) for (name,) in substrate.rows(sql)]

    users = f"WHERE NOT internal AND schema_name <> '{SCHEMA}'"
    tables = names(f"SELECT table_name FROM duckdb_tables() {users}")
    tables += names(f"SELECT view_name FROM duckdb_views() {users}")
    for definition in definitions.videos.values():
        tables += [definition.name, f"{definition.name}.frames", f"{definition.name}.tracks"]
    tables += [stored.name for stored in definitions.stored.values()]
    tables += [f"foveal.{name}" for name in SCHEMAS]
    columns = names(f"SELECT DISTINCT column_name FROM duckdb_columns() {users}")
    columns += [*OBJECT_COLUMNS, *FRAME_COLUMNS, *TRACK_COLUMNS]
    functions = names("SELECT DISTINCT function_name FROM duckdb_functions()")
    functions = ["FCOUNT", *FUNCTIONS, *(n for n in functions if not n.startswith(PREFIX))]
    return CatalogWords(
        tuple(sorted(set(tables))),
        tuple(sorted(set(columns))),
        tuple(sorted(set(functions))),
        tuple(f"foveal.{name}" for name in SETTINGS),
    )
