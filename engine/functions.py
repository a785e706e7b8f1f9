"""The user's functions in one session: stored ones and given ones, as DuckDB and loops call them.

DuckDB knows a function under a name of ours and reaches it by a temporary macro of the user's name.
So a definition follows the user's transaction (a macro does, a registered function does not), and
replacing one needs no new name. Registering happens on a cursor of its own, whose transaction is
over at once; within the user's transaction, which would not see that, on its own connection.
"""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from foveal.engine.catalog.definitions import Definitions
from foveal.engine.compile.data import Inputs, KernelError, Runner
from foveal.engine.context import QueryContext
from foveal.engine.function_kernels import program_of, run_kernel
from foveal.engine.substrate import Substrate
from foveal.engine.trusted_functions import is_trusted
from foveal.errors import FovealError, OperationalError, ProgrammingError
from foveal.planner.ir.function import DictionaryFunction, IrFunction, ScalarFunction
from foveal.planner.ir.program import Program
from foveal.planner.protocols import CancelCheck
from foveal.settings import Value
from foveal.udfs.functions.function import UserFunction
from foveal.udfs.functions.source import SourceError, from_text
from foveal.udfs.functions.sqltypes import sql_type

PREFIX = "__foveal_f_"
"""What the names begin with under which DuckDB knows the functions."""
_WARM = 4096
"""Rows before a kernel is worth compiling; up to there Python answers, where it may run."""
_GIVEN_UP = 8
"""Batches that raised in the kernel, after which a function stays with Python."""


@dataclass(slots=True, eq=False)
class _Known:
    """A function as this session runs it. `stored`: its definition; None: it was given."""

    function: UserFunction
    stored: str | None
    internal: str = ""
    rows: int = 0
    raised: int = 0
    program: Program | None = None
    mine: bool = False
    in_transaction: bool = False


def definition_of(
    parameters: Sequence[tuple[str, str]], returns: str, language: str, batch: str,
    null_handling: str, volatile: bool, cost: float | None, text: str,
) -> str:  # fmt: skip
    """Return a stored function as JSON."""
    return json.dumps(
        {
            "parameters": [list(pair) for pair in parameters], "returns": returns,
            "language": language, "batch": batch, "null_handling": null_handling,
            "volatile": volatile, "cost": cost, "text": text,
        }
    )  # fmt: skip


def function_of(name: str, definition: str) -> UserFunction:
    """Return the function of a definition. Nothing of its text is run.

    Raises:
        SourceError: the text is no function. DataError: 42704, a type is unknown.
        TypeError, ValueError: text in the loop language does not fit.
    """
    held = cast("dict[str, Any]", json.loads(definition))
    parameters = tuple((str(n), sql_type(str(t))) for n, t in held["parameters"])
    returns = sql_type(str(held["returns"]))
    common: dict[str, Any] = {
        "batch": held["batch"], "null_handling": held["null_handling"],
        "volatile": held["volatile"], "cost": held["cost"], "text": held["text"],
    }  # fmt: skip
    if held["language"] == "ir":
        from foveal.udfs.functions.written import from_ir

        ready = from_ir(name, parameters, returns, held["text"])
        return UserFunction(name, parameters, returns, None, None, "ir", ready=ready, **common)
    source = from_text(name, [n for n, _ in parameters], held["text"])
    return UserFunction(name, parameters, returns, source.make, source, "python", **common)


class Functions:
    """The user's functions, by name in lower case."""

    def __init__(
        self,
        substrate: Substrate,
        definitions: Definitions,
        settings: Mapping[str, Value],
        runner: Callable[[], Runner],
    ) -> None:
        """Know nothing yet; `runner` makes who runs kernels, when one first has to run."""
        self._substrate, self._definitions, self._settings = substrate, definitions, settings
        self._make_runner, self._runner = runner, None
        self._given: dict[str, _Known] = {}
        self._stored: dict[str, _Known] = {}
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._macros: dict[str, str] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._inlined: (
            tuple[frozenset[str], tuple[tuple[str, UserFunction], ...], dict[str, IrFunction]]
            | None
        ) = None
        self.context: QueryContext | None = None

    # --- what there is ---------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        """Whether there is a function of this name."""
        return name.lower() in self._stored or name.lower() in self._given

    def _every(self) -> Iterator[_Known]:
        yield from (known for name, known in self._stored.items() if name not in self._given)
        yield from self._given.values()

    def scalar(self) -> dict[str, ScalarFunction]:
        """Return what compiled loops may put in the place of calls, by name in lower case."""
        found: dict[str, ScalarFunction] = {}
        for known in self._every():
            function = known.function
            name = function.name.lower()
            ready = function.compiled
            if ready is not None:
                found[name] = ready
            elif function.batch == "scalar" and not function.volatile and self._allowed(known):
                found[name] = DictionaryFunction(
                    function.name,
                    tuple((n, kind.text) for n, kind in function.parameters),
                    function.returns.text,
                    lambda arrays, known=known: self._python(known, arrays),
                )
        return found

    def inlined(self, users: Callable[[], frozenset[str]]) -> Mapping[str, IrFunction]:
        """Return the expressions that compiled loops have in the place of calls, by folded name.

        Those that a macro of the user's hides are left out. `users` lists the names of macros and
        functions; it returns the same object until something may have changed them.
        """
        if not self._stored and not self._given:
            return {}
        names, held = users(), tuple((k.internal, k.function) for k in self._every())
        if self._inlined is None or self._inlined[0] is not names or self._inlined[1] != held:
            macros: dict[str, list[str]] = {}
            for name, text in self._substrate.rows(
                "SELECT lower(function_name), coalesce(macro_definition, '') "
                "FROM duckdb_functions() WHERE NOT internal"
            ):
                macros.setdefault(str(name), []).append(str(text))
            found: dict[str, IrFunction] = {}
            for known in self._every():
                name, ready = known.function.name.lower(), known.function.compiled
                calls = macros.get(name, [])
                ours = len(calls) == 1 and known.internal in calls[0]
                if ready is not None and ours and not known.function.volatile:
                    found[name] = ready
            self._inlined = (names, held, found)
        return self._inlined[2]

    def compiled(self, name: str) -> IrFunction | None:
        """Return a function as an expression, None where there is none."""
        known = self._given.get(name.lower()) or self._stored.get(name.lower())
        return None if known is None else known.function.compiled

    def listed(self) -> list[dict[str, object]]:
        """Return a row for `foveal.functions` of each."""
        rows: list[dict[str, object]] = []
        for known in self._every():
            function = known.function
            why = function.untranslated
            rows.append(
                {
                    "name": function.name,
                    "argument": ", ".join(f"{n} {t.text}" for n, t in function.parameters),
                    "returns": function.returns.text,
                    "meaning": function.text.strip() or "a Python function of this connection",
                    "language": function.language,
                    "translated": why is None,
                    "why": None if why is None else str(why),
                    "cost": function.cost,
                }
            )
        return rows

    # --- definitions -----------------------------------------------------------------------------

    def give(self, function: UserFunction) -> None:
        """Take a function of this connection, in place of an earlier one of its name.

        Raises:
            ProgrammingError: 25001, a transaction is open; 42723, DuckDB or the database has one.
        """
        name = function.name.lower()
        if self._substrate.in_transaction:
            raise ProgrammingError(
                "a function cannot be given inside a transaction", sqlstate="25001",
                hint="commit() or rollback() first",
            )  # fmt: skip
        self.refuse_taken(function.name)
        if name in self._stored:
            raise ProgrammingError(
                f"the database has a function {function.name}()", sqlstate="42723",
                hint=f"DROP FUNCTION {function.name}",
            )  # fmt: skip
        self._given[name] = _Known(function, None, mine=True)
        self._connect(self._given[name])

    def refuse_taken(self, name: str) -> None:
        """Refuse the name of a function or macro that is not ours.

        Raises:
            ProgrammingError: 42723.
        """
        if name in self:
            return
        taken = self._substrate.rows(
            "SELECT 1 FROM duckdb_functions() WHERE lower(function_name) = lower($name) LIMIT 1",
            {"name": name},
        )
        if taken:
            raise ProgrammingError(
                f"function {name}() already exists", sqlstate="42723",
                hint="give yours another name",
            )  # fmt: skip

    def allow(self, name: str) -> None:
        """Let a stored function run: the user of this session made it."""
        self._stored[name.lower()].mine = True

    def forget(self) -> None:
        """Make anew what a transaction made that is over now: a rollback takes it back."""
        self._macros.clear()
        for known in (*self._stored.values(), *self._given.values()):
            if known.in_transaction:
                known.internal, known.in_transaction = "", False

    def sync(self) -> None:
        """Bring DuckDB to what is defined now. Called before each statement; cheap when nothing is.

        A definition that cannot be read is left out: a call of it then says what is wrong.
        """
        wanted = self._definitions.functions
        for name in [n for n in self._stored if n not in wanted]:
            del self._stored[name]
        for name, (shown, definition) in wanted.items():
            held = self._stored.get(name)
            if held is None or held.stored != definition:
                self._stored[name] = _Known(self._readable(shown, definition), definition)
        for name in [n for n in self._macros if n not in self._stored and n not in self._given]:
            self._substrate.rows(f"DROP MACRO IF EXISTS temp.{quoted(name)}")
            del self._macros[name]
        for known in self._every():
            self._connect(known)

    def _readable(self, name: str, definition: str) -> UserFunction:
        try:
            return function_of(name, definition)
        except (SourceError, FovealError, TypeError, ValueError) as error:
            broken = str(error)

        def make() -> Callable[..., Any]:
            raise ValueError(f"its definition cannot be read: {broken}")

        held = cast("dict[str, Any]", json.loads(definition))
        parameters = tuple((str(n), sql_type("VARCHAR")) for n, _ in held["parameters"])
        return UserFunction(name, parameters, sql_type("VARCHAR"), make, None, text=held["text"])

    def _connect(self, known: _Known) -> None:
        """Let DuckDB reach a function by the user's name."""
        function = known.function
        name = function.name.lower()
        if not known.internal:
            self._count += 1
            known.internal = f"{PREFIX}{name}_{id(self):x}_{self._count}"
            self._register(known)
        if self._macros.get(name) != known.internal:
            places = ", ".join(quoted(n) for n, _ in function.parameters)
            self._substrate.rows(
                f"CREATE OR REPLACE TEMP MACRO {quoted(function.name)}({places}) AS "
                f"{quoted(known.internal)}({places})"
            )
            self._macros[name] = known.internal

    def _register(self, known: _Known) -> None:
        function = known.function

        def run(*arguments: Any) -> Any:
            try:
                return self._call(known, arguments)
            except BaseException as error:
                if self.context is not None:
                    self.context.error = self.context.error or error
                raise

        known.in_transaction = self._substrate.in_transaction
        connection = self._substrate.connection
        if not known.in_transaction:
            # DuckDB calls into what the registering cursor holds: it must stay open.
            self._cursor = self._cursor or connection.cursor()
            connection = self._cursor
        connection.create_function(
            known.internal,
            _with_places(run, len(function.parameters)),
            [duckdb.sqltype(kind.text) for _, kind in function.parameters],
            duckdb.sqltype(function.returns.text),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
            side_effects=function.volatile,
        )

    def close(self) -> None:
        """Let DuckDB forget the functions."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    # --- calls -----------------------------------------------------------------------------------

    def _call(self, known: _Known, arguments: Sequence[Any]) -> pa.Array[Any]:
        """Return the values for one batch of DuckDB's."""
        context = self.context
        if context is not None:
            context.check()
        arrays = [argument.combine_chunks() for argument in arguments]
        function = known.function
        with self._lock:
            known.rows += len(arrays[0]) if arrays else 1
        python = function.make is not None and self._allowed(known)
        # Once the kernel was used, or where Python may not run, there is no need to wait.
        wanted = known.program is not None or known.rows >= _WARM or not python
        if not wanted or known.raised >= _GIVEN_UP:
            return self._python(known, arrays)
        ready = function.compiled
        if ready is None:
            self._tell(known)
            return self._python(known, arrays)
        try:
            return self._kernel(known, ready, arrays)
        except KernelError as error:
            if python:
                known.raised += 1
                return self._python(known, arrays)
            said = "a value is out of range, or a division by zero"
            if error.message is not None:
                said = ready.messages[error.message]
            raise OperationalError(
                f"function {function.name}() failed: {said}", sqlstate="38000"
            ) from error

    def _kernel(self, known: _Known, ready: IrFunction, arrays: Sequence[Any]) -> pa.Array[Any]:
        with self._lock:
            if known.program is None:
                known.program = program_of(ready)
            if self._runner is None:
                self._runner = self._make_runner()
        check = self.context.check if self.context is not None else _unchecked
        made: Any = run_kernel(known.program, arrays, self._runner, check)
        wanted = known.function.returns.arrow
        return made if made.type == wanted else made.cast(wanted)

    def _python(self, known: _Known, arrays: Sequence[Any]) -> pa.Array[Any]:
        function = known.function
        if not self._allowed(known):
            raise ProgrammingError(
                f"the Python function {function.name}() of this database may not run",
                sqlstate="42501",
                detail="it was not made by this user on this machine",
                hint="read it in foveal.functions; SET foveal.python_functions = 'on' runs such "
                "functions in this session",
            )
        if function.untranslated is not None and not function.over_text:
            self._tell(known)
        return function.evaluate(arrays)

    def _allowed(self, known: _Known) -> bool:
        """Whether a function's Python may run here."""
        rule = str(self._settings["python_functions"])
        if rule != "own" or known.stored is None:
            return rule != "off"
        if not known.mine:
            known.mine = is_trusted(known.stored)
        return known.mine

    def _tell(self, known: _Known) -> None:
        """Say, where a function runs as Python, which line is why."""
        why, context = known.function.untranslated, self.context
        if why is not None and context is not None and known.function.batch == "scalar":
            context.notice(
                f"function {known.function.name}() runs as Python: line {why.line}, {why.reason}"
            )


def quoted(name: str) -> str:
    """Return a name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def _unchecked() -> None:
    """Run without anybody who could cancel."""


def _with_places(run: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return `run` with `count` plain parameters: DuckDB counts them, and takes no `*args`."""
    places = ", ".join(f"a{i}" for i in range(count))
    made: Callable[..., Any] = eval(f"lambda {places}: run({places})", {"run": run})
    return made


def named(message: str) -> str:
    """Return a message of DuckDB's with the names that users write in place of ours."""
    return re.sub(PREFIX + r"(\w+?)_[0-9a-f]+_\d+\b", r"\1", message)


def runner() -> Runner:
    """Return who runs kernels: machine code where there is some, else the interpreter."""
    from foveal.engine.compile.interpreter import interpret

    if importlib.util.find_spec("llvmlite") is None:
        return interpret
    from foveal.engine.compile.llvm.cells import Unsupported
    from foveal.engine.compile.runtime import CompiledRunner

    compiled = CompiledRunner(threads=1)  # DuckDB's threads call, a batch each
    refused: set[int] = set()

    def run(program: Program, inputs: Inputs, check: CancelCheck) -> Mapping[str, pa.Table]:
        if id(program) not in refused:
            try:
                return compiled(program, inputs, check)
            except Unsupported:
                refused.add(id(program))
        return interpret(program, inputs, check)

    return run
