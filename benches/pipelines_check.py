"""One case run in every way: interpreter, passes, machine code, DuckDB; do they all agree?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context
from decimal import Decimal as Digits
from typing import Any

import duckdb
import pyarrow as pa
from pipelines_programs import Case

from foveal.engine.compile.data import Inputs, KernelError, Runner
from foveal.engine.compile.interpreter import interpret
from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.kernel import compile_program
from foveal.engine.compile.llvm.machine import Level
from foveal.engine.compile.runtime import run_kernel
from foveal.planner.ir import program
from foveal.planner.ir.program import Program
from foveal.planner.ir.text import program_text
from foveal.planner.protocols import CancelCheck

Rows = list[tuple[Any, ...]]
Results = dict[str, Rows]


_WIDE = Context(prec=60)


class Mismatch(AssertionError):
    """Two ways to run a program disagree."""


@dataclass(slots=True)
class Tally:
    """What came out of the cases so far."""

    counts: Counter[str] = field(default_factory=Counter[str])
    bad: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def plain(value: Any) -> Any:
    """Return a value as it is compared."""
    if isinstance(value, Digits):
        return _WIDE.normalize(value) if value else Digits(0)
    return value


def rows_of(table: pa.Table) -> Rows:
    """Return a result's rows, dates and times as their stored integers."""
    columns: list[list[Any]] = []
    for column in table.columns:
        flat: Any = column.combine_chunks()
        if pa.types.is_date(flat.type):
            flat = flat.view(pa.int32())
        elif pa.types.is_timestamp(flat.type):
            flat = flat.view(pa.int64())
        columns.append([plain(v) for v in flat.to_pylist()])
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def sort_key(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return what unordered rows are sorted by."""
    out: list[Any] = []
    for v in row:
        if v is None:
            out.append((0, ""))
        elif isinstance(v, float):
            out.append((1, "nan" if math.isnan(v) else f"{v + 0.0:.12e}"))
        elif isinstance(v, int | Digits) and not isinstance(v, bool):
            out.append((1, str(_WIDE.normalize(Digits(v)))))
        else:
            out.append((1, str(v)))
    return tuple(out)


def equal(mine: Any, other: Any, slack: float) -> bool:
    """Compare two values; `slack`: how far floats may be apart besides 1e-9 of their size."""
    if mine is None or other is None:
        return mine is other
    if isinstance(mine, float) or isinstance(other, float):
        x, y = float(mine), float(other)
        if math.isnan(x) or math.isnan(y):
            return (math.isnan(x) and math.isnan(y)) or slack == math.inf
        if math.isinf(x) or math.isinf(y):
            return x == y or slack == math.inf
        return math.isclose(x, y, rel_tol=1e-9, abs_tol=max(slack, 1e-300))
    return plain(mine) == plain(other)


class _Compiled:
    """Machine code of one level, from no cache and for none."""

    def __init__(self, level: Level, threads: int) -> None:
        self.level: Level = level
        self.threads = threads

    def __call__(
        self, program: Program, inputs: Inputs, check: CancelCheck
    ) -> Mapping[str, pa.Table]:
        return run_kernel(compile_program(program, self.level), inputs, check, self.threads)


class Checker:
    """Runs cases; keeps a connection to DuckDB."""

    def __init__(self) -> None:
        """Open DuckDB with neither optimizer nor threads: it computes what is written."""
        self.connection = duckdb.connect()
        self.connection.execute("SET threads = 1")
        self.connection.execute("PRAGMA disable_optimizer")
        self.tally = Tally()

    def check(
        self,
        case: Case,
        variants: Mapping[str, Callable[[Program], tuple[Program, Mapping[str, Any]]]],
        compiled: Sequence[tuple[Level, int]],
    ) -> None:
        """Run a case in every way; `variants`: rewrites of its program and the scalars they add.

        Raises:
            Mismatch: two ways disagree.
        """
        counts = self.tally.counts
        counts["programs"] += 1
        wanted = self._run(interpret, case.program, case.inputs)
        counts["raised"] += wanted is None
        slack = self._slack(case, wanted)
        self._duckdb(case, wanted, slack)
        texts = {case.program: "as written"}
        rewritten_last, inputs_last = case.program, case.inputs
        for name, rewrite in variants.items():
            rewritten, values = rewrite(case.program)
            inputs = _with(case.inputs, values)
            if rewritten not in texts:
                texts[rewritten] = name
                rewritten_last, inputs_last = rewritten, inputs
                counts["rewritten"] += 1
                found = self._run(interpret, rewritten, inputs)
                self._same(case, f"passes {name}", rewritten, wanted, found, slack)
        programs = [(case.program, case.inputs)]
        if len(texts) > 1:
            programs.append((rewritten_last, inputs_last))
        for level, threads in compiled:
            for whole, inputs in programs:
                try:
                    found = self._run(_Compiled(level, threads), whole, inputs)
                except Unsupported as error:
                    counts["unsupported"] += 1
                    counts[f"unsupported: {error}"] += 1
                    continue
                counts["compiled"] += 1
                label = f"{level} on {threads} threads, {texts[whole]}"
                self._same(case, label, whole, wanted, found, slack)

    # --- ways ---

    def _run(self, runner: Runner, whole: Program, inputs: Inputs) -> Results | None:
        try:
            made = runner(whole, inputs, lambda: None)
        except KernelError:
            return None
        return {name: rows_of(table) for name, table in made.items()}

    def _duckdb(self, case: Case, wanted: Results | None, slack: Mapping[str, list[float]]) -> None:
        connection, counts = self.connection, self.tally.counts
        connection.register("arrow_", case.arrow)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE t AS SELECT {', '.join(case.casts)} FROM arrow_"
        )
        raised: str = ""
        for loop in case.program.loops:
            if loop.into not in case.queries:
                continue
            try:
                found = connection.execute(case.queries[loop.into]).fetchall()
            except (
                duckdb.OutOfRangeException,
                duckdb.ConversionException,
                duckdb.InvalidInputException,
            ) as error:
                raised = str(error).splitlines()[0]
                continue
            except duckdb.Error as error:
                counts["duckdb refuses"] += 1
                counts[f"duckdb refuses: {str(error).splitlines()[0][:90]}"] += 1
                continue
            counts["in duckdb"] += 1
            if wanted is None:
                continue
            theirs = [tuple(plain(v) for v in row) for row in found]
            if loop.into not in case.ordered:
                theirs.sort(key=sort_key)
            mine = self._ordered(case, loop.into, wanted[loop.into])
            self._rows(
                case, f"DuckDB: {case.queries[loop.into]}", loop.into, mine, theirs,
                slack[loop.into],
            )  # fmt: skip
        connection.unregister("arrow_")
        if raised and wanted is not None:
            raise Mismatch(f"DuckDB raises {raised}; the interpreter does not\n{_show(case)}")
        if not raised and wanted is None and case.spare:
            counts["raised alone, where DuckDB need not look"] += 1
        elif not raised and wanted is None and len(case.queries) == len(case.program.results):
            raise Mismatch(f"the interpreter raises, DuckDB does not\n{_show(case)}")

    # --- comparing ---

    def _ordered(self, case: Case, name: str, rows: Rows) -> Rows:
        return rows if name in case.ordered else sorted(rows, key=sort_key)

    def _same(
        self,
        case: Case,
        label: str,
        whole: Program,
        wanted: Results | None,
        found: Results | None,
        slack: Mapping[str, list[float]],
    ) -> None:
        if (wanted is None) != (found is None):
            who = "raises alone" if found is None else "does not raise"
            raise Mismatch(f"{label} {who}\n{_show(case)}\n{program_text(whole)}")
        if wanted is None or found is None:
            return
        if wanted.keys() != found.keys():
            raise Mismatch(f"{label}: results {list(found)}, not {list(wanted)}\n{_show(case)}")
        for name, rows in wanted.items():
            mine, theirs = self._ordered(case, name, rows), self._ordered(case, name, found[name])
            try:
                self._rows(case, label, name, mine, theirs, slack[name])
            except Mismatch as error:
                raise Mismatch(f"{error}\n{program_text(whole)}") from None

    def _rows(
        self, case: Case, label: str, name: str, mine: Rows, theirs: Rows, slack: list[float]
    ) -> None:
        if len(mine) != len(theirs):
            raise Mismatch(
                f"{label}: {name} has {len(theirs)} rows, not {len(mine)}\n{_show(case)}"
            )
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            for k, (x, y) in enumerate(zip(a, b, strict=True)):
                if not equal(x, y, slack[k]):
                    raise Mismatch(
                        f"{label}: {name}[{number}][{k}]: {y!r}, not {x!r}\n{_show(case)}"
                    )

    def _slack(self, case: Case, wanted: Results | None) -> dict[str, list[float]]:
        """Return how far floats of each result's columns may be apart: sums take any order."""
        out: dict[str, list[float]] = {}
        for loop in case.program.loops:
            match loop.builder:
                case program.Struct(fields=fields):
                    folds = [None, *(f for _, f in fields)][1:]
                case program.Group(keys=keys, fields=fields):
                    folds = [*([None] * len(keys)), *(f for _, f in fields)]
                case program.Append(fields=fields) | program.TopK(fields=fields):
                    out[loop.into] = [1e-9] * len(fields)
                    continue
                case _:
                    continue
            out[loop.into] = [self._fold_slack(case, loop, f) for f in folds]
        return out

    def _fold_slack(self, case: Case, loop: program.Loop, fold: program.Fold | None) -> float:
        """Return 1e-12 of the sum of magnitudes; infinite where that is not finite."""
        if fold is None or fold.operand is None or fold.op not in ("sum", "avg"):
            return 1e-9 if fold is not None else 0.0
        if fold.type.__class__.__name__ != "Float":
            return 0.0
        append = program.Loop("v", loop.source, program.Append((("v", fold.operand),)), loop.where)
        tables = tuple(x for x in case.program.loops if x.into not in case.program.results)
        whole = Program(
            "", case.program.sources, (*tables, append), ("v",), case.program.scalars,
            case.program.tables, case.program.models, case.program.messages,
        )  # fmt: skip
        try:
            values = rows_of(interpret(whole, case.inputs, lambda: None)["v"])
        except KernelError:
            return math.inf
        total = sum(abs(float(v)) for (v,) in values if v is not None)
        return math.inf if not math.isfinite(total) else total * 1e-12


def _with(inputs: Inputs, values: Mapping[str, Any]) -> Inputs:
    return Inputs(inputs.sources, {**inputs.scalars, **values}, inputs.tables, inputs.models)


def _show(case: Case) -> str:
    return f"seed {case.seed}, {case.inputs.sources['t'].rows} rows\n{program_text(case.program)}"
