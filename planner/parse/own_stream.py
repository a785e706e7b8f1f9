"""Statements about video streams: CREATE, DROP and REFRESH VIDEO STREAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from foveal.errors import DataError
from foveal.planner.parse.grammar import branches, leaves, read
from foveal.planner.parse.lexer import number_value, string_value, tokenize
from foveal.planner.parse.parts import word_at
from foveal.planner.parse.statement import (
    CreateVideoTable,
    DropVideoTable,
    RefreshVideoStream,
    Token,
)
from foveal.planner.parse.values import leaf_span, name_of, options_of

if TYPE_CHECKING:
    from foveal.planner.parse.grammar import Node

_CREATE = (
    "CREATE [OR REPLACE] VIDEO STREAM [IF NOT EXISTS] name FROM 'rtsp://..' "
    "[WITH (detector = 'yolox_nano', window = '10 seconds', ..)]"
)
_REFRESH = "REFRESH VIDEO STREAM name [FOR 60 SECONDS | FOR 6 WINDOWS]"
_SECONDS = {"milli": 1e-3, "secon": 1.0, "minut": 60.0, "hours": 3600.0, "hour": 3600.0,
            "days": 86400.0, "day": 86400.0}  # fmt: skip


def parse_stream(
    text: str, tokens: Sequence[Token]
) -> CreateVideoTable | DropVideoTable | RefreshVideoStream | None:
    """Return the statement if its first words say VIDEO STREAM, else None.

    Raises:
        ProgrammingError: 42601, it is malformed. DataError: 22023, FOR is not above 0.
    """
    first = word_at(tokens, 0)
    video = 3 if first == "CREATE" and word_at(tokens, 1) == "OR" else 1
    if word_at(tokens, video) != "VIDEO" or word_at(tokens, video + 1) != "STREAM":
        return None
    if first == "CREATE":
        node = read("create_stream", tokens, 0, len(tokens), _CREATE)
        return _created(text, node, tokens)
    if first == "DROP":
        node = read("drop_stream", tokens, 0, len(tokens), "DROP VIDEO STREAM [IF EXISTS] name")
        name, span = name_of(node, tokens)
        return DropVideoTable(text, name, span, bool(branches(node, "if_exists")), stream=True)
    if first == "REFRESH":
        return _refreshed(text, read("refresh_stream", tokens, 0, len(tokens), _REFRESH), tokens)
    return None


def _created(text: str, node: Node, tokens: Sequence[Token]) -> CreateVideoTable:
    base = tokens[0].start
    sources = [leaves(source)[0] for source in branches(node, "source")]
    options, option_spans = options_of(node, tokens)
    return CreateVideoTable(
        text,
        *name_of(node, tokens),
        bool(branches(node, "or_replace")),
        bool(branches(node, "if_not_exists")),
        tuple(string_value(tokenize(str(source))[0]) for source in sources),
        tuple(leaf_span(source, base) for source in sources),
        options,
        option_spans,
        stream=True,
    )


def _refreshed(text: str, node: Node, tokens: Sequence[Token]) -> RefreshVideoStream:
    name, span = name_of(node, tokens)
    limits = branches(node, "stream_limit")
    if not limits:
        return RefreshVideoStream(text, name, span, None, "")
    number, word = leaves(limits[0])
    value, unit = number_value(str(number)), str(word).lower()
    if value <= 0:
        raise DataError(
            "FOR needs a number above 0",
            sqlstate="22023",
            span=leaf_span(number, tokens[0].start),
            hint=_REFRESH,
        )
    if unit.startswith("window"):
        return RefreshVideoStream(text, name, span, value, "windows")
    return RefreshVideoStream(text, name, span, value * _SECONDS[unit[:5]], "seconds")
