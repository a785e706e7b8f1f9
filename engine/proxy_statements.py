"""CREATE PROXY, DROP PROXY, SHOW PROXIES: specialised models that the user asks for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from foveal.engine.cache.proxies import StoredProxy
from foveal.engine.catalog.definitions import Definitions
from foveal.engine.catalog.proxies import proxy_rows
from foveal.engine.catalog.videos import LiveTable
from foveal.engine.context import QueryContext
from foveal.engine.executor import Runtime
from foveal.engine.inference import ensure
from foveal.engine.proxies import MOST_LABELS, spread, spread_draw, train
from foveal.engine.substrate import Substrate
from foveal.engine.tables import LiveTables
from foveal.errors import DataError, ProgrammingError, Span, did_you_mean
from foveal.planner.bind.proxies import bind_proxy
from foveal.planner.parse.statement import CreateProxy, DropProxy
from foveal.planner.protocols import ProxyFacts

LABELS = 200
"""Frames that CREATE PROXY labels unless it says how many."""
OPTIONS = {
    "labels": "frames to learn from, spread over the table",
    "family": "the family of models, instead of the cheapest that serves",
    "seconds": "seconds that fitting may take",
    "seed": "seed of the frames that are drawn and of what is fitted",
}


class ProxyStatements:
    """Runs the statements on proxies. What they make is kept beside the detections at once.

    So it follows no transaction, and CREATE and DROP are refused inside of one.
    """

    def __init__(
        self,
        substrate: Substrate,
        definitions: Definitions,
        tables: LiveTables,
        runtime: Callable[[QueryContext, Mapping[str, LiveTable]], Runtime],
        user_functions: Callable[[], frozenset[str]],
    ) -> None:
        """Take what statements are checked against and work with."""
        self._substrate = substrate
        self._definitions = definitions
        self._tables = tables
        self._runtime = runtime
        self._user_functions = user_functions

    def create(self, statement: CreateProxy, context: QueryContext) -> str:
        """Label frames where too few are, train, keep, and say what came out."""
        tag = "CREATE PROXY"
        table_name = statement.table.lower()
        if table_name not in self._definitions.videos:
            raise ProgrammingError(
                f'video table "{statement.table}" does not exist',
                sqlstate="42P01",
                span=statement.table_span,
                hint=did_you_mean(statement.table, self._definitions.videos)
                or "SELECT * FROM foveal.videos lists them",
            )
        table = self._tables.table(table_name)
        quantity = bind_proxy(statement, table.info, self._user_functions())
        labels, families, seconds, seed = _options(statement, context)
        namesakes = [p for p in self._all() if p.name.lower() == statement.name.lower()]
        if namesakes and statement.if_not_exists:
            context.notice(f'proxy "{statement.name}" already exists, skipped')
            return tag
        if namesakes and not statement.or_replace:
            raise ProgrammingError(
                f'proxy "{statement.name}" already exists',
                sqlstate="42710",
                span=statement.name_span,
                hint="CREATE OR REPLACE PROXY trains it anew",
            )
        self._refuse_transaction(statement.name_span)
        drawn = spread_draw(table, LABELS if labels is None else labels, seed)
        ensure(table, drawn, context)
        if labels is None:
            stored = np.flatnonzero(table.processed())
            drawn = spread(np.union1d(drawn, stored), table.frames, MOST_LABELS)
        facts = train(
            table,
            quantity,
            self._runtime(context, {table_name: table}),
            positions=drawn,
            name=statement.name,
            seconds=seconds,
            families=families,
            seed=seed,
        )
        for old in namesakes:
            if old.table != table_name:
                table.storage.proxies.drop(old)
        context.notice(what_came_out(facts))
        return tag

    def drop(self, statement: DropProxy, context: QueryContext) -> str:
        """Delete a proxy and its scores."""
        tag = "DROP PROXY"
        known = self._all()
        found = [p for p in known if p.name.lower() == statement.name.lower()]
        if not found and statement.if_exists:
            context.notice(f'proxy "{statement.name}" does not exist, skipped')
            return tag
        if not found:
            raise ProgrammingError(
                f'proxy "{statement.name}" does not exist',
                sqlstate="42704",
                span=statement.name_span,
                hint=did_you_mean(statement.name, [p.name for p in known])
                or "SHOW PROXIES lists them",
            )
        self._refuse_transaction(statement.name_span)
        for proxy in found:
            self._tables.storage().proxies.drop(proxy)
        return tag

    def show(self) -> pa.Table | None:
        """Return the proxies, or None where the user means a table of his own called proxies."""
        own = self._substrate.rows(
            "SELECT 1 FROM duckdb_tables() WHERE lower(table_name) = 'proxies' UNION ALL "
            "SELECT 1 FROM duckdb_views() WHERE lower(view_name) = 'proxies' AND NOT internal"
        )
        if own:
            return None
        rows = proxy_rows(self._tables.every())
        kept = (
            "name",
            "table_name",
            "quantity",
            "family",
            "labels",
            "r2",
            "r2_time",
            "useful",
            "why",
        )
        types = {
            "labels": pa.int64(), "r2": pa.float64(), "r2_time": pa.float64(), "useful": pa.bool_(),
        }  # fmt: skip
        schema = pa.schema([(name, types.get(name, pa.string())) for name in kept])
        return pa.Table.from_pylist([{n: row[n] for n in kept} for row in rows], schema=schema)

    def _all(self) -> list[StoredProxy]:
        return self._tables.storage().proxies.find()

    def _refuse_transaction(self, span: Span) -> None:
        if self._substrate.in_transaction:
            raise ProgrammingError(
                "proxies cannot be made or dropped inside a transaction",
                sqlstate="25001",
                span=span,
                hint="COMMIT or ROLLBACK first: what is learnt is kept beside the detections, "
                "outside of transactions",
            )


def what_came_out(facts: ProxyFacts) -> str:
    """Return what training found, for the user."""
    learnt = f'proxy "{facts.name}": {facts.quantity.text} from {facts.labels} frames'
    if not facts.useful:
        return f"{learnt} is of no use, and no query will use it: {facts.why}"
    return (
        f"{learnt}: {facts.why} on frames like those it will score "
        f"({facts.r2:.0%} far from any label, where interpolating labels in time explains "
        f"{facts.r2_time:.0%})"
    )


def _options(
    statement: CreateProxy, context: QueryContext
) -> tuple[int | None, tuple[str, ...] | None, float | None, int]:
    """Return (labels, families, seconds, seed)."""
    from foveal.udfs.models.proxies import BASELINES, FAMILIES

    for name in statement.options:
        if name not in OPTIONS:
            raise ProgrammingError(
                f'proxies have no option "{name}"',
                sqlstate="42704",
                span=statement.option_spans[name][0],
                hint=did_you_mean(name, OPTIONS) or "there are " + ", ".join(OPTIONS),
            )
    given = statement.options
    families = None
    if "family" in given:
        known = [f for f in FAMILIES if f not in BASELINES]
        families = (str(given["family"]).lower(),)
        if families[0] not in known:
            raise ProgrammingError(
                f'there is no family of proxies called "{given["family"]}"',
                sqlstate="42704",
                span=statement.option_spans["family"][1],
                hint=did_you_mean(families[0], known) or "there are " + ", ".join(known),
            )
    labels = _number(statement, "labels", 1, MOST_LABELS, "frames", whole=True)
    seconds = _number(statement, "seconds", 0, 3600, "seconds", whole=False)
    seed = _number(statement, "seed", 0, 2**63 - 1, "", whole=True)
    return (
        None if labels is None else int(labels),
        families,
        seconds,
        int(context.settings["seed"]) if seed is None else int(seed),
    )


def _number(
    statement: CreateProxy, name: str, low: int, high: int, unit: str, *, whole: bool
) -> float | int | None:
    value = statement.options.get(name)
    if value is None:
        return None
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        number = "a whole number" if whole else "a number"
        raise DataError(
            f'invalid value for {name}: "{value}"',
            sqlstate="22023",
            span=statement.option_spans[name][1],
            hint=f"give {number}{' of ' + unit if unit else ''} from {low} to {high}",
        )
    return value
