"""The outside world as frames and batches: video files, assets.

`CONNECTORS` lists what gives frames; one contract suite (tests/connectors) runs on every entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal.planner.protocols import Video


@dataclass(frozen=True, slots=True)
class Connector:
    """A way to get at data. `opener` is `module:function`, imported at first use."""

    name: str
    meaning: str
    opener: str

    def load(self) -> Callable[..., Sequence[Video]]:
        """Import and return the opener."""
        module, _, function = self.opener.partition(":")
        return getattr(import_module(module), function)


_ROWS = (
    Connector(
        "video",
        "video files: one, a glob, a folder, or several of these",
        "foveal.connectors.video.source:open_videos",
    ),
)

CONNECTORS: Mapping[str, Connector] = {row.name: row for row in _ROWS}
