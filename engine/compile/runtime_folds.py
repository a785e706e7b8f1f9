"""From accumulators in memory to result columns: threads added up, sums checked, averages taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.compile.arrow import machine_dtype, to_arrow, wide_integers
from foveal.engine.compile.data import Array, KernelError
from foveal.engine.compile.llvm.accumulators import (
    GREATEST,
    LEAST,
    Accumulator,
    FoldPlan,
    Output,
)
from foveal.engine.compile.llvm.folds import record_words, word_offsets
from foveal.planner.ir.types import Code, Decimal, Float, Int, Type, limits, physical

Words = npt.NDArray[np.int64]
Dictionaries: TypeAlias = "Mapping[str, pa.Array[Any]]"
_SIGN_OFF = np.int64((1 << 63) - 1)


def initial_record(accumulators: Sequence[Accumulator]) -> Words:
    """Return a record [words] of no rows."""
    out = np.zeros(record_words(list(accumulators)), np.int64)
    offsets = word_offsets(list(accumulators))
    for accumulator, offset in zip(accumulators, offsets, strict=True):
        if accumulator.kind in ("min", "max"):
            out[offset] = GREATEST if accumulator.kind == "min" else LEAST
    return out


def add_wide(a: Words, b: Words) -> Words:
    """Return the sums of 128-bit integers [rows, 2].

    Raises:
        KernelError: one is beyond 128 bits.
    """
    low = a[:, 0].view(np.uint64) + b[:, 0].view(np.uint64)
    carry = (low < a[:, 0].view(np.uint64)).astype(np.int64)
    high = a[:, 1] + b[:, 1] + carry
    if bool((((a[:, 1] ^ high) & (b[:, 1] ^ high)) < 0).any()):
        raise KernelError
    return np.stack([low.view(np.int64), high], axis=1)


def combined(accumulators: Sequence[Accumulator], parts: Sequence[Words]) -> Words:
    """Return records [groups, words] of several threads as one."""
    out = np.array(parts[0])
    offsets = word_offsets(list(accumulators))
    for part in parts[1:]:
        for accumulator, at in zip(accumulators, offsets, strict=True):
            match accumulator.kind:
                case "sum":
                    wide = slice(at, at + 2)
                    out[:, wide] = add_wide(
                        np.ascontiguousarray(out[:, wide]), np.ascontiguousarray(part[:, wide])
                    )
                case "float_sum":
                    total = _doubles(out[:, at]) + _doubles(part[:, at])
                    out[:, at] = total.view(np.int64)
                case "min":
                    out[:, at] = np.minimum(out[:, at], part[:, at])
                case "max":
                    out[:, at] = np.maximum(out[:, at], part[:, at])
                case "count":
                    out[:, at] += part[:, at]
    return out


def _doubles(words: Words) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(words).view(np.float64)


def fold_columns(plan: FoldPlan, records: Words, dictionaries: Dictionaries) -> list[pa.Array[Any]]:
    """Return a column per output, of records [groups, words].

    Raises:
        KernelError: a sum is beyond its type.
    """
    offsets = word_offsets(plan.accumulators)
    return [_column(plan, output, records, offsets, dictionaries) for output in plan.outputs]


def _column(
    plan: FoldPlan, output: Output, records: Words, offsets: list[int], dictionaries: Dictionaries
) -> pa.Array[Any]:
    counts = np.ascontiguousarray(records[:, offsets[output.count]])
    type_, operand = output.fold.type, output.fold.operand
    if operand is None or output.fold.op == "count":
        return to_arrow(counts, None, type_)
    valid = counts > 0
    accumulator, at = plan.accumulators[output.value], offsets[output.value]
    values: Array
    if accumulator.kind == "sum":
        values = np.ascontiguousarray(records[:, at : at + 2])
    elif accumulator.kind == "float_sum":
        values = _doubles(records[:, at])
    else:
        values = np.ascontiguousarray(records[:, at])
        if isinstance(operand.type, Float):
            values = from_order_key(values)
    if output.fold.op == "avg":
        values = _averages(values, counts, operand.type)
    elif output.fold.op == "sum" and not isinstance(type_, Float):
        _check_limits(values, valid, type_)
    return stored_column(values, None if bool(valid.all()) else valid, type_, dictionaries)


def from_order_key(keys: Words) -> npt.NDArray[np.float64]:
    """Return the doubles of sortable keys."""
    return (keys ^ ((keys >> 63) & _SIGN_OFF)).view(np.float64)


def _averages(values: Array, counts: npt.NDArray[np.int64], type_: Type) -> npt.NDArray[np.float64]:
    """Return sums over counts as doubles."""
    sums = wide_integers(values).astype(np.float64) if values.ndim == 2 else values
    with np.errstate(all="ignore"):
        out = sums / np.where(counts > 0, counts, 1)
        return out / 10.0**type_.scale if isinstance(type_, Decimal) else out


def _check_limits(values: Words, valid: npt.NDArray[np.bool_], type_: Type) -> None:
    low, high = limits(type_)
    wide = wide_integers(values)[valid] if _long(values) else np.zeros(0, object)
    if len(wide) and (wide.min() < low or wide.max() > high):
        raise KernelError


def _long(values: Words) -> bool:
    """Say whether some of 128-bit integers need more than 65 bits."""
    return bool(((values[:, 1] != 0) & (values[:, 1] != -1)).any())


def stored_column(
    values: Array, valid: npt.NDArray[np.bool_] | None, type_: Type, dictionaries: Dictionaries
) -> pa.Array[Any]:
    """Return stored values (of any integer width) as Arrow's type of a SQL type."""
    entries = dictionaries.get(type_.dictionary) if isinstance(type_, Code) else None
    machine = physical(type_)
    if isinstance(machine, Int) and machine.bits == 128:
        if values.ndim == 1:
            values = np.stack([values, values >> 63], axis=1)
    elif values.dtype != machine_dtype(machine):
        values = values.astype(machine_dtype(machine))
    return to_arrow(values, valid, type_, entries)
