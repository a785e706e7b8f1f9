"""Every `foveal.*` setting: one row each, with its type, default, check and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foveal.errors import DataError, ProgrammingError, did_you_mean

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `choices` or `low`/`high` bound its value; `listed` the words of a list."""

    name: str
    default: Value
    meaning: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    listed: tuple[str, ...] = ()

    def parse(self, value: object) -> Value:
        """Return `value` as this setting's type.

        Raises:
            DataError: 22023, the value does not fit.
        """
        wanted = type(self.default)
        try:
            if wanted is bool:
                words = {
                    "true": True,
                    "on": True,
                    "1": True,
                    "yes": True,
                    "false": False,
                    "off": False,
                    "0": False,
                    "no": False,
                }
                parsed: Value = words[str(value).lower()]
            elif wanted is int:
                parsed = int(str(value))
            elif wanted is float:
                parsed = float(str(value))
            else:
                parsed = str(value).lower() if self.choices else str(value)
        except (ValueError, KeyError):
            raise self._refused(value) from None
        if self.choices and parsed not in self.choices:
            raise self._refused(value)
        if self.listed and not listed_words(str(parsed)) <= set(self.listed):
            raise self._refused(value)
        if isinstance(parsed, int | float) and not isinstance(parsed, bool):
            low_ok = self.low is None or parsed >= self.low
            high_ok = self.high is None or parsed <= self.high
            if not (low_ok and high_ok):
                raise self._refused(value)
        return parsed

    def _refused(self, value: object) -> DataError:
        if self.choices:
            hint = "choose one of " + ", ".join(self.choices)
        elif self.listed:
            hint = "give some of these, separated by commas: " + ", ".join(self.listed)
        elif self.low is not None or self.high is not None:
            hint = f"give a number from {self.low} to {self.high}"
        else:
            hint = f"give a {type(self.default).__name__}"
        return DataError(
            f'invalid value for foveal.{self.name}: "{value}"', sqlstate="22023", hint=hint
        )


def listed_words(value: str) -> frozenset[str]:
    """Return the words of a list, which commas separate.

    >>> sorted(listed_words("fuse, Order,"))
    ['fuse', 'order']
    """
    return frozenset(w.strip().lower() for w in value.split(",")) - {""}


_ROWS = (
    Setting(
        "guarantee",
        "finite",
        "guarantee of ERROR, FNR and FPR: exact, finite, asymptotic or none",
        choices=("exact", "finite", "asymptotic", "none"),
    ),
    Setting(
        "group_guarantee",
        "joint",
        "with GROUP BY the confidence holds for all rows together "
        "(joint) or for each row by itself (row)",
        choices=("joint", "row"),
    ),
    Setting(
        "confidence", 0.95, "confidence where AT CONFIDENCE is not given", low=0.5, high=0.999999
    ),
    Setting("seed", 0, "seed of every random draw", low=0, high=2**63 - 1),
    Setting("threads", 0, "threads of the detector; 0 takes all cores", low=0, high=1024),
    Setting("device", "cpu", "where models and compiled programs run", choices=("cpu", "cuda")),
    Setting("batch_frames", 8, "frames given to the detector at once", low=1, high=1024),
    Setting(
        "column_cache_memory",
        0.25,
        "share of the machine's memory that columns kept for compiled programs may take; "
        "0 keeps none",
        low=0,
        high=0.9,
    ),
    Setting(
        "compile",
        "auto",
        "whether compiled programs run parts of ordinary queries: auto where that pays",
        choices=("auto", "on", "off"),
    ),
    Setting(
        "compile_passes",
        "",
        "passes over compiled programs that are left out, separated by commas",
        listed=(
            "inline",
            "fold",
            "narrow",
            "sums",
            "share",
            "fuse",
            "order",
            "strategy",
            "predicate",
            "parameters",
        ),
    ),
    Setting("verify_plans", False, "check every plan after each rule"),
    Setting(
        "python_functions",
        "own",
        "which stored Python functions run: on (all), own (those that this user made on this "
        "machine) or off",
        choices=("on", "own", "off"),
    ),
    Setting("isolate_decode", True, "decode video in a child process"),
)

SETTINGS: Mapping[str, Setting] = {row.name: row for row in _ROWS}


def lookup(name: str) -> Setting:
    """Return the setting called `name` (without the `foveal.` prefix).

    Raises:
        ProgrammingError: 42704, there is none.
    """
    setting = SETTINGS.get(name.lower())
    if setting is None:
        raise ProgrammingError(
            f"unrecognized setting foveal.{name}",
            sqlstate="42704",
            hint=did_you_mean(name, SETTINGS),
        )
    return setting


def defaults() -> dict[str, Value]:
    """Return a fresh dictionary of every setting's default."""
    return {row.name: row.default for row in _ROWS}
