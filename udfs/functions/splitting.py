"""`foveal.splittable` and `foveal.annotate`: black-box functions over arrays, run in chunks.

A call of an annotated function only notes what is to be done and returns a `Lazy`. When its value
is asked for, all calls that it needs run together, chunk by chunk (see `split_run`). A function may
be annotated if its result for some rows depends on these rows alone (and on what is given whole),
and if it keeps no state.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from foveal.errors import DataError, ProgrammingError
from foveal.udfs.functions.split_types import (
    NDARRAY,
    Aligned,
    ArgumentSplit,
    Broadcast,
    Concat,
    ResultRule,
    ResultSplit,
    Written,
    rows_of,
)

_NUMBERS = itertools.count()
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Ready:
    """An argument of a captured call. `split`: every chunk gets its rows of it."""

    value: Any
    split: bool


class Lazy(NDArrayOperatorsMixin):
    """What a captured call will give. `value()` or `numpy.asarray` runs what it needs.

    Operators, NumPy's functions that work element by element and those with annotations may be
    called with it, and are captured too.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        arguments: tuple[Ready, ...],
        named: dict[str, Ready],
        rows: int,
        result_split: ResultSplit,
        after: tuple[Lazy, ...] = (),
        target: Any = None,
    ) -> None:
        """Keep the call. `after`: calls that must have run before, for what they read or write.

        `target`: the array that it writes in place, which is then its value.
        """
        self.function, self.name = function, name
        self.arguments, self.named = arguments, named
        self.rows, self.result_split, self.after = rows, result_split, after
        self.target = target
        self.number = next(_NUMBERS)
        self._known: Any = _NOTHING

    # --- its value -------------------------------------------------------------------------------

    def value(self, *, threads: int | None = None, chunk: int | None = None) -> Any:
        """Return the value. `threads`: None takes all processors; `chunk`: rows at once.

        Raises:
            OperationalError: 38000, a function raised.
        """
        if not self.is_known:
            from foveal.udfs.functions import split_run

            run: Any = split_run
            run.evaluate([self], threads, chunk)
        return self._known

    @property
    def is_known(self) -> bool:
        """Whether it ran."""
        return self._known is not _NOTHING

    @property
    def known(self) -> Any:
        """The value of what ran."""
        assert self.is_known
        return self._known

    def set(self, value: Any) -> None:
        """Keep the value; what the call needed is let go."""
        self._known = value
        self.arguments, self.named, self.after = (), {}, ()

    def reads(self) -> list[Lazy]:
        """Return the calls whose results it needs, or that must have run before."""
        return [*self.split_reads(), *self.whole_reads()]

    def split_reads(self) -> list[Lazy]:
        """Return the calls that must have seen a chunk before it does."""
        return [*self.chunk_reads(), *(a for a in self.after if not a.is_known)]

    def chunk_reads(self) -> list[Lazy]:
        """Return the calls of which it needs each chunk's own part."""
        return [a.value for a in self._every() if a.split and isinstance(a.value, Lazy)]

    def whole_reads(self) -> list[Lazy]:
        """Return the calls whose whole results it needs."""
        return [a.value for a in self._every() if not a.split and isinstance(a.value, Lazy)]

    def split_values(self) -> list[Any]:
        """Return the arrays that are cut for it."""
        found: list[Any] = []
        for argument in self._every():
            value = argument.value
            if argument.split and isinstance(value, Lazy):
                value = value.known if value.is_known else None
            if argument.split and value is not None:
                found.append(value)
        return found

    def _every(self) -> list[Ready]:
        return [*self.arguments, *self.named.values()]

    # --- as an operand ---------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return the value as an array."""
        made: Any = np.asarray(self.value())
        return made if dtype is None else made.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        """Capture a function of NumPy that works element by element."""
        plain = method == "__call__" and ufunc.signature is None and ufunc.nout == 1
        if plain and not (set(named) - {"dtype", "casting"}):
            return annotate(ufunc)(*inputs, **named)
        settled = [i.value() if isinstance(i, Lazy) else i for i in inputs]
        return getattr(ufunc, method)(*settled, **named)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Capture a function of NumPy that has an annotation; run others on the values."""
        from foveal.udfs.functions.annotated import known_annotation

        if known_annotation(func) is not None:
            return annotate(func)(*args, **kwargs)
        return func(*_settled(args), **_settled(kwargs))

    def __len__(self) -> int:
        """Return the number of rows: those of a reduced value, once it is known, are its own."""
        if isinstance(self.result_split, Concat):
            return self.rows
        return len(self.value())

    def __float__(self) -> float:
        """Return a reduced value as a number."""
        return float(self.value())

    def __repr__(self) -> str:
        """Show the call, not the value: showing must not run it."""
        state = "known" if self.is_known else "not run yet"
        return f"<Lazy {self.name}() over {self.rows} rows, {state}>"


def _settled(value: Any) -> Any:
    if isinstance(value, Lazy):
        return value.value()
    if isinstance(value, tuple | list):
        return type(value)(_settled(each) for each in value)  # pyright: ignore
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items()}  # pyright: ignore
    return value


class Splittable:
    """An annotated function: a call of it is captured."""

    def __init__(
        self,
        function: Callable[..., Any],
        types: Mapping[str, ArgumentSplit],
        result: ResultRule,
        default: ArgumentSplit,
        names: tuple[str, ...] | None = None,
    ) -> None:
        """Annotate. `default`: of arguments that `types` does not name."""
        self.function, self.types, self.result, self.default = (
            function,
            dict(types),
            result,
            default,
        )
        self.name = str(getattr(function, "__name__", function))
        self.names = names if names is not None else _parameter_names(function)
        unknown = set(types) - set(self.names) if self.names else set[str]()
        if unknown:
            raise ProgrammingError(
                f"{self.name}() has no parameter {sorted(unknown)[0]}", sqlstate="42P13",
                hint="its parameters are " + ", ".join(self.names),
            )  # fmt: skip
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Capture a call; one without rows to cut, or that cannot split, runs now.

        Raises:
            DataError: 22023, arguments that are cut have different numbers of rows.
        """
        given = [(self._name(i), value) for i, value in enumerate(args)]
        by_name = {**dict(given), **kwargs}
        result = self.result if isinstance(self.result, Concat) else self._result(by_name)
        splits = {name: self.types.get(name, self.default) for name in by_name}
        rows, cut = self._rows(by_name, splits)
        if rows is None or result is None:
            return self.function(*_settled(args), **_settled(kwargs))
        changed = {n: _pending(v) for n, v in by_name.items()}
        after: list[Lazy] = []
        target: Any = None
        for name, split in splits.items():
            if isinstance(split, Written) and by_name[name] is not None:
                target = by_name[name]
                after += _readers(target)
        arguments = tuple(Ready(changed[name], name in cut) for name, _ in given)
        named = {name: Ready(changed[name], name in cut) for name in kwargs}
        made = Lazy(self.function, self.name, arguments, named, rows, result, tuple(after), target)
        for name, split in splits.items():
            _note(by_name[name], made, written=isinstance(split, Written))
        return made

    def _name(self, place: int) -> str:
        return self.names[place] if place < len(self.names) else f"argument {place + 1}"

    def _result(self, arguments: dict[str, Any]) -> ResultSplit | None:
        return self.result(arguments) if callable(self.result) else self.result

    def _rows(
        self, values: dict[str, Any], splits: dict[str, ArgumentSplit]
    ) -> tuple[int | None, set[str]]:
        """Return the rows of a call, and which of its arguments are cut."""
        rows: int | None = None
        first, index = "", None
        cut: set[str] = set()
        deepest = max((_depth(v) for v in values.values()), default=0)
        longest = max((_length(v) or 0 for v in values.values() if _depth(v) == deepest), default=0)
        for name, value in values.items():
            split = splits[name]
            count = _length(value)
            if count is None or isinstance(split, Broadcast):
                continue
            if isinstance(split, Aligned) and (_depth(value) < deepest or count == 1 < longest):
                continue
            if rows is not None and count != rows:
                raise DataError(
                    f"{self.name}(): {name} has {count} rows where {first} has {rows}",
                    sqlstate="22023",
                    hint="what is cut by rows must have as many rows; give the rest whole "
                    "(Broadcast)",
                )
            labels = getattr(value, "index", None)
            if labels is not None and index is not None and not _same_labels(labels, index):
                raise DataError(
                    f"{self.name}(): {name} has another index than {first}", sqlstate="22023",
                    hint="pandas would match rows by their labels; reset_index() first",
                )  # fmt: skip
            if rows is None:
                rows, first = count, name
            index = labels if index is None else index
            cut.add(name)
        return rows, cut


def _same_labels(a: Any, b: Any) -> bool:
    return a is b or callable(a) or callable(b) or bool(a.equals(b))


def _length(value: Any) -> int | None:
    if isinstance(value, Lazy):
        if value.is_known:
            return rows_of(value.known)
        return value.rows if isinstance(value.result_split, Concat) else None
    return rows_of(value)


def _depth(value: Any) -> int:
    """Return the number of dimensions, as broadcasting counts them."""
    if isinstance(value, Lazy):
        if value.is_known:
            return _depth(value.known)
        if not isinstance(value.result_split, Concat):
            return 0
        return max((_depth(a.value) for a in (*value.arguments, *value.named.values())), default=1)
    if isinstance(value, NDARRAY):
        return value.ndim
    return 0 if rows_of(value) is None else int(getattr(value, "ndim", 1))


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def splittable(
    *, out: ResultRule | type[Concat] = Concat, **types: ArgumentSplit | type[ArgumentSplit]
) -> Callable[[Callable[..., Any]], Splittable]:
    """Annotate a function: each argument's split type by its name, and `out` of its result.

    Arguments that are not named are given whole to every chunk.

        @foveal.splittable(a=Rows, scale=Broadcast, out=Reduce("sum"))
        def total(a, scale): return (a * scale).sum()

    Raises:
        ProgrammingError: 42P13, the function has no such parameter.
    """

    def wrap(function: Callable[..., Any]) -> Splittable:
        made = {n: t() if isinstance(t, type) else t for n, t in types.items()}
        result: Any = out() if isinstance(out, type) else out
        if isinstance(result, ResultSplit):
            _checked(result)
        return Splittable(function, made, result, Broadcast())

    return wrap


def _checked(result: ResultSplit) -> None:
    if not isinstance(result, Concat):
        result.function()


def annotate(
    function: Callable[..., Any], *, out: ResultRule | type[Concat] | None = None,
    **types: ArgumentSplit | type[ArgumentSplit],
) -> Splittable:  # fmt: skip
    """Return an annotated form of somebody else's function, which itself stays as it is.

    Without split types: the annotation that foveal has for it (NumPy, SciPy, pandas, OpenCV).

    Raises:
        ProgrammingError: 42704, foveal has none; 42P13, the function has no such parameter.
    """
    if isinstance(function, Splittable):
        return function
    if types or out is not None:
        return splittable(out=Concat if out is None else out, **types)(function)
    from foveal.udfs.functions import annotated

    known: Any = annotated
    found: Splittable | None = known.known_annotation(function)
    if found is None:
        raise ProgrammingError(
            f"foveal has no annotation of {getattr(function, '__name__', function)}()",
            sqlstate="42704",
            hint="say how it splits: annotate(f, a=Rows, out=Concat)",
        )
    return found


# --- arrays that captured calls read and write ---------------------------------------------------


@dataclass(slots=True)
class _Uses:
    """Which captured calls read an array since it was last written, and which wrote it last."""

    array: Any
    writer: Lazy | None
    readers: list[Any]


_USES: dict[int, _Uses] = {}
"""By the array's id, as long as the array is there. Views of one array are not known as such."""


def _pending(value: Any) -> Any:
    """Return the captured call that writes an array, in the array's place, if one is to run."""
    uses = _USES.get(id(value))
    if uses is None or uses.writer is None or uses.writer.is_known:
        return value
    return uses.writer


def _readers(value: Any) -> list[Lazy]:
    """Return the captured calls that must see an array before it is written again."""
    uses = _USES.get(id(value))
    if uses is None:
        return []
    found = [reader() for reader in uses.readers]
    waiting = [r for r in found if r is not None and not r.is_known]
    if uses.writer is not None and not uses.writer.is_known:
        waiting.append(uses.writer)
    return waiting


def _gone(key: int, _: Any) -> None:
    """Forget an array that is no more, before another gets its id."""
    _USES.pop(key, None)


def _note(value: Any, call: Lazy, *, written: bool) -> None:
    if not isinstance(value, NDARRAY):
        return
    uses = _USES.get(id(value))
    if uses is None:
        key = id(value)
        uses = _USES[key] = _Uses(weakref.ref(value, functools.partial(_gone, key)), None, [])
    if written:
        uses.writer, uses.readers = call, []
    else:
        uses.readers = [r for r in uses.readers if (it := r()) is not None and not it.is_known]
        uses.readers.append(weakref.ref(call))
