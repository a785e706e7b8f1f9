"""Sines, tangents and their inverses; kernels and inverses after fdlibm (k_sin.c, s_atan.c, ..).

Arguments are reduced by pi/2 in three parts where that is exact, beyond by the bits of 2/pi that
matter (Payne and Hanek, 1983), without a branch.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.math_doubles import (
    INFINITY,
    NAN,
    D,
    argument,
    as_double,
    call,
    choose,
    define,
    fma,
    magnitude,
    of_bits,
    polynomial,
    signed_as,
    two_product,
    two_sum,
    whole,
)
from foveal.engine.compile.llvm.text import Function, Value, integer

_SIN = [
    -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
    2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10,
]  # fmt: skip
_COS = [
    4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
    -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11,
]  # fmt: skip
_ATAN = [
    3.33333333333329318027e-01, -1.99999999998764832476e-01, 1.42857142725034663711e-01,
    -1.11111104054623557880e-01, 9.09088713343650656196e-02, -7.69187620504482999495e-02,
    6.66107313738753120669e-02, -5.83357013379057348645e-02, 4.97687799461593236017e-02,
    -3.65315727442169155270e-02, 1.62858201153657823623e-02,
]  # fmt: skip
_ASIN_P = [
    1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01,
    -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05,
]  # fmt: skip
_ASIN_Q = [
    1.0, -2.40339491173441421878e00, 2.02094576023350569471e00,
    -6.88283971605453293030e-01, 7.70381505559019352791e-02,
]  # fmt: skip
_ATAN_BASE = [
    (4.63647609000806093515e-01, 2.26987774529616870924e-17),  # atan(0.5)
    (7.85398163397448278999e-01, 3.06161699786838301793e-17),  # atan(1)
    (9.82793723247329054082e-01, 1.39033110312309984516e-17),  # atan(1.5)
    (1.57079632679489655800e00, 6.12323399573676603587e-17),  # atan(inf)
]
PI_HALF, PI_HALF_LOW = _ATAN_BASE[3]
PI_HALF_LOWEST = -1.4973849048591833e-33
_TWO_OVER_PI = 6.36619772367581382433e-01
_SMALL = float(1 << 26)
"""Up to here multiples of pi/2 in three parts are exact enough."""
_CHUNK = 48
_WORDS = 20


def _two_over_pi_bits() -> str:
    """Return 2/pi as a table of words, the highest first, as a global of the module."""
    bits = 64 * _WORDS
    extra = bits + 64

    def arctan_inverse(x: int) -> int:
        term, total, k = (1 << extra) // x, 0, 0
        while term:
            total += -(term // (2 * k + 1)) if k % 2 else term // (2 * k + 1)
            term //= x * x
            k += 1
        return total

    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))  # Machin
    scaled = (2 << (extra + bits)) // pi
    words = [(scaled >> (64 * (_WORDS - 1 - k))) & ((1 << 64) - 1) for k in range(_WORDS)]
    listed = ", ".join(f"i64 {word}" for word in words)
    return f"@math_two_over_pi = internal constant [{_WORDS} x i64] [{listed}]"


def _reduce(x: D) -> tuple[Value, D, D]:
    """Return n mod 4 (i64) and x - n pi/2 as two doubles, at most pi/4 or so in size."""
    f = x.f
    near = magnitude(x).is_("ole", _SMALL)
    held = choose(near, x, 0.0)
    n = call("rint", held * _TWO_OVER_PI)
    # fma gives n pi/2 off exactly where the terms are near each other.
    a = fma(n, -PI_HALF, held)
    product, lost = two_product(n, PI_HALF_LOW)
    high, low = two_sum(a, -product)
    low = low - lost - n * PI_HALF_LOWEST
    far_n, far_high, far_low = _reduce_far(choose(near, 1.0, x))
    quadrant = f.op("and", f.select(near, whole(n), far_n), integer(3))
    high, low = choose(near, high, far_high), choose(near, low, far_low)
    total = high + low
    return quadrant, total, low - (total - high)


def _reduce_far(x: D) -> tuple[Value, D, D]:
    """Return the same by the bits of 2/pi: x = m 2**e, and only m (2**e 2/pi mod 4) matters."""
    f = x.f
    f.globals.add(_two_over_pi_bits())
    table = Value("@math_two_over_pi", "ptr")
    bits = f.op("and", x.bits(), integer((1 << 63) - 1))
    exponent = f.op("lshr", bits, integer(52))
    # Not finite: any place of the table will do, the result is NaN.
    sane = f.compare("ult", exponent, integer(2047))
    exponent = f.select(sane, exponent, integer(1075))
    e = f.op("sub", exponent, integer(1075))
    mantissa = f.op("and", bits, integer((1 << 52) - 1))
    m_bits = f.op("or", mantissa, integer(1 << 52))
    m = D(f, f.emit("double", f"uitofp {m_bits} to double"))
    # 2/pi 2**e mod 4: the bits from weight 2 on, so from bit e - 2 of the fraction.
    first = f.op("sub", e, integer(2))
    before = f.compare("slt", first, integer(0))
    shift = f.select(before, f.op("sub", integer(0), first), integer(0))
    start = f.select(before, integer(0), first)
    total, rest = as_double(f, 0.0), as_double(f, 0.0)
    quarter = as_double(f, 0.0)
    for part in range(4):
        at = f.op("add", start, integer(_CHUNK * part))
        place, offset = f.op("lshr", at, integer(6)), f.op("and", at, integer(63))
        one = f.load("i64", f.at(table, "i64", place))
        two = f.load("i64", f.at(table, "i64", f.op("add", place, integer(1))))
        window = f.call("i64", "llvm.fshl.i64", one, two, offset)
        chunk = f.op("lshr", window, integer(64 - _CHUNK))
        weight = of_bits(
            f,
            f.op(
                "shl",
                f.op("sub", integer(1023 + 2 - _CHUNK * (part + 1)), shift),
                integer(52),
            ),
        )
        c = D(f, f.emit("double", f"uitofp {chunk} to double")) * weight
        product, lost = two_product(m, c)
        for term in (product, lost):
            # Whole quarters of a turn are taken off, exactly, before anything is added.
            turns = call("rint", term)
            quarter = quarter + (turns - call("trunc", turns * 0.25) * 4.0)
            total, error = two_sum(total, term - turns)
            rest = rest + error
    turns = call("rint", total)
    quarter = quarter + turns
    high, low = two_sum(total - turns, rest)
    negative = f.compare("slt", x.bits(), integer(0))
    angle, lost = two_product(high, PI_HALF)
    lost = lost + (low * PI_HALF + high * PI_HALF_LOW)
    n = whole(quarter)
    n = f.select(negative, f.op("sub", integer(0), n), n)
    angle, lost = choose(negative, -angle, angle), choose(negative, -lost, lost)
    return n, choose(sane, angle, NAN), lost


def _sine(x: D, low: D) -> D:
    """Return sin(x + low), |x| <= pi/4 (k_sin.c)."""
    z = x * x
    v = z * x
    r = polynomial(z, _SIN[1:])
    return x - ((z * (low * 0.5 - v * r) - low) - v * _SIN[0])


def _cosine(x: D, low: D) -> D:
    """Return cos(x + low), |x| <= pi/4 (k_cos.c)."""
    z = x * x
    r = polynomial(z, _COS) * z
    half = z * 0.5
    w = 1.0 - half
    return w + (((1.0 - w) - half) + (z * r - x * low))


def _odd(f: Function, quadrant: Value) -> Value:
    return f.compare("ne", f.op("and", quadrant, integer(1)), integer(0))


def _flip(x: D, quadrant: Value) -> D:
    """Return x, negated in quadrants 2 and 3."""
    f = x.f
    sign = f.op("shl", f.op("lshr", quadrant, integer(1)), integer(63))
    return of_bits(f, f.op("xor", x.bits(), sign))


def sin() -> Function:
    """Return the sine."""
    f = define("math_sin")
    x = argument(f)
    quadrant, r, low = _reduce(x)
    out = _flip(choose(_odd(f, quadrant), _cosine(r, low), _sine(r, low)), quadrant)
    f.ret(choose(x.is_("oeq", 0.0), x, out).value)
    return f


def cos() -> Function:
    """Return the cosine."""
    f = define("math_cos")
    quadrant, r, low = _reduce(argument(f))
    odd = _odd(f, quadrant)
    shifted = f.op("and", f.op("add", quadrant, integer(1)), integer(3))
    f.ret(_flip(choose(odd, _sine(r, low), _cosine(r, low)), shifted).value)
    return f


def tan() -> Function:
    """Return the tangent."""
    f = define("math_tan")
    x = argument(f)
    quadrant, r, low = _reduce(x)
    s, c = _sine(r, low), _cosine(r, low)
    odd = _odd(f, quadrant)
    out = choose(odd, -c, s) / choose(odd, s, c)
    f.ret(choose(x.is_("oeq", 0.0), x, out).value)
    return f


# --- inverses -----------------------------------------------------------------------------------


def _atan(x: D) -> D:
    """Return the arc tangent (s_atan.c)."""
    size = magnitude(x)
    one = as_double(x.f, 1.0)
    upper, lower = size, one
    high, low = as_double(x.f, 0.0), as_double(x.f, 0.0)
    steps = [
        (7 / 16, size * 2.0 - 1.0, size + 2.0),
        (11 / 16, size - 1.0, size + 1.0),
        (19 / 16, size - 1.5, fma(size, 1.5, 1.0)),
        (39 / 16, -one, size),
    ]
    for (above, numerator, denominator), (base, rest) in zip(steps, _ATAN_BASE, strict=True):
        condition = size.is_("oge", above)
        upper, lower = choose(condition, numerator, upper), choose(condition, denominator, lower)
        high, low = choose(condition, base, high), choose(condition, rest, low)
    t = upper / lower
    z = t * t
    curve = polynomial(z, _ATAN) * z
    out = high - ((t * curve - low) - t)
    return signed_as(choose(x.is_("uno", x), x, out), x)


def atan() -> Function:
    """Return the arc tangent."""
    f = define("math_atan")
    f.ret(_atan(argument(f)).value)
    return f


def atan2() -> Function:
    """Return the angle of the point (y, x): the first argument is y."""
    f = define("math_atan2", "x y")
    y, x = argument(f), argument(f, "y")
    size_x, size_y = magnitude(x), magnitude(y)
    steep = size_y.is_("ogt", size_x)
    small, large = choose(steep, size_x, size_y), choose(steep, size_y, size_x)
    ratio = small / large
    # The quotient's rounding error counts too; where it is not finite there is none.
    lost = fma(-ratio, large, small) / large
    lost = choose(magnitude(lost).is_("olt", 1.0), lost, 0.0)
    ratio = choose(large.is_("oeq", 0.0), 0.0, ratio)
    ratio = choose(small.is_("oeq", INFINITY), 1.0, ratio)
    angle = _atan(ratio)
    fix = lost / fma(ratio, ratio, 1.0)
    turned = PI_HALF - (angle - (PI_HALF_LOW - fix))
    out = choose(steep, turned, angle + fix)
    fix_left = choose(steep, as_double(f, 0.0), fix)
    left = 2 * PI_HALF - ((out - fix_left) - (2 * PI_HALF_LOW - fix_left))
    out = choose(f.compare("slt", x.bits(), integer(0)), left, out)
    out = choose(x.is_("uno", y), NAN, out)
    f.ret(signed_as(out, y).value)
    return f


def _asin_curve(z: D) -> D:
    return z * polynomial(z, _ASIN_P) / polynomial(z, _ASIN_Q)


def _asin_parts(x: D) -> tuple[Value, D, D, D, D, D]:
    """Return what asin and acos share: is |x| small, z, sqrt(z), its head, its rest, the curve."""
    f = x.f
    size = magnitude(x)
    small = size.is_("olt", 0.5)
    z = choose(small, x * x, (1.0 - size) * 0.5)
    s = call("sqrt", z)
    head = of_bits(f, f.op("and", s.bits(), integer(-(1 << 32))))
    rest = (z - head * head) / (s + head)
    return small, z, s, head, choose(z.is_("oeq", 0.0), 0.0, rest), _asin_curve(z)


def asin() -> Function:
    """Return the arc sine (e_asin.c)."""
    f = define("math_asin")
    x = argument(f)
    small, _, s, head, rest, curve = _asin_parts(x)
    p = s * 2.0 * curve - (PI_HALF_LOW - rest * 2.0)
    q = PI_HALF / 2 - head * 2.0
    out = choose(small, fma(x, curve, x), signed_as(PI_HALF / 2 - (p - q), x))
    f.ret(choose(x.is_("oeq", 0.0), x, out).value)
    return f


def acos() -> Function:
    """Return the arc cosine (e_acos.c)."""
    f = define("math_acos")
    x = argument(f)
    small, _, s, head, rest, curve = _asin_parts(x)
    middle = PI_HALF - (x - (PI_HALF_LOW - x * curve))
    minus = 2 * PI_HALF - (s + (s * curve - PI_HALF_LOW)) * 2.0
    plus = (head + (s * curve + rest)) * 2.0
    f.ret(choose(small, middle, choose(x.is_("olt", 0.0), minus, plus)).value)
    return f
