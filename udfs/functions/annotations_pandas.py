"""How pandas' functions and methods split (methods as functions: `pd.Series.fillna(s, 0)`)."""

from __future__ import annotations

from typing import Any

from foveal.udfs.functions.split_types import Aligned, Broadcast, Concat, Reduce, ResultSplit, Rows


def _total(kind: str) -> Any:
    def rule(arguments: dict[str, Any]) -> ResultSplit | None:
        return Reduce(kind) if set(arguments) == {"self"} else None

    return rule


def _element(*others: str) -> dict[str, Any]:
    return {"self": Rows(), **{name: Aligned() for name in others}, "out": Concat()}


ANNOTATIONS: dict[str, dict[str, Any]] = {
    "isna": {"obj": Rows(), "out": Concat()},
    "notna": {"obj": Rows(), "out": Concat()},
    "to_numeric": {"arg": Rows(), "out": Concat()},
    "Series.astype": _element(),
    "Series.abs": {"self": Rows(), "out": Concat(), "names": ("self",)},
    "Series.round": _element(),
    "Series.between": _element("left", "right"),
    "Series.isin": {"self": Rows(), "values": Broadcast(), "out": Concat()},
    "Series.where": {"self": Rows(), "cond": Rows(), "other": Aligned(), "out": Concat(),
                     "names": ("self", "cond", "other")},
    "Series.mask": {"self": Rows(), "cond": Rows(), "other": Aligned(), "out": Concat(),
                    "names": ("self", "cond", "other")},
    "Series.map": {"self": Rows(), "out": Concat(), "names": ("self", "arg", "na_action")},
    "Series.isna": {"self": Rows(), "out": Concat()},
    "Series.notna": {"self": Rows(), "out": Concat()},
    "Series.sum": {"self": Rows(), "out": _total("sum")},
    "Series.min": {"self": Rows(), "out": _total("min")},
    "Series.max": {"self": Rows(), "out": _total("max")},
    "Series.count": {"self": Rows(), "out": _total("sum")},
}  # fmt: skip
for _op in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt",
            "ge"):  # fmt: skip
    ANNOTATIONS[f"Series.{_op}"] = _element("other")
