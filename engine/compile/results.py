"""What the caller gets of what the loops made: whole tables, or some columns of a joint one."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from foveal.planner.ir.program import Program


def results_of(program: Program, made: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return the results of a program by name, in its order; `made`: tables by loop."""
    parts = {part.name: part for part in program.parts}
    out: dict[str, pa.Table] = {}
    for name in program.results:
        part = parts.get(name)
        if part is None:
            out[name] = made[name]
            continue
        whole = made[part.loop]
        columns = whole.select([column for _, column in part.columns])
        out[name] = columns.rename_columns([own for own, _ in part.columns])
    return out
