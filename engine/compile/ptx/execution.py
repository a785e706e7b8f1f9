"""One run of one program on a device: arguments bound, kernels launched, results read back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from foveal.engine.compile.data import Array, Inputs, KernelError
from foveal.engine.compile.llvm.accumulators import MORSEL_ROWS
from foveal.engine.compile.llvm.layout import Slot, storage_type
from foveal.engine.compile.llvm.tables import TableCode
from foveal.engine.compile.llvm.text import alignment
from foveal.engine.compile.ptx.libcuda import Device
from foveal.engine.compile.ptx.planning import GridPlan
from foveal.engine.compile.ptx.residency import Residency
from foveal.engine.compile.ptx.states import BlockTable, ThreadFolds
from foveal.engine.compile.ptx.target import MAX_THREADS
from foveal.engine.compile.runtime_binding import bits, bound_table, dictionaries_of
from foveal.engine.compile.runtime_builders import folds_table
from foveal.engine.compile.runtime_groups import dense_table
from foveal.engine.compile.runtime_threads import message_of
from foveal.planner.ir.program import Program, Scatter
from foveal.planner.ir.types import physical
from foveal.planner.protocols import CancelCheck

THREADS = MAX_THREADS
BLOCKS_PER_MULTIPROCESSOR = 8
"""Blocks of `THREADS` that fill a multiprocessor: 2,048 threads."""
SLICE_ROWS = 1 << 26
"""Rows of one launch: milliseconds, between which the user may cancel."""
TABLE_BYTES = 1 << 26
"""Bytes of the tables that blocks group into, all together."""
FAN_IN = 16
"""Records that one launch of `merge` makes one of."""


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """A lookup table on the device; `valid` 0: all entries are."""

    values: int
    valid: int
    size: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks and threads of a launch."""

    blocks: int
    threads: int = THREADS


class Execution:
    """Runs the loops of one program in order. Memory lives as long as `held`."""

    def __init__(
        self,
        device: Device,
        columns: Residency,
        plans: list[GridPlan],
        kernels: Mapping[str, int],
        held: ExitStack,
        check: CancelCheck,
    ) -> None:
        """Take the device, and kernels by name."""
        self._device, self._columns, self._held = device, columns, held
        self._plans, self._kernels, self._check = plans, kernels, check
        self._tables: dict[str, DeviceTable] = {}
        self._most_blocks = max(device.multiprocessors, 1) * BLOCKS_PER_MULTIPROCESSOR

    def run(self, program: Program, inputs: Inputs) -> dict[str, pa.Table]:
        """Return the tables of loops that fold, by name.

        Raises:
            KernelError: an operation raised for a row that reached it.
            QueryCanceled: the check raised it; the device is idle by then.
            DeviceError: the device refused something.
        """
        for table in program.tables:
            bound = bound_table(inputs, table.name)
            valid = None if not table.nullable else bound.valid
            flags = np.ones(len(bound.values), np.uint8) if valid is None else valid
            self._tables[table.name] = DeviceTable(
                self._copied(bound.values), self._copied(flags) if table.nullable else 0, bound.size
            )
        dictionaries = dictionaries_of(program, inputs)
        made: dict[str, pa.Table] = {}
        for number, plan in enumerate(self._plans):
            found = self._loop(number, plan, inputs, dictionaries)
            if found is not None:
                made[plan.loop.into] = found
        return made

    def _loop(
        self, number: int, plan: GridPlan, inputs: Inputs, dictionaries: Mapping[str, Any]
    ) -> pa.Table | None:
        """Run one loop; return its rows, or keep its table for later ones."""
        rows = inputs.sources[plan.loop.source].rows
        grid = Grid(max(1, min(-(-rows // THREADS), self._most_blocks)))
        errors = self._zeros(8)
        outs = self._outs(plan)
        copies, items = 0, 1
        match plan.code:
            case ThreadFolds():
                copies, words = grid.blocks * grid.threads, plan.code.state_words
            case BlockTable():
                items, words = plan.code.slots + 1, plan.code.record_words
                copies = max(1, min(grid.blocks, TABLE_BYTES // (8 * plan.code.state_words)))
            case _:
                words = 0
        state = self._lent(8 * copies * items * words) if words else 0
        if words:
            self._launch(f"clear_{number}", grid, [state, copies * items])
        arguments = self._bound(plan, inputs, outs, rows)
        step = min(SLICE_ROWS, grid.blocks * grid.threads * MORSEL_ROWS)
        for start in range(0, rows, step):
            self._check()
            end = min(start + step, rows)
            self._launch(f"loop_{number}", grid, [*arguments, start, end, state, copies, errors])
            self._finish(errors)
        if not words:
            self._keep(plan, outs)
            return None
        records = self._merged(number, state, copies, items, words, errors)
        if isinstance(plan.code, BlockTable):
            return dense_table(plan.code, records[:-1], dictionaries)
        assert isinstance(plan.code, ThreadFolds)
        return folds_table(plan.code, records, dictionaries)

    def _finish(self, errors: int) -> None:
        """Wait for the kernels before.

        Raises:
            KernelError: one of them said that a row raised.
        """
        mask = np.zeros(1, np.int64)
        self._device.download(mask, errors)
        if mask[0]:
            raise KernelError(message_of(int(mask[0])))

    def _merged(
        self, number: int, state: int, copies: int, items: int, words: int, errors: int
    ) -> Array:
        """Return the records [items, words] that all copies together make."""
        while copies > 1:
            fewer = -(-copies // FAN_IN)
            target = fewer * items
            grid = Grid(-(-target // THREADS))
            self._launch(f"merge_{number}", grid, [state, copies * items, target, errors])
            copies = fewer
        self._finish(errors)
        records = np.empty((items, words), np.int64)
        self._device.download(records, state)
        return records

    def _launch(self, name: str, grid: Grid, words: list[int]) -> None:
        self._device.launch(self._kernels[name], grid.blocks, grid.threads, words)

    # --- memory ---

    def _lent(self, nbytes: int) -> int:
        return self._held.enter_context(self._columns.scratch(nbytes))

    def _zeros(self, nbytes: int) -> int:
        address = self._lent(nbytes)
        self._device.fill(address, 0, nbytes)
        return address

    def _copied(self, array: Array) -> int:
        """Return a copy for this run alone."""
        array = np.ascontiguousarray(array)
        address = self._lent(array.nbytes)
        self._device.upload(address, array)
        return address

    def _resident(self, array: Array) -> int:
        """Return the copy of a column's array, which stays for later runs."""
        address = self._columns.address(array)
        self._held.callback(self._columns.release, array)
        return address

    # --- arguments ---

    def _outs(self, plan: GridPlan) -> list[int]:
        """Return the tables that a loop writes, with nothing in them."""
        if not isinstance(plan.code, TableCode):
            return []
        size = _padded(plan.code.size)  # bytes are exchanged by words of four
        if not isinstance(plan.code.builder, Scatter):
            return [self._zeros(size)]
        stored = storage_type(physical(plan.code.builder.value.type))
        width = 16 if stored == "i128" else alignment(stored)
        return [self._zeros(size * width), self._zeros(size)]

    def _keep(self, plan: GridPlan, outs: list[int]) -> None:
        """Keep a table for later loops. A byte is 1 where an entry is valid, as lookups want."""
        assert isinstance(plan.code, TableCode)
        valid = outs[1] if len(outs) > 1 else 0
        self._tables[plan.loop.into] = DeviceTable(outs[0], valid, plan.code.size)

    def _bound(self, plan: GridPlan, inputs: Inputs, outs: list[int], rows: int) -> list[int]:
        """Return a kernel's parameters before those of every loop."""
        return [self._value(slot, plan, inputs, outs, rows) for slot in plan.layout.slots]

    def _value(self, slot: Slot, plan: GridPlan, inputs: Inputs, outs: list[int], rows: int) -> int:
        columns = inputs.sources[plan.loop.source].columns
        match slot.role:
            case "column":
                data, declared = columns[slot.name], plan.layout.columns[slot.name]
                if data.validity is not None and not declared.nullable:
                    raise ValueError(f"column {slot.name} has NULLs, which the program excludes")
                if not data.values.flags.c_contiguous or data.rows < rows:
                    raise ValueError(f"column {slot.name} is not a buffer of {rows} rows")
                return self._resident(data.values)
            case "validity":
                validity = columns[slot.name].validity
                if validity is not None:
                    return self._resident(validity)
                ones = self._lent(-(-rows // 8))
                self._device.fill(ones, 0xFF, -(-rows // 8))
                return ones
            case "scalar" | "scalar_high":
                words = bits(inputs.scalars[slot.name], plan.layout.scalars[slot.name].type)
                return words[0 if slot.role == "scalar" else 1]
            case "scalar_valid":
                return int(inputs.scalars[slot.name] is not None)
            case "table":
                return self._tables[slot.name].values
            case "table_valid":
                return self._tables[slot.name].valid
            case "table_size":
                return self._tables[slot.name].size
            case "out":
                return outs[slot.number]
            case "model":
                raise AssertionError("models have no kernels here")


def _padded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // 8) * 8
