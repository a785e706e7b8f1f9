"""Formulas of doubles as code: operators of Python write instructions, for the functions of maths.

All is straight-line, so that loops which call these functions are vectorised once they are inlined.
Fused multiply-adds are written out: the results are the same at every level of optimisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.engine.compile.llvm.text import Function, Value, integer, number

LN2_HIGH, LN2_LOW = 6.93147180559945286227e-01, 2.31904681384629955842e-17
LN2_SHORT, LN2_REST = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""log(2) with 32 trailing zeros, so that products with exponents are exact; and the rest."""
INV_LN2, INV_LN2_LOW = 1.44269504088896338700e00, 2.03552737409310331300e-17
INFINITY, NAN = float("inf"), float("nan")


@dataclass(frozen=True, slots=True)
class D:
    """A double in a function being written."""

    f: Function
    value: Value

    def _other(self, other: D | float) -> Value:
        return other.value if isinstance(other, D) else number(other)

    def _op(self, op: str, left: Value, right: Value) -> D:
        return D(self.f, self.f.op(op, left, right))

    def __add__(self, other: D | float) -> D:
        """Return a sum."""
        return self._op("fadd", self.value, self._other(other))

    def __sub__(self, other: D | float) -> D:
        """Return a difference."""
        return self._op("fsub", self.value, self._other(other))

    def __rsub__(self, other: float) -> D:
        """Return a difference from a constant."""
        return self._op("fsub", number(other), self.value)

    def __mul__(self, other: D | float) -> D:
        """Return a product."""
        return self._op("fmul", self.value, self._other(other))

    def __truediv__(self, other: D | float) -> D:
        """Return a quotient."""
        return self._op("fdiv", self.value, self._other(other))

    def __rtruediv__(self, other: float) -> D:
        """Return a quotient of a constant."""
        return self._op("fdiv", number(other), self.value)

    def __neg__(self) -> D:
        """Return the negation."""
        return D(self.f, self.f.emit("double", f"fneg {self.value}"))

    __radd__, __rmul__ = __add__, __mul__

    def is_(self, predicate: str, other: D | float) -> Value:
        """Return a comparison: an fcmp predicate."""
        return self.f.compare(predicate, self.value, self._other(other))

    def bits(self) -> Value:
        """Return the bits as i64."""
        return self.f.convert("bitcast", self.value, "i64")


def argument(f: Function, name: str = "x") -> D:
    """Return a parameter of the function."""
    return D(f, f.parameters[name])


def of_bits(f: Function, bits: Value) -> D:
    """Return the double of some bits."""
    return D(f, f.convert("bitcast", bits, "double"))


def call(name: str, *arguments: D) -> D:
    """Call an intrinsic of doubles."""
    f = arguments[0].f
    return D(f, f.call("double", f"llvm.{name}.f64", *(a.value for a in arguments)))


def fma(a: D, b: D | float, c: D | float) -> D:
    """Return a * b + c, rounded once."""
    return call("fma", a, as_double(a.f, b), as_double(a.f, c))


def as_double(f: Function, x: D | float) -> D:
    """Return a constant as a double of the function."""
    return x if isinstance(x, D) else D(f, number(x))


def choose(condition: Value, yes: D | float, no: D | float) -> D:
    """Return one of two doubles, of which at least one is no constant."""
    f = yes.f if isinstance(yes, D) else no.f if isinstance(no, D) else None
    assert f is not None
    return D(f, f.select(condition, as_double(f, yes).value, as_double(f, no).value))


def magnitude(x: D) -> D:
    """Return |x|."""
    return call("fabs", x)


def signed_as(x: D, sign: D) -> D:
    """Return |x| with another's sign."""
    return call("copysign", x, sign)


def polynomial(x: D, coefficients: Sequence[float]) -> D:
    """Return c0 + c1 x + c2 x**2 + .. by Horner's rule."""
    out = as_double(x.f, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = fma(out, x, c)
    return out


def whole(x: D) -> Value:
    """Return a double that holds a small integer as i64; of NaN 0."""
    f = x.f
    sane = choose(x.is_("ord", 0.0), x, 0.0)
    # By way of 32 bits: few processors convert vectors of doubles to 64 bits.
    return f.resize(f.emit("i32", f"fptosi {sane.value} to i32"), "i64")


def from_whole(f: Function, value: Value) -> D:
    """Return a small integer (i64) as a double."""
    return D(f, f.emit("double", f"sitofp {f.resize(value, 'i32')} to double"))


def power_of_two(f: Function, exponent: Value) -> D:
    """Return 2**exponent for -1022 <= exponent <= 1023, as i64."""
    return of_bits(f, f.op("shl", f.op("add", exponent, integer(1023)), integer(52)))


def scaled(x: D, exponent: Value) -> D:
    """Return x * 2**exponent for exponents of -2000 to 2000, rounded once."""
    f = x.f
    half = f.op("ashr", exponent, integer(1))
    return x * power_of_two(f, half) * power_of_two(f, f.op("sub", exponent, half))


# --- sums and products in two doubles -----------------------------------------------------------


def two_sum(a: D, b: D | float) -> tuple[D, D]:
    """Return a + b and its rounding error (Knuth)."""
    other = as_double(a.f, b)
    total = a + other
    part = total - a
    return total, (a - (total - part)) + (other - part)


def two_product(a: D, b: D | float) -> tuple[D, D]:
    """Return a * b and its rounding error."""
    product = a * b
    return product, fma(a, b, -product)


def define(name: str, parameters: str = "x") -> Function:
    """Open a function of doubles."""
    listed = [("double", p) for p in parameters.split()]
    return Function(name, "double", listed, "alwaysinline nounwind", "internal")
