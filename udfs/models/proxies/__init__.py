"""Specialised models (proxies): cheap looks at thumbnails that stand in for a detector's values.

`fit` tries families from cheap to dear; `FAMILIES` lists them in that order. To add one, write a
file with a class like `ridge.Ridge` and add its line.
"""

from __future__ import annotations

from collections.abc import Mapping

from foveal.udfs.models.proxies.cnn import Cnn
from foveal.udfs.models.proxies.embedding import Embedding
from foveal.udfs.models.proxies.family import Family
from foveal.udfs.models.proxies.filters import Filters
from foveal.udfs.models.proxies.fitted import Fitted, Trial, load
from foveal.udfs.models.proxies.fitting import SECONDS, fit
from foveal.udfs.models.proxies.interpolation import Interpolation
from foveal.udfs.models.proxies.kernel import Kernel
from foveal.udfs.models.proxies.mean import Mean
from foveal.udfs.models.proxies.ridge import Ridge
from foveal.udfs.models.proxies.scene import Extras, Keeper, background_positions
from foveal.udfs.models.proxies.small_detector import SmallDetector
from foveal.udfs.models.proxies.trees import Trees

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Mean(), Interpolation(), Ridge(), Kernel(), Filters(), Embedding(), Trees(), Cnn(),
        SmallDetector(),
    )
}  # fmt: skip
"""Families by name, from cheap to dear."""
BASELINES = ("mean", "interpolation")
"""Families that look at no pixels: what the others must beat."""
LAST_RESORTS = ("small_detector",)
"""Families whose features the caller offers; tried only where the others leave half unexplained."""

__all__ = [
    "BASELINES",
    "FAMILIES",
    "LAST_RESORTS",
    "SECONDS",
    "Extras",
    "Family",
    "Fitted",
    "Keeper",
    "Trial",
    "background_positions",
    "fit",
    "load",
]
