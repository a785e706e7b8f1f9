"""LANGUAGE ir: a function written in the loop language's own text."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.planner.ir.function import IrFunction
from foveal.udfs.functions.sqltypes import SqlType


def from_ir(
    name: str, parameters: Sequence[tuple[str, SqlType]], returns: SqlType, text: str
) -> IrFunction:
    """Return the function whose body is an expression in the loop language.

    The body may begin with `let` lines; parameters are known by their names.

    Raises:
        ValueError: a type that loops have not, or text that is no expression of the result's type.
    """
    from foveal.planner.ir.program_reading import parse_function
    from foveal.planner.ir.text import quoted

    for each, kind in (*parameters, ("the result", returns)):
        if kind.ir is None:
            raise ValueError(f"{each} is {kind.text}, which compiled loops do not have")
    listed = ", ".join(f"{quoted(n)}: {kind.ir}" for n, kind in parameters)
    return parse_function(f"({listed}) -> {returns.ir} = {text.strip()}", name)
