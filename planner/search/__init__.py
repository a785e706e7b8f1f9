"""The mathematics of searching for frames that satisfy a condition, far enough apart: pure numbers.

`belief` how many frames may satisfy it, `forecast` what each way to find them should cost,
`spacing` which found ones to keep, `spread` where to look next when nothing is known, `nearness`
what labels say of the frames around them, `run` all of it at work.
"""

from foveal.planner.search.belief import Belief, effective_trials
from foveal.planner.search.forecast import Outlook, Prices, Quest, forecast
from foveal.planner.search.run import SearchRun, Step
from foveal.planner.search.spacing import pack

__all__ = [
    "Belief",
    "Outlook",
    "Prices",
    "Quest",
    "SearchRun",
    "Step",
    "effective_trials",
    "forecast",
    "pack",
]
