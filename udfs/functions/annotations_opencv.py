"""How OpenCV's functions split that work on each pixel for itself: by the rows of a picture.

Filters, warps and resizing look at other rows and are not listed.
"""

from __future__ import annotations

from typing import Any

from foveal.udfs.functions.split_types import Aligned, Broadcast, Concat, Rows, Written


def _pixels(sources: str, rest: str = "", *, written: str = "dst") -> dict[str, Any]:
    """Return an annotation: sources cut by rows, the rest given whole, in OpenCV's order."""
    kinds: dict[str, Any] = {name: Rows() for name in sources.split()}
    kinds.update({name: Broadcast() for name in rest.split()})
    kinds[written] = Written()
    return {**kinds, "out": Concat()}


def _ordered(names: str, entry: dict[str, Any]) -> dict[str, Any]:
    order = tuple(names.split())
    return {**{n: s for n, s in entry.items() if n in order}, "out": entry["out"], "names": order}


def _two(names: str) -> dict[str, Any]:
    entry = _pixels("src1", "dtype scale")
    return _ordered(names, {**entry, "src2": Aligned(), "mask": Rows()})


ANNOTATIONS: dict[str, dict[str, Any]] = {
    "add": _two("src1 src2 dst mask dtype"),
    "subtract": _two("src1 src2 dst mask dtype"),
    "multiply": _two("src1 src2 dst scale dtype"),
    "divide": _two("src1 src2 dst scale dtype"),
    "absdiff": _two("src1 src2 dst"),
    "min": _two("src1 src2 dst"),
    "max": _two("src1 src2 dst"),
    "bitwise_and": _two("src1 src2 dst mask"),
    "bitwise_or": _two("src1 src2 dst mask"),
    "bitwise_xor": _two("src1 src2 dst mask"),
    "bitwise_not": _ordered("src dst mask", {**_pixels("src"), "mask": Rows()}),
    "addWeighted": _ordered(
        "src1 alpha src2 beta gamma dst dtype", _pixels("src1 src2", "alpha beta gamma dtype")
    ),
    "convertScaleAbs": _ordered("src dst alpha beta", _pixels("src", "alpha beta")),
    "cvtColor": _ordered("src code dst dstCn", _pixels("src", "code dstCn")),
    "inRange": _ordered("src lowerb upperb dst", _pixels("src", "lowerb upperb")),
    "LUT": _ordered("src lut dst", _pixels("src", "lut")),
    "exp": _ordered("src dst", _pixels("src")),
    "log": _ordered("src dst", _pixels("src")),
    "sqrt": _ordered("src dst", _pixels("src")),
    "pow": _ordered("src power dst", _pixels("src", "power")),
    "transform": _ordered("src m dst", _pixels("src", "m")),
}
