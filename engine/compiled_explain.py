"""EXPLAIN (COMPILED): programs, their price beside DuckDB's, and what is not compiled and why."""

from __future__ import annotations

from foveal.engine.compiled_planning import CompiledPlanning
from foveal.engine.compiled_profile import machine
from foveal.engine.compiled_runner import Programs, Unsupported
from foveal.engine.context import QueryContext
from foveal.planner.compiled.cost import estimate
from foveal.planner.compiled.reading import read_statement
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.ir.text import program_text
from foveal.settings import listed_words


def explained(
    sql: str, code: str, planning: CompiledPlanning, programs: Programs, context: QueryContext
) -> list[str]:
    """Return the lines that EXPLAIN (COMPILED) shows.

    `code`: "" for programs as they are; `llvm`, `assembly` or `ptx` for their code. Columns that
    the programs read become resident.
    """
    lines: list[str] = []
    refusals: tuple[NotCompilable, ...]
    try:
        reading = read_statement(sql)
        off = listed_words(str(context.settings["compile_passes"]))
        compiled = planning.compile(reading, context.parameters, context.check, off)
        refusals = compiled.considered.refusals
        price = estimate(compiled.considered.candidates, planning.facts(reading), machine())
        faster = price.ours < price.duckdb
        lines += [
            f"{'*' if faster else ' '} compiled  {price.ours * 1e3:.1f} ms",
            f"{' ' if faster else '*'} duckdb    {price.duckdb * 1e3:.1f} ms",
            "",
        ]
        for candidate in compiled.candidates:
            if code:
                try:
                    lines += programs.code(candidate.program, code).split("\n")
                except Unsupported as error:
                    lines.append(f"-- no machine code: {error}")
            else:
                lines += program_text(candidate.program).split("\n")
                if candidate.scalars:
                    given = ", ".join(f"{k} = {v}" for k, v in candidate.scalars.items())
                    lines.append(f"-- {given}")
        lines += ["", "-- DuckDB runs", *compiled.mapped.text.split("\n")]
    except NotCompilable as refusal:
        refusals = (refusal,)
    for refusal in refusals:
        place = refusal.span
        where = "" if place is None else " ".join(sql[place.start : place.end].split())
        lines.append(f"-- not compiled: {refusal.reason}" + (f": {where}" if where else ""))
    return lines
