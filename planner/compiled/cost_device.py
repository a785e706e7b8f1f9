"""What a program costs on a GPU, in seconds, and whether it should run there.

    device = launches + bytes not there / transfer + bytes read / bandwidth + rows of groups x adds

A column that comes to the device for one run costs more than a processor takes to scan it in place:
only columns that are there already, or that stay for later runs, pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foveal.planner.compiled.cost import Machine, loop_bytes, program_seconds
from foveal.planner.ir.program import Group, Program


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """Figures of a device: bytes per second, and seconds.

    `transfer`: from the machine's memory to the device's; the default is half of what PCIe 4.0 x16
    carries, as copies from pageable memory do about that. `bandwidth`: of the device's memory; the
    default is an A100's at half of its data sheet's 1.6 TB/s. `launch`: a kernel with what the host
    does around it. `add`: an atomic addition of one row to one value of its group. The last two are
    assumptions.
    """

    transfer: float = 12e9
    bandwidth: float = 800e9
    launch: float = 30e-6
    add: float = 0.02e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs, and what it would have cost here and there, in seconds."""

    device: bool
    processor_seconds: float
    device_seconds: float


def device_seconds(
    program: Program, rows: Mapping[str, float], missing: int, figures: DeviceFigures
) -> float:
    """Return what a program costs on a device.

    `rows`: of each source. `missing`: bytes of columns that are not on the device.
    """
    total = missing / figures.transfer
    for loop in program.loops:
        n = rows.get(loop.source, 0.0)
        total += 3 * figures.launch + loop_bytes(program, loop, n) / figures.bandwidth
        if isinstance(loop.builder, Group):
            total += n * (1 + 2 * len(loop.builder.fields)) * figures.add
    return total


def place(
    program: Program,
    rows: Mapping[str, float],
    missing: int,
    machine: Machine,
    figures: DeviceFigures,
) -> Place:
    """Return where a program runs: on the device where that is cheaper."""
    here = program_seconds(program, rows, machine)
    there = device_seconds(program, rows, missing, figures)
    return Place(there < here, here, there)
