"""Types of the loop language: what a value means in SQL, and how many bytes hold it.

A type is logical. Columns and parameters may be stored narrower than their type (see
`program.Column.storage`): the values are the same, only loads widen them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Bool:
    """BOOLEAN; one byte each in a column."""

    def __str__(self) -> str:
        """Return its written form."""
        return "bool"


@dataclass(frozen=True, slots=True)
class Int:
    """A signed (TINYINT .. HUGEINT) or unsigned (UTINYINT .. UBIGINT) integer of `bits` bits."""

    bits: int
    signed: bool = True

    def __str__(self) -> str:
        """Return its written form."""
        return f"{'i' if self.signed else 'u'}{self.bits}"


@dataclass(frozen=True, slots=True)
class Float:
    """FLOAT (32 bits) or DOUBLE (64)."""

    bits: int

    def __str__(self) -> str:
        """Return its written form."""
        return f"f{self.bits}"


@dataclass(frozen=True, slots=True)
class Decimal:
    """DECIMAL(precision, scale): the integer value * 10**scale."""

    precision: int
    scale: int

    def __str__(self) -> str:
        """Return its written form."""
        return f"decimal({self.precision},{self.scale})"


@dataclass(frozen=True, slots=True)
class Date:
    """DATE: days since 1970-01-01, 32 bits. The extremes mean -infinity and infinity in DuckDB."""

    def __str__(self) -> str:
        """Return its written form."""
        return "date"


@dataclass(frozen=True, slots=True)
class Timestamp:
    """TIMESTAMP: microseconds since 1970-01-01, 64 bits."""

    def __str__(self) -> str:
        """Return its written form."""
        return "timestamp"


@dataclass(frozen=True, slots=True)
class Code:
    """VARCHAR or ENUM as a position in a dictionary: `dictionary` names it within the program.

    Two codes compare only when they name the same dictionary. Entries of a dictionary are distinct;
    order comparisons need one whose entries ascend in the order of the SQL type (byte order for
    VARCHAR, declared order for ENUM): the column store sorts them.
    """

    dictionary: str

    def __str__(self) -> str:
        """Return its written form."""
        return f"code({self.dictionary})"


Type: TypeAlias = Bool | Int | Float | Decimal | Date | Timestamp | Code

BOOL = Bool()
I8, I16, I32, I64, I128 = (Int(bits) for bits in (8, 16, 32, 64, 128))
U8, U16, U32, U64 = (Int(bits, signed=False) for bits in (8, 16, 32, 64))
F32, F64 = Float(32), Float(64)
DATE, TIMESTAMP = Date(), Timestamp()


def physical(type_: Type) -> Bool | Int | Float:
    """Return the machine type of a value: what arithmetic runs in and what an array holds.

    Decimals are I16 to 4 digits, I32 to 9, I64 to 18, else I128, as in DuckDB; codes are I32.
    """
    match type_:
        case Decimal(precision=p):
            return I16 if p <= 4 else I32 if p <= 9 else I64 if p <= 18 else I128
        case Date() | Code():
            return I32
        case Timestamp():
            return I64
        case _:
            return type_


def limits(type_: Type) -> tuple[int, int]:
    """Return the smallest and the greatest stored integer of a type that is held as an integer.

    A decimal's are its digits' (DuckDB raises beyond them), not its machine type's.

    Raises:
        TypeError: of a Float.
    """
    match type_:
        case Float():
            raise TypeError("a float has no integer limits")
        case Bool():
            return 0, 1
        case Decimal(precision=p):
            return -(10**p) + 1, 10**p - 1
        case _:
            machine = physical(type_)
            assert isinstance(machine, Int)
            if machine.signed:
                return -(1 << (machine.bits - 1)), (1 << (machine.bits - 1)) - 1
            return 0, (1 << machine.bits) - 1
