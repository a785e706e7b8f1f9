"""Where a clause of ours opens: enough tokens that no statement of DuckDB's can mean the same.

None of our words is reserved. `ERROR WITHIN` after an operand, `GAP` after a LIMIT's number and a
number after `BUDGET` are syntax errors in DuckDB, so these are ours; `BOUNDS (0, 5)` is ours where
a table's column list could only hold names.
"""

from __future__ import annotations

from collections.abc import Sequence

from foveal.planner.parse.parts import at, ends_operand, is_keyword, is_op, word_at
from foveal.planner.parse.statement import Token

FORMS = {
    "ERROR": "ERROR WITHIN 0.1 [AT CONFIDENCE 95%]",
    "FNR": "FNR WITHIN 0.05 [AT CONFIDENCE 95%]",
    "FPR": "FPR WITHIN 0.05 [AT CONFIDENCE 95%]",
    "CONFIDENCE": "AT CONFIDENCE 95%",
    "GAP": "GAP 300 (frames) or GAP INTERVAL 10 SECONDS",
    "BUDGET": "BUDGET 60 SECONDS or BUDGET 2000 CALLS",
    "BOUNDS": "BOUNDS (0, 5)",
}
"""Each clause's form, as hints show it."""

_OPENING_WORDS = frozenset({"ERROR", "FNR", "FPR", "GAP", "BUDGET"})
_BUDGET_UNITS = frozenset({"SECONDS", "SECOND", "CALLS", "CALL"})


def after_number(tokens: Sequence[Token], index: int) -> int | None:
    """Return the index behind the number (signed, or a parameter) at `index`, or None."""
    if is_op(at(tokens, index), "-") or is_op(at(tokens, index), "+"):
        index += 1
    token = at(tokens, index)
    return index + 1 if token is not None and token.kind in ("number", "param") else None


def opens_clause(
    tokens: Sequence[Token],
    index: int,
    *,
    in_items: bool = False,
    in_clause: bool = False,
    after_limit: bool = False,
) -> str | None:
    """Return which clause opens at the word `index` (a key of FORMS), or None.

    For statements that are ours already, so a malformed rest still opens the clause and is
    reported there. `in_clause`: the words before are a clause of ours, where nothing else may
    follow. `in_items`: they are a select list, where BOUNDS can be a call behind DISTINCT ON (..).
    `after_limit`: the words before are a LIMIT's or an OFFSET's.
    """
    word, following = word_at(tokens, index), word_at(tokens, index + 1)
    if not (in_clause or ends_operand(tokens, index - 1)) or not is_keyword(tokens, index):
        return None
    if word in ("ERROR", "FNR", "FPR") and following == "WITHIN":
        return word
    if word == "AT" and following == "CONFIDENCE":
        return "CONFIDENCE"
    if word == "GAP" and (in_clause or after_limit or _measures(tokens, index + 1)):
        return word
    if word == "BUDGET" and (in_clause or after_number(tokens, index + 1) is not None):
        return word
    if word == "BOUNDS" and not in_items and (in_clause or _pair_of_numbers(tokens, index + 1)):
        return word
    return None


def names_clause(tokens: Sequence[Token]) -> bool:
    """Say whether a clause that is ours beyond doubt opens anywhere in the tokens.

    AT CONFIDENCE and BOUNDS come only beside another clause, so they do not count.
    """
    limited = any(word_at(tokens, i) == "LIMIT" for i in range(len(tokens)))
    for i, token in enumerate(tokens):
        word = word_at(tokens, i)
        if word == "FCOUNT" or token.kind == "quoted":
            if is_fcount(tokens, i):
                return True
        elif not (word in _OPENING_WORDS and ends_operand(tokens, i - 1) and is_keyword(tokens, i)):
            continue
        elif word == "GAP":
            if limited and _measures(tokens, i + 1):
                return True
        elif word == "BUDGET":
            behind = after_number(tokens, i + 1)
            if behind is not None and word_at(tokens, behind) in _BUDGET_UNITS:
                return True
        elif word_at(tokens, i + 1) == "WITHIN" and after_number(tokens, i + 2) is not None:
            return True
    return False


def is_fcount(tokens: Sequence[Token], index: int) -> bool:
    """Say whether `FCOUNT(*)` begins at `index`."""
    token = at(tokens, index)
    return (
        token is not None
        and token.name.upper() == "FCOUNT"
        and is_op(at(tokens, index + 1), "(")
        and is_op(at(tokens, index + 2), "*")
        and is_op(at(tokens, index + 3), ")")
        and not is_op(at(tokens, index - 1), ".")
    )


def _measures(tokens: Sequence[Token], index: int) -> bool:
    if word_at(tokens, index) == "INTERVAL":
        token = at(tokens, index + 1)
        return token is not None and (
            token.kind == "string" or after_number(tokens, index + 1) is not None
        )
    return after_number(tokens, index) is not None


def _pair_of_numbers(tokens: Sequence[Token], index: int) -> bool:
    if not is_op(at(tokens, index), "("):
        return False
    comma = after_number(tokens, index + 1)
    if comma is None or not is_op(at(tokens, comma), ","):
        return False
    close = after_number(tokens, comma + 1)
    return close is not None and is_op(at(tokens, close), ")")
