"""In which order predicates on pixels are tried: cost over what they let drop, least first.

Cheap predicates come before all others. A predicate with cost c (seconds per object) that a share
s of the objects passes has the rank c / (1 - s); trying predicates by ascending rank costs least
where they are independent. A function that an earlier predicate has called already is free.
Source: Hellerstein and Stonebraker, "Predicate migration", SIGMOD 1993, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from foveal.planner.logical import Conjunct
from foveal.planner.protocols import PixelFacts

PRIOR_PASS = 0.5
"""Share of the objects that pass a predicate about which nothing is known."""
_FREE = 1e-9
"""Seconds to test a predicate whose functions have been called."""


@dataclass(frozen=True, slots=True)
class PixelStep:
    """One predicate on pixels. `functions` are the internal names of those that it calls.

    `seconds` per object for all of its functions; `passes` the share of objects that satisfy it;
    `measured` says that both come from earlier runs or a pilot.
    """

    conjunct: Conjunct
    source: str
    functions: tuple[str, ...]
    seconds: float
    passes: float
    measured: bool


@dataclass(frozen=True, slots=True)
class PixelOrder:
    """What objects are tested for below the query: cheap predicates, then those on pixels."""

    cheap: tuple[Conjunct, ...] = ()
    steps: tuple[PixelStep, ...] = ()

    def lines(self) -> list[str]:
        """Return the order as EXPLAIN shows it."""
        found = ["first  " + " AND ".join(c.source for c in self.cheap)] if self.cheap else []
        for number, step in enumerate(self.steps, 1):
            known = "measured" if step.measured else "not measured yet"
            found.append(
                f"pixels {number}  {step.source}  {step.seconds * 1e3:.3g} ms per call, passes "
                f"{step.passes:.0%}, rank {_shown(_rank(step.seconds, step.passes))}  ({known})"
            )
        return found


def pixel_order(
    conjuncts: Sequence[Conjunct],
    functions: Mapping[str, PixelFacts],
    passed: Mapping[str, float],
) -> PixelOrder | None:
    """Return how to test objects for `conjuncts`, or None where none of them looks at pixels.

    `functions`: what the statement's pixel functions cost, by internal name. `passed`: shares of
    objects that passed predicates before, by the predicate's text.
    """
    found = [(c, names) for c in conjuncts if (names := called(c.text, functions))]
    steps = [
        PixelStep(
            c,
            shown(c.source, functions),
            names,
            sum(functions[n].seconds for n in names),
            passed.get(text_of(c), PRIOR_PASS),
            text_of(c) in passed and all(functions[n].measured for n in names),
        )
        for c, names in found
    ]
    cheap = tuple(c for c in conjuncts if not called(c.text, functions))
    costs = {name: facts.seconds for name, facts in functions.items()}
    return PixelOrder(cheap, ranked(steps, costs)) if steps else None


def ranked(steps: Iterable[PixelStep], costs: Mapping[str, float]) -> tuple[PixelStep, ...]:
    """Return the steps in the order in which they cost least; the first of equals stays first."""
    left, called_before, out = list(steps), set[str](), list[PixelStep]()
    while left:
        price = [sum(costs[f] for f in s.functions if f not in called_before) for s in left]
        at = min(range(len(left)), key=lambda i: _rank(price[i], left[i].passes))
        called_before |= set(left[at].functions)
        out.append(left.pop(at))
    return tuple(out)


def updated(
    steps: Iterable[PixelStep], costs: Mapping[str, float], passes: Mapping[str, float]
) -> tuple[PixelStep, ...]:
    """Return the steps with measured costs and shares, in the order that these call for."""
    fresh = [
        replace(
            step,
            seconds=sum(costs[f] for f in step.functions),
            passes=passes.get(text_of(step.conjunct), step.passes),
            measured=True,
        )
        for step in steps
    ]
    return ranked(fresh, costs)


def called(text: str, functions: Collection[str]) -> tuple[str, ...]:
    """Return the pixel functions that a text calls, each once, in text order."""
    return tuple(dict.fromkeys(n for n in re.findall(r"\b(\w+)\s*\(", text) if n in functions))


def shown(source: str, functions: Mapping[str, PixelFacts]) -> str:
    """Return a text with the functions' names as the user writes them."""

    def name(match: re.Match[str]) -> str:
        known = functions.get(match[1])
        return known.name if known is not None else match[1]

    return re.sub(r"\b(\w+)(?=\s*\()", name, source)


def text_of(conjunct: Conjunct) -> str:
    """Return the text that a predicate's measured share is kept under."""
    return " ".join(conjunct.text.replace(f"{conjunct.alias}.", "").split())


def _rank(seconds: float, passes: float) -> float:
    return max(seconds, _FREE) / max(1 - passes, 1e-6)


def _shown(rank: float) -> str:
    return f"{rank * 1e3:.3g} ms" if rank < 100 else "never drops"
