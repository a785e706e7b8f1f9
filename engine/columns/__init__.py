"""The column cache: tables and files as Arrow buffers, narrowed, kept while they stand."""

from foveal.engine.columns.effects import Effect, Prepared, effect
from foveal.engine.columns.relations import Unavailable
from foveal.engine.columns.sql_types import ir_type
from foveal.engine.columns.store import ColumnStore
from foveal.engine.columns.versions import Versions

__all__ = ["ColumnStore", "Effect", "Prepared", "Unavailable", "Versions", "effect", "ir_type"]
