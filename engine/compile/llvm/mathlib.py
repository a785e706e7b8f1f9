"""Which function of doubles each mathematical operator calls."""

from __future__ import annotations

from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.text import Function, Value


def call_unary(f: Function, op: str, x: Value) -> Value:
    """Call the function of an operator of one double."""
    raise Unsupported(op)


def call_binary(f: Function, op: str, x: Value, y: Value) -> Value:
    """Call the function of an operator of two doubles."""
    raise Unsupported(op)
