"""The logical rules, in the order they run, each once per pass until nothing changes.

| rule | does | why here |
|---|---|---|
| PruneTrack | drops tracking whose ids nobody reads | first: a track needs every frame |
| PushFilter | moves frame predicates below the detector | fewer frames to detect |
"""

from foveal.planner.rules.driver import Rule, optimize
from foveal.planner.rules.prune_track import PruneTrack
from foveal.planner.rules.push_filter import PushFilter

RULES: tuple[Rule, ...] = (PruneTrack(), PushFilter())

__all__ = ["RULES", "Rule", "optimize"]
