"""Builders of the interpreter: what a loop makes of the rows that pass its filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.compile.arrow import to_arrow
from foveal.engine.compile.data import Array, KernelError
from foveal.engine.compile.interpreter_expressions import Frame, Rows, evaluate
from foveal.engine.compile.interpreter_values import (
    Mask,
    Value,
    constant,
    empty_values,
    encode,
    integers,
)
from foveal.planner.ir.program import Bitmap, Fold, Group, Key, Scatter, TopK
from foveal.planner.ir.types import I128, Code, Decimal, Float, Type

Dictionaries: TypeAlias = "Mapping[str, pa.Array[Any]]"


def column(value: Value, type_: Type, dictionaries: Dictionaries) -> pa.Array[Any]:
    """Return a value of each row in Arrow's type of the SQL type."""
    entries = dictionaries.get(type_.dictionary) if isinstance(type_, Code) else None
    mask = None if bool(value.valid.all()) else value.valid
    return to_arrow(encode(value, type_), mask, type_, entries)


def folded(fold: Fold, operand: Value | None, rows: int) -> Value:
    """Return an aggregate over rows as a value of one row.

    Raises:
        KernelError: a sum of integers or decimals is beyond its type.
    """
    if operand is None or fold.operand is None:
        return constant(rows, fold.type, 1)
    kept = operand.values[operand.valid]
    if fold.op == "count":
        return constant(len(kept), fold.type, 1)
    if not len(kept):
        return constant(None, fold.type, 1)
    match fold.op:
        case "sum":
            total = _sum(kept)
            if isinstance(fold.type, Float):
                return constant(total, fold.type, 1)
            return integers(np.array([total], object), np.ones(1, np.bool_), fold.type)
        case "avg":
            scale = fold.operand.type.scale if isinstance(fold.operand.type, Decimal) else 0
            total = _sum(kept)
            if not isinstance(fold.operand.type, Float):
                integers(np.array([total], object), np.ones(1, np.bool_), I128)
            return constant(float(total) / len(kept) / 10.0**scale, fold.type, 1)
        case "first":
            picked = kept[0]
        case _:
            picked = _extreme(kept, greatest=fold.op == "max")
    values = empty_values(1, fold.type)
    values[0] = picked
    return Value(values, np.ones(1, np.bool_))


def _sum(kept: Array) -> Any:
    """Return a sum: of floats in doubles, of all else a Python integer."""
    if kept.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return float(kept.astype(np.float64).sum())
    return int(kept.astype(object).sum())


def _extreme(kept: Array, *, greatest: bool) -> Any:
    """Return the least or the greatest, NaN being above all."""
    if kept.dtype.kind == "f":
        numbers = kept[~np.isnan(kept)]
        if not len(numbers) or (greatest and len(numbers) < len(kept)):
            return np.nan
        kept = numbers
    return kept.max() if greatest else kept.min()


def ranks(value: Value, type_: Type) -> npt.NDArray[np.int64]:
    """Return each row's place among the distinct values in SQL's order; -1 where NULL."""
    values = value.values
    if isinstance(type_, Float):
        # One zero and one NaN, which sorts last.
        values = np.where(values == 0, 0.0, np.where(np.isnan(values), np.nan, values))
    out = np.full(len(values), -1, np.int64)
    _, places = np.unique(values[value.valid], return_inverse=True)
    out[value.valid] = places
    return out


def grouped(group: Group, frame: Frame) -> list[tuple[str, Type, Value]]:
    """Return a row per distinct key: the keys, then the folds, in order of first appearance."""
    keys = [evaluate(key.expr, frame) for key in group.keys]
    operands = _operands(group.fields, frame)
    codes = np.zeros(frame.rows, np.int64)
    for key, value in zip(group.keys, keys, strict=True):
        rank = ranks(value, key.expr.type) + 1
        _, codes = np.unique(codes * (int(rank.max(initial=0)) + 1) + rank, return_inverse=True)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    by_group = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(first)))
    starts = ends - np.bincount(inverse, minlength=len(first))
    members = [by_group[starts[g] : ends[g]] for g in order]
    out = [
        (key.name, key.expr.type, _canonical(value.take(first[order]), key))
        for key, value in zip(group.keys, keys, strict=True)
    ]
    for (name, fold), operand in zip(group.fields, operands, strict=True):
        rows = [
            folded(fold, None if operand is None else operand.take(member), len(member))
            for member in members
        ]
        out.append((name, fold.type, _stacked(rows, fold.type)))
    return out


def _canonical(value: Value, key: Key) -> Value:
    """Return a key as it is shown: 0.0 for both zeros."""
    if isinstance(key.expr.type, Float):
        return Value(
            np.where(value.values == 0, np.zeros(1, value.values.dtype), value.values), value.valid
        )
    return value


def _stacked(rows: Sequence[Value], type_: Type) -> Value:
    """Return values of one row each as a value of many rows."""
    if not rows:
        return Value(empty_values(0, type_), np.zeros(0, np.bool_))
    return Value(
        np.concatenate([row.values for row in rows]), np.concatenate([row.valid for row in rows])
    )


def _operands(fields: Sequence[tuple[str, Fold]], frame: Frame) -> list[Value | None]:
    """Return the operands of folds."""
    return [None if fold.operand is None else evaluate(fold.operand, frame) for _, fold in fields]


def structure(fields: Sequence[tuple[str, Fold]], frame: Frame) -> list[tuple[str, Type, Value]]:
    """Return the one row of folds without keys."""
    return [
        (name, fold.type, folded(fold, operand, frame.rows))
        for (name, fold), operand in zip(fields, _operands(fields, frame), strict=True)
    ]


def top(builder: TopK, frame: Frame) -> Rows:
    """Return the rows of a top-k in its order."""
    sorts: list[Array] = [np.arange(frame.rows)]
    for order in reversed(builder.order):
        value = evaluate(order.expr, frame)
        rank = ranks(value, order.expr.type)
        rank = -rank if order.descending else rank
        sorts.append(np.where(value.valid, rank, 0))
        sorts.append(value.valid if order.nulls_first else ~value.valid)
    return np.lexsort(sorts)[: builder.limit]


def bitmap(builder: Bitmap, frame: Frame) -> Value:
    """Return which integers of low .. high occur.

    Raises:
        KernelError: a row is outside of them.
    """
    present: Mask = np.zeros(max(builder.high - builder.low + 1, 0), np.bool_)
    places, _ = _places(evaluate(builder.index, frame), builder.low, builder.high)
    present[places] = True
    return Value(present, np.ones_like(present))


def scatter(builder: Scatter, frame: Frame) -> Value:
    """Return a table of each index's value, NULL where no row has the index.

    Raises:
        KernelError: an index comes twice, or is outside of low .. high.
    """
    value = evaluate(builder.value, frame)
    places, rows = _places(evaluate(builder.index, frame), builder.low, builder.high)
    if len(np.unique(places)) < len(places):
        raise KernelError
    size = max(builder.high - builder.low + 1, 0)
    values, valid = empty_values(size, builder.value.type), np.zeros(size, np.bool_)
    values[places], valid[places] = value.values[rows], value.valid[rows]
    return Value(values, valid)


def _places(index: Value, low: int, high: int) -> tuple[Rows, Rows]:
    """Return the places of valid indices, counted from `low`, and their rows."""
    rows = np.flatnonzero(index.valid)
    kept = index.values[rows]
    if len(kept) and (kept.min() < low or kept.max() > high):
        raise KernelError
    return (kept.astype(object) - low).astype(np.int64), rows
