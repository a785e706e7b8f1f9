"""What a block asks of one frame, as counts: the heads that a proxy can learn and a search rank by.

A frame gives a row where objects under the WHERE exist and the HAVING holds of them; each part of
that is a quantity that must be at least so much.
"""

from __future__ import annotations

from sqlglot import exp

from foveal.planner.bind.binding import Binding
from foveal.planner.bind.quantities import Head, quantity_heads, quantity_of
from foveal.planner.bind.source import Base
from foveal.planner.logical import FRAME_LEVEL, Conjunct


def heads_of(binding: Binding, select: exp.Select, base: Base) -> tuple[Head, ...]:
    """Return the block's heads; () where its rows depend on anything else.

    The caller has made sure that rows follow from single frames (`decided_by_frame`).
    """
    if base.ref.relation != "objects":
        return ()
    own = binding.predicates.of(select, base.alias, base.ref.relation)
    levels = [*(c for _, level in base.levels for c in level), *own]
    conditions: list[Conjunct] = [c for c in levels if not c.frame_only]
    if not all(c.pure for c in conditions):
        return ()
    functions = binding.snapshot.user_functions
    having, group = select.args.get("having"), select.args.get("group")
    if having is not None:
        if not isinstance(group, exp.Group) or not all(map(_of_frames, group.expressions)):
            return ()  # groups smaller than a frame: which of them counts is not known
        condition = _without_aliases(having.this, select)
        found = quantity_heads(condition, conditions, base.alias, user_functions=functions)
        return tuple(found or ())
    quantity = quantity_of(conditions, base.alias, user_functions=functions)
    return ((quantity, 1.0),) if quantity is not None else ()


def _of_frames(key: exp.Expr) -> bool:
    return isinstance(key, exp.Column) and key.name.lower() in FRAME_LEVEL


def _without_aliases(having: exp.Expr, select: exp.Select) -> exp.Expr:
    """HAVING may name items of the select list: return it with what they stand for."""
    items = {e.alias.lower(): e.this for e in select.expressions if isinstance(e, exp.Alias)}

    def written_out(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and not node.table:
            item = items.get(node.name.lower())
            if item is not None and item.find(exp.AggFunc) is not None:
                return item.copy()
        return node

    return having.copy().transform(written_out)
