"""`foveal.compile = auto`: whether a statement's programs should run, from what it took before.

Statements are told apart by their shape: the text without its constants. A shape is left to DuckDB
at first, and timed. Only where it took `QUICK` seconds or more, or where columns of tables are
resident already, are its programs weighed (`planner.compiled.cost`). Columns that are not resident
are read once the programs would have saved as much time as reading and compiling take: so a
statement that runs once costs nothing, and one that keeps coming back never more than twice the
best that hindsight could do. Afterwards the measured times decide: programs that turn out slower
are not run again.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from foveal.planner.compiled.cost import Estimate

QUICK = 2e-3
"""Seconds that DuckDB may take before anything else is weighed."""
MARGIN = 1.25
"""How many times faster programs must be, by estimate, before they are tried."""
TRIED = 3
"""Runs of programs before they may be found slower: meanwhile better code is compiled."""
_REMEMBERED = 512
_CONSTANT = re.compile(r"'(?:[^']|'')*'|\b\d[\d._]*(?:[eE][+-]?\d+)?\b")


def shape_of(sql: str) -> str:
    """Return a statement's text without its constants.

    >>> shape_of("SELECT a1 FROM t WHERE b = 'x''y' AND c > 1.5e3")
    'SELECT a1 FROM t WHERE b = ? AND c > ?'
    """
    return _CONSTANT.sub("?", sql)


@dataclass(slots=True)
class Shape:
    """What is known of one shape. `stamp`: of the names and tables that the rest holds for.

    `duckdb`, `ours`: seconds of the last runs. `refusal`: why it has no programs, or why they are
    not run. `credit`: seconds that programs would have saved so far.
    """

    stamp: object = None
    tables: tuple[str, ...] = ()
    duckdb: deque[float] = field(default_factory=lambda: deque[float](maxlen=5))
    ours: deque[float] = field(default_factory=lambda: deque[float](maxlen=5))
    estimate: Estimate | None = None
    refusal: str = ""
    credit: float = 0.0
    warmed: bool = False

    def renewed(self, stamp: object) -> None:
        """Forget what held for other names or tables."""
        if self.stamp != stamp:
            self.stamp, self.estimate, self.refusal, self.warmed = stamp, None, "", False
            self.credit = 0.0
            self.ours.clear()

    @property
    def duckdb_seconds(self) -> float | None:
        """Return what DuckDB takes, None where it never ran."""
        return min(self.duckdb) if self.duckdb else None

    def pays(self, compiling: float) -> bool:
        """Say whether to run programs now. `compiling`: seconds that making them may take."""
        found = self.estimate
        if found is None or self.refusal:
            return False
        theirs = self.duckdb_seconds
        theirs = found.duckdb if theirs is None else theirs
        if self.ours:
            # Like with like: the best of each, for one run says little on a busy machine.
            if len(self.ours) >= TRIED and min(self.ours) > theirs:
                self.refusal = "DuckDB was faster"
            return not self.refusal
        if found.ours * MARGIN > theirs:
            self.refusal = "DuckDB should be as fast"
            return False
        if self.warmed:
            return True
        self.credit += theirs - found.ours
        return self.credit >= found.fill + compiling

    def ran(self, seconds: float) -> None:
        """Take note of a run of the programs; the first pays for columns and compilation."""
        if self.warmed:
            self.ours.append(seconds)
        self.warmed = True


class Shapes:
    """The shapes of one session's statements, those not seen for long forgotten."""

    def __init__(self) -> None:
        """Know none."""
        self._shapes: OrderedDict[str, Shape] = OrderedDict()

    def of(self, sql: str) -> Shape:
        """Return what is known of a statement's shape."""
        key = shape_of(sql)
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape()
            while len(self._shapes) > _REMEMBERED:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(key)
        return found
