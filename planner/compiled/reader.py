"""Tokens of an expression → `Syntax`: operators bind as DuckDB's grammar says.

A reader of our own and not sqlglot's, for programs need the place of every part and DuckDB's own
precedence (third_party/libpg_query/grammar, `%left` and `%nonassoc`), with no rewriting on the
way. It knows the forms that programs compute and refuses all others, mixes of operators without
associativity among them (`a = b IS NULL`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from foveal.errors import Span
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.parse.lexer import string_value
from foveal.planner.parse.statement import Token

_COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">",
                ">=": ">="}  # fmt: skip
_BINARY = {"||": 7, "+": 8, "-": 8, "*": 9, "/": 9, "//": 9, "%": 9, "^": 10, "**": 10}
_OR, _AND, _NOT, _IS, _COMPARE, _RANGE, _OTHER, _MINUS = 1, 2, 3, 4, 5, 6, 7, 11
_MATCHES = {"LIKE": "like", "ILIKE": "ilike", "GLOB": "glob"}
_TESTS = frozenset(
    {*_COMPARISONS.values(), *_MATCHES.values(), *(f"not {m}" for m in _MATCHES.values()), "not"}
)
_QUERY_STARTS = frozenset({"SELECT", "FROM", "WITH", "VALUES", "TABLE", "PIVOT", "DESCRIBE"})
_TYPED = frozenset({"DATE", "TIMESTAMP"})
_UNITS = {"YEAR": "year", "MONTH": "month", "DAY": "day", "WEEK": "week", "HOUR": "hour",
          "MINUTE": "minute", "SECOND": "second"}  # fmt: skip
_RESERVED = frozenset({
    "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "QUALIFY", "WINDOW",
    "UNION", "INTERSECT", "EXCEPT", "AND", "OR", "THEN", "WHEN", "ELSE", "END", "AS", "ON",
    "USING", "BETWEEN", "IN", "LIKE", "ILIKE", "IS", "ISNULL", "NOTNULL", "ARRAY", "MAP", "LAMBDA",
    "COLUMNS", "UNPACK", "SOME", "ANY", "ALL", "DISTINCT", "SIMILAR", "GLOB", "COLLATE", "ASC",
    "DESC", "BY", "WITH", "LATERAL", "GROUPING", "TRY", "POSITION", "TRIM", "OVERLAY", "NULLS",
    "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "USER",
    "CURRENT_USER", "SESSION_USER", "CURRENT_SCHEMA", "CURRENT_ROLE", "CURRENT_CATALOG",
})  # fmt: skip
_BEHIND_CALL = frozenset({"OVER", "WITHIN", "IGNORE", "RESPECT", "EXPORT_STATE"})


def read(tokens: Sequence[Token], keys: Mapping[int, str], span: Span) -> Syntax:
    """Return the expression at `span`. `keys`: parameters' keys by place.

    Raises:
        NotCompilable: it has a form that programs do not compute.
    """
    inside = [t for t in tokens if span.start <= t.start and t.end <= span.end]
    reader = Reader(inside, keys)
    found = reader.expression(0)
    if reader.at < len(inside):
        raise reader.refused()
    return found


class Reader:
    """Reads expressions one after the other from a run of tokens."""

    def __init__(self, tokens: Sequence[Token], keys: Mapping[int, str]) -> None:
        """Begin at the first token."""
        self.tokens = tokens
        self.keys = keys
        self.at = 0

    # --- tokens ------------------------------------------------------------------------------

    def refused(self, what: str = "") -> NotCompilable:
        """Return the refusal at the next token."""
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            return NotCompilable(what or f'"{token.text}" here', Span(token.start, token.end))
        return NotCompilable(what or "the expression ends too early")

    def word(self, ahead: int = 0) -> str:
        """Return the upper-case word that comes `ahead` tokens from here, or ""."""
        i = self.at + ahead
        if i < len(self.tokens) and self.tokens[i].kind == "word":
            return self.tokens[i].text.upper()
        return ""

    def op(self, ahead: int = 0) -> str:
        """Return the operator that comes `ahead` tokens from here, or ""."""
        i = self.at + ahead
        return self.tokens[i].text if i < len(self.tokens) and self.tokens[i].kind == "op" else ""

    def kind(self, ahead: int = 0) -> str:
        """Return the kind of the token that comes `ahead` tokens from here, or ""."""
        i = self.at + ahead
        return self.tokens[i].kind if i < len(self.tokens) else ""

    def skip(self, text: str) -> None:
        """Step over an operator or word.

        Raises:
            NotCompilable: something else comes.
        """
        if self.op() != text and self.word() != text:
            raise self.refused()
        self.at += 1

    def _made(
        self, kind: str, text: str, parts: tuple[Syntax, ...], start: int, **more: object
    ) -> Syntax:
        """Return a node from the token at `start` to the last one read."""
        span = Span(self.tokens[start].start, self.tokens[self.at - 1].end)
        return Syntax(kind, text, parts, span=span, **more)  # type: ignore[arg-type]

    # --- operators ---------------------------------------------------------------------------

    def expression(self, binding: int) -> Syntax:
        """Return the next expression, of operators that bind more than `binding`."""
        start = self.at
        left = self._prefix()
        while self.at < len(self.tokens):
            taken = self._infix(left, start, binding)
            if taken is None:
                return left
            left = taken
        return left

    def _prefix(self) -> Syntax:
        start = self.at
        if self.word() == "NOT":
            self.at += 1
            operand = self.expression(_NOT - 1)
            return self._made("op", "not", (operand,), start)
        if self.op() in ("-", "+"):
            sign = self.op()
            self.at += 1
            operand = self.expression(_MINUS - 1)
            if sign == "+":
                raise NotCompilable("a unary plus", operand.span)
            if operand.kind == "number" and not operand.bracketed and operand.text[0] != "-":
                return self._made("number", "-" + operand.text, (), start)
            return self._made("op", "neg", (operand,), start)
        return self._postfix(self._operand(), start)

    def _postfix(self, node: Syntax, start: int) -> Syntax:
        while True:
            if self.op() == "::":
                self.at += 1
                node = self._made("cast", self._type(), (node,), start)
            elif self.op() in ("[", ".") or self.word() in ("COLLATE", "AT"):
                raise self.refused()
            else:
                return node

    def _infix(self, left: Syntax, start: int, binding: int) -> Syntax | None:
        op, word = self.op(), self.word()
        if op in _COMPARISONS:
            if binding >= _COMPARE:
                return None
            self._loose(left)
            self.at += 1
            right = self.expression(_COMPARE)
            return self._made("op", _COMPARISONS[op], (left, right), start)
        if op in _BINARY:
            if binding >= _BINARY[op]:
                return None
            self.at += 1
            right = self.expression(_BINARY[op])
            return self._made("op", "^" if op == "**" else op, (left, right), start)
        if word in ("AND", "OR"):
            level = _AND if word == "AND" else _OR
            if binding >= level:
                return None
            self.at += 1
            right = self.expression(level)
            return self._made("op", word.lower(), (left, right), start)
        if word == "IS":
            return None if binding >= _IS else self._is(left, start)
        negated = word == "NOT"
        word = self.word(1) if negated else word
        if word in ("BETWEEN", "IN") or word in _MATCHES:
            if binding >= _RANGE:
                return None
            self._loose(left)
            self.at += 2 if negated else 1
            return self._range(left, start, word, "not" if negated else "")
        if op in (")", ",") or not op:
            return None
        raise self.refused()

    def _loose(self, left: Syntax) -> None:
        """Refuse what has no associativity, so that no one need know how it would bind."""
        tests = left.kind in ("in", "between", "is") or (left.kind == "op" and left.text in _TESTS)
        if tests and not left.bracketed:
            raise self.refused("comparisons in a row")

    def _is(self, left: Syntax, start: int) -> Syntax:
        self._loose(left)
        self.at += 1
        negated = self.word() == "NOT"
        self.at += negated
        test = self.word()
        self.at += 1
        node: Syntax
        if test in ("NULL", "TRUE", "FALSE"):
            node = self._made("is", test.lower(), (left,), start)
        elif test == "DISTINCT" and self.word() == "FROM":
            self.at += 1
            right = self.expression(_IS)
            node = self._made("is", "distinct", (left, right), start)
        else:
            self.at -= 1
            raise self.refused()
        return self._made("op", "not", (node,), start) if negated else node

    def _range(self, left: Syntax, start: int, word: str, negated: str) -> Syntax:
        if word == "BETWEEN":
            if self.word() in ("SYMMETRIC", "ASYMMETRIC"):
                raise self.refused()
            low = self.expression(_RANGE)
            self.skip("AND")
            high = self.expression(_RANGE)
            return self._made("between", negated, (left, low, high), start)
        if word == "IN":
            if self.op() != "(":
                raise self.refused()
            if self.word(1) in _QUERY_STARTS:
                query = self._query()
                return self._made("in", negated, (left, query), start)
            self.at += 1
            items = self._list()
            return self._made("in", negated, (left, *items), start)
        right = self.expression(_RANGE)
        if self.word() == "ESCAPE":
            raise self.refused()
        prefix = f"{negated} " if negated else ""
        return self._made("op", prefix + _MATCHES[word], (left, right), start)

    def _list(self) -> tuple[Syntax, ...]:
        """Return the expressions up to the closing bracket, and step over it."""
        if self.op() == ")":
            self.at += 1
            return ()
        items = [self.expression(0)]
        while self.op() == ",":
            self.at += 1
            items.append(self.expression(0))
        self.skip(")")
        return tuple(items)

    # --- operands ----------------------------------------------------------------------------

    def _operand(self) -> Syntax:
        start, kind = self.at, self.kind()
        if kind == "number":
            text = self.tokens[start].text.replace("_", "")
            if len(text) > 1 and text[1] in "xXbBoO":
                text = str(int(text, 0))
            self.at += 1
            if self.kind() in ("word", "number") and self.tokens[start].end == (
                self.tokens[self.at].start
            ):
                raise self.refused()
            return self._made("number", text, (), start)
        if kind == "string":
            token = self.tokens[start]
            if token.text[0] in "xXbB":
                raise self.refused()
            self.at += 1
            return self._made("string", string_value(token), (), start)
        if kind == "param":
            self.at += 1
            return self._made("param", self.keys[self.tokens[start].start], (), start)
        if self.op() == "(":
            if self.word(1) in _QUERY_STARTS:
                return self._query()
            self.at += 1
            inner = self.expression(0)
            self.skip(")")
            span = Span(self.tokens[start].start, self.tokens[self.at - 1].end)
            return replace(inner, span=span, bracketed=True)
        if kind == "word":
            return self._word()
        if kind == "quoted":
            return self._name()
        raise self.refused()

    def _query(self) -> Syntax:
        """Step over a sub-query in brackets."""
        start, depth = self.at, 0
        while self.at < len(self.tokens):
            op = self.op()
            depth += (op == "(") - (op == ")")
            self.at += 1
            if depth == 0:
                return self._made("query", "", (), start)
        raise self.refused()

    def _word(self) -> Syntax:
        start, word = self.at, self.word()
        if self.op(1) == "(":
            special = {"CAST": self._cast, "TRY_CAST": self._cast, "EXTRACT": self._extract,
                       "SUBSTRING": self._substring, "EXISTS": self._exists}.get(word)  # fmt: skip
            if special is not None:
                return special(start)
        if word in ("NULL", "TRUE", "FALSE"):
            self.at += 1
            return self._made(word.lower(), "", (), start)
        if word == "CASE":
            return self._case(start)
        if word == "INTERVAL":
            return self._interval(start)
        if word in _TYPED and self.kind(1) == "string":
            self.at += 2
            value = string_value(self.tokens[start + 1])
            text = self._made("string", value, (), start + 1)
            return self._made("cast", word.lower(), (text,), start)
        if word in _RESERVED:
            raise self.refused()
        return self._name()

    def _name(self) -> Syntax:
        start = self.at
        words = [self.tokens[start].name]
        self.at += 1
        while self.op() == "." and self.kind(1) in ("word", "quoted"):
            words.append(self.tokens[self.at + 1].name)
            self.at += 2
        if self.op() == ".":
            raise self.refused()
        if self.op() == "(":
            if len(words) > 1:
                raise self.refused()
            return self._call(words[0].lower(), start)
        if self.kind() == "string" or self.op() in ("->", "=>", ":="):
            raise self.refused()
        return self._made("name", "\0".join(w.lower() for w in words), (), start)

    def _call(self, name: str, start: int) -> Syntax:
        self.at += 1
        distinct = self.word() == "DISTINCT"
        if distinct or (self.word() == "ALL" and self.kind(1) != ""):
            self.at += 1
        if self.op() == "*" and self.op(1) == ")":
            star = self.at
            self.at += 1
            arguments = (self._made("star", "", (), star),)
            self.at += 1
        else:
            arguments = self._list()
        condition = None
        if self.word() == "FILTER" and self.op(1) == "(":
            self.at += 2
            if self.word() == "WHERE":
                self.at += 1
            condition = self.expression(0)
            self.skip(")")
        if self.word() in _BEHIND_CALL:
            raise self.refused("a window or an ordered aggregate")
        return self._made("call", name, arguments, start, distinct=distinct, filter=condition)

    def _cast(self, start: int) -> Syntax:
        kind = self.word().lower()
        self.at += 2
        operand = self.expression(0)
        self.skip("AS")
        type_ = self._type()
        self.skip(")")
        return self._made(kind, type_, (operand,), start)

    def _type(self) -> str:
        """Return a type's name in lower case, with its numbers: `decimal(15,2)`."""
        if self.kind() not in ("word", "quoted"):
            raise self.refused()
        name = self.tokens[self.at].name.lower()
        self.at += 1
        if name == "double" and self.word() == "PRECISION":
            self.at += 1
        if self.op() == "(":
            numbers: list[str] = []
            self.at += 1
            while self.kind() == "number":
                numbers.append(self.tokens[self.at].text)
                self.at += 1
                self.at += self.op() == ","
            self.skip(")")
            name += f"({','.join(numbers)})"
        if self.op() in ("[", ".") or self.word() in ("WITH", "WITHOUT", "VARYING"):
            raise self.refused()
        return name

    def _extract(self, start: int) -> Syntax:
        self.at += 2
        part = self.tokens[self.at]
        if part.kind not in ("word", "string") or self.word(1) != "FROM":
            raise self.refused()
        name = part.name.lower() if part.kind == "word" else string_value(part).lower()
        self.at += 2
        operand = self.expression(0)
        self.skip(")")
        text = Syntax("string", name, span=Span(part.start, part.end))
        return self._made("call", "date_part", (text, operand), start)

    def _substring(self, start: int) -> Syntax:
        self.at += 2
        arguments = [self.expression(0)]
        if self.word() == "FROM":
            self.at += 1
            arguments.append(self.expression(0))
            if self.word() == "FOR":
                self.at += 1
                arguments.append(self.expression(0))
        while self.op() == ",":
            self.at += 1
            arguments.append(self.expression(0))
        self.skip(")")
        return self._made("call", "substring", tuple(arguments), start)

    def _exists(self, start: int) -> Syntax:
        self.at += 1
        query = self._query()
        return self._made("exists", "", (query,), start)

    def _case(self, start: int) -> Syntax:
        self.at += 1
        nothing = Syntax("null", span=Span(self.tokens[start].start, self.tokens[start].end))
        parts = [nothing if self.word() == "WHEN" else self.expression(0)]
        operand = self.word(-1) != "CASE"
        while self.word() == "WHEN":
            self.at += 1
            parts.append(self.expression(0))
            self.skip("THEN")
            parts.append(self.expression(0))
        if self.word() == "ELSE":
            self.at += 1
            parts.append(self.expression(0))
        else:
            parts.append(nothing)
        self.skip("END")
        return self._made("case", "operand" if operand else "", tuple(parts), start)

    def _interval(self, start: int) -> Syntax:
        self.at += 1
        if self.kind() not in ("string", "number"):
            raise self.refused()
        token = self.tokens[self.at]
        text = string_value(token) if token.kind == "string" else token.text
        self.at += 1
        unit = self.word().removesuffix("S")
        if unit in _UNITS and self.word(1) != "TO":
            self.at += 1
        else:
            text, _, tail = text.strip().partition(" ")
            unit = tail.strip().upper().removesuffix("S")
        if unit not in _UNITS or not text.strip().lstrip("-").isdigit():
            raise NotCompilable("an interval of this form", Span(token.start, token.end))
        value = Syntax("number", text.strip(), span=Span(token.start, token.end))
        return self._made("interval", _UNITS[unit], (value,), start)
