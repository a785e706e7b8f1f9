"""Universal Binary JSON, as XGBoost writes it: values and strongly typed arrays.

Source: Universal Binary JSON specification, draft 12 (ubjson.org). Numbers are big-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foveal.udfs.scoring.model import broken

MAX_DEPTH = 64
_NUMBERS = {
    b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8",
}  # fmt: skip


def read_ubjson(data: bytes) -> Any:
    """Return the value that the bytes hold: dict, list, str, int, float, bool or None.

    Typed arrays come as lists too.

    Raises:
        DataError: 22023: it is not Universal Binary JSON.
    """
    return _Reader(data).value(0)


class _Reader:
    """A place in the bytes."""

    def __init__(self, data: bytes) -> None:
        """Begin at the first byte."""
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise broken("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def marker(self) -> bytes:
        """Return the next marker that means something."""
        while (found := self.take(1)) == b"N":
            pass
        return found

    def number(self, marker: bytes) -> Any:
        """Return one number of a type."""
        if marker not in _NUMBERS:
            raise broken(f"marker {marker!r} is no number's")
        type_ = np.dtype(_NUMBERS[marker])
        return np.frombuffer(self.take(type_.itemsize), type_)[0].item()

    def length(self) -> int:
        """Return a length."""
        found = self.number(self.marker())
        if not isinstance(found, int) or not 0 <= found <= len(self.data):
            raise broken(f"a length of {found}")
        return found

    def text(self) -> str:
        """Return a text after its length."""
        try:
            return self.take(self.length()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise broken(str(error)) from error

    def value(self, depth: int, marker: bytes | None = None) -> Any:
        """Return the next value."""
        if depth > MAX_DEPTH:
            raise broken("values nested too deeply")
        marker = marker or self.marker()
        match marker:
            case b"{":
                return self.mapping(depth)
            case b"[":
                return self.sequence(depth)
            case b"S" | b"H":
                return self.text()
            case b"C":
                return self.take(1).decode("latin-1")
            case b"T" | b"F":
                return marker == b"T"
            case b"Z":
                return None
            case _:
                return self.number(marker)

    def head(self) -> tuple[bytes | None, int | None]:
        """Return a container's type of elements and its count, where it says so."""
        type_: bytes | None = None
        if self.data[self.at : self.at + 1] == b"$":
            self.take(1)
            type_ = self.take(1)
        if self.data[self.at : self.at + 1] == b"#":
            self.take(1)
            return type_, self.length()
        if type_ is not None:
            raise broken("a typed container without a count")
        return None, None

    def sequence(self, depth: int) -> list[Any]:
        """Return the elements of an array."""
        type_, count = self.head()
        if type_ in _NUMBERS and count is not None:
            dtype = np.dtype(_NUMBERS[type_])
            return np.frombuffer(self.take(dtype.itemsize * count), dtype).tolist()
        out: list[Any] = []
        while count is None or len(out) < count:
            marker = type_ or self.marker()
            if count is None and marker == b"]":
                break
            out.append(self.value(depth + 1, marker))
        return out

    def mapping(self, depth: int) -> dict[str, Any]:
        """Return the entries of an object."""
        type_, count = self.head()
        out: dict[str, Any] = {}
        read = 0
        while count is None or read < count:
            if count is None and self.data[self.at : self.at + 1] == b"}":
                self.take(1)
                break
            key = self.text()
            out[key] = self.value(depth + 1, type_)
            read += 1
        return out
