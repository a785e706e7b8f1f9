"""SqlFragment below another node: DuckDB runs it and all its rows are kept."""

from __future__ import annotations

from foveal.engine.executor import Runtime
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import SqlFragment


def sql_fragment(node: SqlFragment, runtime: Runtime) -> ArrowStream:
    """Return the fragment's rows; blocking, for a connection runs one fragment at a time."""
    return runtime.query(node.text, runtime.materialised(node.inputs))
