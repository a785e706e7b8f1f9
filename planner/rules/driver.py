"""Runs the rules to a fixpoint, verifies the plan after each, and keeps the trace for EXPLAIN."""

from __future__ import annotations

from typing import Protocol, cast

from foveal.errors import InternalError
from foveal.planner.logical import Logical
from foveal.planner.tree import Node, transform_up
from foveal.planner.verify import verify

_PASSES = 20


class Rule(Protocol):
    """One pure rewrite."""

    @property
    def name(self) -> str:
        """The rule's name in traces."""
        ...

    def rewrite(self, node: Logical) -> Logical | None:
        """Return the node rewritten, or None where the rule does not match."""
        ...


def optimize(
    plan: Logical, rules: tuple[Rule, ...], *, check: bool = False
) -> tuple[Logical, tuple[tuple[str, Logical], ...]]:
    """Return the rewritten plan and the (rule, plan) trace of the rules that changed it.

    Raises:
        InternalError: a rule broke the plan (with `check`), or the rules do not come to rest.
    """
    trace: list[tuple[str, Logical]] = []
    for _ in range(_PASSES):
        before = plan
        for rule in rules:

            def once(node: Node, rule: Rule = rule) -> Node:
                return rule.rewrite(cast("Logical", node)) or node

            changed = cast("Logical", transform_up(plan, once))
            if changed is not plan:
                plan = changed
                trace.append((rule.name, plan))
                if check:
                    verify(plan, after=rule.name)
        if plan is before:
            return plan, tuple(trace)
    raise InternalError("the planner's rules do not come to rest", detail=trace[-1][0])
