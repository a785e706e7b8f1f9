"""Kernels of models: functions that score a block of rows, one for each kind of model.

    void @score(ptr x, i64 rows, ptr array.., ptr out)

`x` [features][BLOCK] in the kind's type of features, missing values as NaN; it may be written to.
`out` [outputs][BLOCK]. Rows are rounded up to whole vectors: what lies beyond `rows` is computed
too and means nothing. The arrays are the model (`ModelData.arrays`): the code knows only its kind
and the number of features.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.cells import Unsupported
from foveal.engine.compile.llvm.models.linear import write_linear
from foveal.engine.compile.llvm.models.masks import write_masks
from foveal.engine.compile.llvm.models.network import write_network
from foveal.engine.compile.llvm.models.scorer import BLOCK, Scorer
from foveal.engine.compile.llvm.models.walk import write_walk
from foveal.engine.compile.llvm.text import Function
from foveal.udfs.scoring.kinds import ForestKind, LinearKind, NetworkKind, parse_kind

MAX_FEATURES, MAX_RAW = 1024, 64
"""What the blocks of one thread hold on its stack."""

__all__ = ["BLOCK", "array_count", "emit_model_block"]


def array_count(word: str) -> int:
    """Return how many arrays the kernel of a kind takes.

    Raises:
        Unsupported: no kernel runs the kind.
    """
    match _kind(word):
        case ForestKind(masks=0):
            return 9
        case ForestKind():
            return 10
        case LinearKind():
            return 4
        case _:
            return 5


def emit_model_block(word: str, features: int, name: str) -> list[Function]:
    """Return the functions that score a block; the first is called `name`.

    Raises:
        Unsupported: no kernel runs the kind.
    """
    kind = _kind(word)
    if features > MAX_FEATURES or kind.raw > MAX_RAW:
        raise Unsupported(f"a model of {features} features and {kind.raw} outputs")
    scorer = Scorer(kind, features, name, array_count(word))
    match kind:
        case ForestKind(masks=0):
            write_walk(scorer, kind)
        case ForestKind():
            write_masks(scorer, kind)
        case LinearKind():
            write_linear(scorer)
        case _:
            assert isinstance(kind, NetworkKind)
            write_network(scorer)
    return scorer.functions()


def _kind(word: str) -> ForestKind | LinearKind | NetworkKind:
    try:
        kind = parse_kind(word)
    except (ValueError, KeyError) as error:
        raise Unsupported(f"models of kind {word}") from error
    assert isinstance(kind, ForestKind | LinearKind | NetworkKind)
    return kind
