"""Arguments of compiled loops: addresses of columns, tables and outputs, and scalars as bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from foveal.engine.compile.arrow import machine_dtype
from foveal.engine.compile.data import Array, Inputs
from foveal.engine.compile.llvm.layout import Layout, Slot
from foveal.planner.ir.program import Loop, Program
from foveal.planner.ir.types import Code, Float, Type

ALIGNMENT = 64


@dataclass(frozen=True, slots=True, eq=False)
class BoundTable:
    """A table in memory: at least one entry, `size` of them real; a byte each in `valid`."""

    values: Array
    valid: npt.NDArray[np.uint8] | None
    size: int


@dataclass(slots=True, eq=False)
class Arguments:
    """The slots of one loop, and the arrays that they point into."""

    words: npt.NDArray[np.int64]
    alive: list[Array] = field(default_factory=list[Array])


def aligned(words: int) -> npt.NDArray[np.int64]:
    """Return zeros that begin on a cache line, and end on one."""
    padded = -(-max(words, 1) // 8) * 8
    raw = np.zeros(padded + ALIGNMENT // 8, np.int64)
    skip = (-raw.ctypes.data % ALIGNMENT) // 8
    return raw[skip : skip + padded]


def bits(value: bool | int | float | None, type_: Type) -> tuple[int, int]:
    """Return a scalar as two signed 64-bit words, the low one first."""
    if value is None:
        return 0, 0
    if isinstance(type_, Float):
        if type_.bits == 32:
            return struct.unpack("<i", struct.pack("<f", value))[0], 0
        return struct.unpack("<q", struct.pack("<d", value))[0], 0
    wide = int(value)
    low = wide & ((1 << 64) - 1)
    return low - (1 << 64) if low >> 63 else low, (wide >> 64) if wide >= -(1 << 127) else 0


def bind(
    loop: Loop,
    layout: Layout,
    inputs: Inputs,
    tables: dict[str, BoundTable],
    outs: list[Array],
) -> Arguments:
    """Return the arguments of a loop.

    Raises:
        ValueError: a column is not as the program says it is.
    """
    bound = Arguments(np.zeros(max(len(layout.slots), 1), np.int64))
    for place, slot in enumerate(layout.slots):
        value = _value(slot, loop, layout, inputs, tables, outs)
        if isinstance(value, int):
            bound.words[place] = value
        else:
            bound.alive.append(value)
            bound.words[place] = value.ctypes.data
    return bound


def _value(
    slot: Slot,
    loop: Loop,
    layout: Layout,
    inputs: Inputs,
    tables: dict[str, BoundTable],
    outs: list[Array],
) -> int | Array:
    """Return what a slot holds: a number, or the array that it points to."""
    source = inputs.sources[loop.source]
    match slot.role:
        case "column":
            data = source.columns[slot.name]
            declared = layout.columns[slot.name]
            if data.validity is not None and not declared.nullable:
                raise ValueError(f"column {slot.name} has NULLs, which the program excludes")
            if not data.values.flags.c_contiguous or data.rows < source.rows:
                raise ValueError(f"column {slot.name} is not a buffer of {source.rows} rows")
            if data.values.dtype != machine_dtype(declared.storage):
                raise ValueError(f"column {slot.name} is not stored as {declared.storage}")
            return data.values
        case "validity":
            validity = source.columns[slot.name].validity
            if validity is not None and len(validity) < -(-source.rows // 64) * 8:
                raise ValueError(f"the validity of column {slot.name} is not of whole words")
            return 0 if validity is None else validity
        case "scalar" | "scalar_high":
            words = bits(inputs.scalars[slot.name], layout.scalars[slot.name].type)
            return words[0 if slot.role == "scalar" else 1]
        case "scalar_valid":
            return int(inputs.scalars[slot.name] is not None)
        case "table":
            return tables[slot.name].values
        case "table_valid":
            valid = tables[slot.name].valid
            return np.ones(len(tables[slot.name].values), np.uint8) if valid is None else valid
        case "table_size":
            return tables[slot.name].size
        case "out":
            return outs[slot.number]
        case "model":
            arrays, declared = inputs.models[slot.name].arrays, layout.models[slot.name]
            if inputs.models[slot.name].kind != declared.kind:
                raise ValueError(f"model {slot.name} is not of the kind {declared.kind}")
            if not arrays[slot.number].flags.c_contiguous:
                raise ValueError(f"model {slot.name} is not of contiguous arrays")
            return arrays[slot.number]


def bound_table(inputs: Inputs, name: str) -> BoundTable:
    """Return a table parameter, with a zero where it has no entry: place 0 is always read."""
    given = inputs.tables[name]
    size = len(given.values)
    values = given.values if size else np.zeros((1, *given.values.shape[1:]), given.values.dtype)
    valid = None
    if given.valid is not None:
        valid = np.ascontiguousarray(given.valid).view(np.uint8)
    return BoundTable(np.ascontiguousarray(values), valid if size else None, size)


def dictionaries_of(program: Program, inputs: Inputs) -> dict[str, pa.Array[Any]]:
    """Return the entries of dictionaries by the names that the program's types give them."""
    out: dict[str, pa.Array[Any]] = {}
    for source in program.sources:
        for declared in source.columns:
            entries = inputs.sources[source.name].columns[declared.name].dictionary
            if isinstance(declared.type, Code) and entries is not None:
                out[declared.type.dictionary] = entries
    for table in program.tables:
        entries = inputs.tables[table.name].dictionary
        if isinstance(table.type, Code) and entries is not None:
            out[table.type.dictionary] = entries
    return out
