"""What the planner knows of a table whose columns programs could run over. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.planner.ir.types import Bool, Float, Int, Type


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column.

    `type`: None where programs have no such type. `refused`: why programs cannot read it, empty
    where they can, as far as is known before it was read. Of a `resident` column the rest is exact:
    `storage` the machine type of its array, `nullable` whether it has NULLs, `low` and `high` the
    bounds of the stored integers of valid rows (None: float, or no valid row), `bytes` its memory.
    Of others `storage` is the widest it may be, `nullable` is True where a NULL may be, and the
    bounds are None. `distinct`: entries of a code's dictionary, else None. `unique`: whether no
    value of an integer column comes twice, None: nobody asked yet. `fill_seconds`: estimated time
    to make it resident.
    """

    name: str
    type: Type | None
    storage: Bool | Int | Float | None
    nullable: bool = True
    low: int | None = None
    high: int | None = None
    distinct: int | None = None
    resident: bool = False
    bytes: int = 0
    unique: bool | None = None
    refused: str = ""
    fill_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table as the statement's transaction sees it.

    `rows`: exact where a column is resident, else estimated. `version` grows with every write;
    facts of equal version and name are of the same rows.
    """

    name: str
    rows: int
    columns: tuple[ColumnFacts, ...]
    version: int

    def column(self, name: str) -> ColumnFacts | None:
        """Return the column called `name`, without regard to case."""
        folded = name.lower()
        return next((c for c in self.columns if c.name.lower() == folded), None)
