"""The detector's options of CREATE VIDEO TABLE ... WITH (...) in, one checked `Options` out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.errors import DataError
from foveal.udfs.detectors.family import Size
from foveal.udfs.detectors.picture import Order

Value = str | int | float | bool

MEANINGS: Mapping[str, str] = {
    "confidence": "least score of a stored object, 0 to 1; each family has its own default",
    "iou": "overlap above which the lesser of two boxes of a class is dropped, 0 to 1",
    "family": "how the file's outputs are read, where they do not tell",
    "classes": "a file with one class name per line, or the names, comma-separated",
    "input": "the network's input size: 416, or '640x384' (width x height)",
    "slices": "look at n x n overlapping tiles as well as at the whole picture; 0 does not",
    "order": "colour order of the input, 'rgb' or 'bgr', where the family's own does not hold",
    "mean": "what is taken off a pixel of 0..255: one number, or three, comma-separated",
    "std": "what the difference is divided by: one number, or three, comma-separated",
}
"""Every option that a detector takes, with its meaning."""

MAX_SLICES = 8


@dataclass(frozen=True, slots=True)
class Options:
    """The options as given; None leaves it to the file or the family."""

    confidence: float | None = None
    iou: float = 0.45
    family: str | None = None
    classes: tuple[str, ...] | None = None
    input: Size | None = None
    slices: int = 0
    order: Order | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def _bad(name: str, value: object, hint: str) -> DataError:
    return DataError(f'invalid value for {name}: "{value}"', sqlstate="22023", hint=hint)


def _fraction(name: str, value: Value) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0.0 < number < 1.0:
        raise _bad(name, value, "give a number between 0 and 1")
    return number


def _size(value: Value) -> Size:
    match = re.fullmatch(r"(\d{1,5})(?:\s*[xX]\s*(\d{1,5}))?", str(value).strip())
    if match:
        width = int(match[1])
        height = int(match[2] or match[1])
        if 16 <= width <= 8192 and 16 <= height <= 8192:
            return Size(height, width)
    raise _bad("input", value, "give a size in pixels, as 640 or '640x384' (width x height)")


def _triple(name: str, value: Value) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in str(value).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or (name == "std" and 0.0 in numbers):
        raise _bad(name, value, "give one number, or three as '123.7,116.3,103.5'")
    return (numbers[0], numbers[1], numbers[2])


def _names(value: Value, resolve: Callable[[str], Path]) -> tuple[str, ...]:
    text = str(value).strip()
    path = Path(text).expanduser()
    if "," in text:
        names = [part.strip() for part in text.split(",")]
    elif path.suffix or path.is_file():
        path = path if path.is_file() else resolve(text)
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f'class names "{path}" cannot be read', sqlstate="22023", detail=str(error)
            ) from error
        while names and not names[-1]:
            names.pop()
    else:
        names = [text]
    if not names or not all(names):
        raise _bad("classes", value, MEANINGS["classes"])
    return tuple(names)


def parse(options: Mapping[str, Value], resolve: Callable[[str], Path]) -> Options:
    """Return the checked options; names that are no detector option are left to the caller.

    Raises:
        DataError: 22023, a value does not fit.
    """
    slices = options.get("slices", 0)
    if isinstance(slices, bool) or str(slices) not in {str(n) for n in range(MAX_SLICES + 1)}:
        raise _bad("slices", slices, f"give a whole number from 0 to {MAX_SLICES}")
    order = str(options["order"]).lower() if "order" in options else None
    if order not in (None, "rgb", "bgr"):
        raise _bad("order", options["order"], "choose one of rgb, bgr")
    return Options(
        confidence=_fraction("confidence", options["confidence"])
        if "confidence" in options
        else None,
        iou=_fraction("iou", options.get("iou", 0.45)),
        family=str(options["family"]).lower() if "family" in options else None,
        classes=_names(options["classes"], resolve) if "classes" in options else None,
        input=_size(options["input"]) if "input" in options else None,
        slices=int(slices),
        order=order,
        mean=_triple("mean", options["mean"]) if "mean" in options else None,
        std=_triple("std", options["std"]) if "std" in options else None,
    )
