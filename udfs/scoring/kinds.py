"""Kinds of models: what of a model its machine code depends on, as a word and back.

A kind fixes the form of the arithmetic, never its numbers: two models of one kind over equally many
features are run by the same object. The word stands in programs (`planner.ir.program.Model.kind`):

    linear inputs=64 raw=1 shift=0 missing=0 link=identity pair=0
    network inputs=32 raw=3 shift=0 missing=0 link=softmax pair=0
    forest inputs=32 raw=1 shift=0 missing=1 link=logistic pair=0 masks=32 sums=64 wide=0 ..
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, get_args

from foveal.planner.ir.types import F32, F64, Float

Link: TypeAlias = Literal[
    "identity", "logistic", "exp", "softmax", "softplus", "square", "step", "argmax",
]  # fmt: skip
"""What is made of the raw outputs. `logistic`: 1 / (1 + exp(-s x)); `softplus`: log(1 + exp(x));
`square`: x |x|; `step`: 1 where x > 0; `argmax`: the place of the first greatest, one output."""

MASK_BITS = (0, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What every kind has.

    `inputs`: bits of the features' floats. `raw`: sums before the link. `shift`: features are
    first shifted and scaled, and zeros made missing where the model says so. `missing`: NULL is a
    missing value of the model; otherwise NULL in, NULL out. `pair`: a second output goes before
    the first, 1 - p beside p.
    """

    inputs: int = 32
    raw: int = 1
    shift: bool = False
    missing: bool = False
    link: Link = "identity"
    pair: bool = False

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return 1 if self.link == "argmax" else self.raw + int(self.pair)

    @property
    def input_type(self) -> Float:
        """Type of the features."""
        return F32 if self.inputs == 32 else F64

    @property
    def sum_bits(self) -> int:
        """Bits of the floats that are summed up, and of the outputs."""
        return self.inputs

    @property
    def output_type(self) -> Float:
        """Type of the outputs."""
        return F32 if self.sum_bits == 32 else F64

    def __str__(self) -> str:
        """Return the kind as a word."""
        parts = [_WORDS[type(self)]]
        for each in fields(self):
            value = getattr(self, each.name)
            parts.append(f"{each.name}={value if isinstance(value, str) else int(value)}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestKind(Kind):
    """Sums of trees.

    `masks`: leaves of a tree are bits of a mask of so many bits; 0: trees are walked. `sums`: bits
    of the sums. `wide`: every leaf holds a value for each raw output; otherwise a tree feeds one.
    `members`: some nodes test for a set of categories; `equals`: some test for one number.
    """

    masks: int = 32
    sums: int = 64
    wide: bool = False
    members: bool = False
    equals: bool = False

    @property
    def sum_bits(self) -> int:
        """Bits of the floats that are summed up, and of the outputs."""
        return self.sums


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearKind(Kind):
    """Weighted sums of features, in the order of the features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind(Kind):
    """Layers of weighted sums, each through an activation."""


_WORDS: dict[type[Kind], str] = {
    ForestKind: "forest",
    LinearKind: "linear",
    NetworkKind: "network",
}


def parse_kind(word: str) -> Kind:
    """Return a kind from its word.

    >>> parse_kind(str(LinearKind(link="logistic"))).link
    'logistic'

    Raises:
        ValueError: it is no kind.
    """
    head, *rest = word.split()
    for cls, name in _WORDS.items():
        if name != head:
            continue
        split = [part.partition("=") for part in rest]
        given = {name: value for name, _, value in split}
        values: dict[str, int | bool | str] = {}
        for each in fields(cls):
            text = given.pop(each.name)
            if each.name == "link":
                if text not in get_args(Link):
                    break
                values[each.name] = text
            else:
                values[each.name] = bool(int(text)) if isinstance(each.default, bool) else int(text)
        else:
            if not given:
                return cls(**values)  # pyright: ignore[reportArgumentType]
    raise ValueError(f"no kind of model: {word}")
