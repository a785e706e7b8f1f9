"""Groups by place or by hash, from the ranges of their keys.

A group whose keys are bounded gets a slot for each combination while they are few enough that
clearing and adding up the slots costs little; others hash.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.planner.ir import program
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.passes.trees import mapped_loops
from foveal.planner.ir.types import Float

DENSE_SLOTS = 1 << 18
"""Combinations of keys up to which each thread has a slot for all of them."""
DENSE_BYTES = 1 << 25
"""Bytes that the slots of a thread may take, at three words for each aggregate."""


def group_strategy(whole: program.Program) -> program.Program:
    """Return the program with keys as bounded as is known, and a strategy where none was chosen."""
    return mapped_loops(whole, _chosen)


def _chosen(loop: program.Loop, inference: Inference) -> program.Loop:
    group = loop.builder
    if not isinstance(group, program.Group):
        return loop
    keys = tuple(_bounded(key, inference) for key in group.keys)
    return replace(
        loop, builder=replace(group, keys=keys, strategy=group.strategy or _strategy(group, keys))
    )


def _bounded(key: program.Key, inference: Inference) -> program.Key:
    """Return a key with the narrowest bounds that are known."""
    facts = inference.facts(key.expr)
    if isinstance(key.expr.type, Float):
        return replace(key, nullable=key.nullable and facts.nullable)
    low, high = facts.interval
    if key.low is not None:
        low = max(low, key.low)
    if key.high is not None:
        high = min(high, key.high)
    if low > high:
        return key
    return replace(key, nullable=key.nullable and facts.nullable, low=low, high=high)


def _strategy(group: program.Group, keys: tuple[program.Key, ...]) -> str:
    slots = 1
    for key in keys:
        if key.low is None or key.high is None:
            return "hash"
        slots *= key.high - key.low + 1 + key.nullable
    size = slots * 8 * (1 + 3 * len(group.fields))
    return "dense" if slots <= DENSE_SLOTS and size <= DENSE_BYTES else "hash"
