"""Sampling statistics: wanted means and ratios in, frames to look at and valid intervals out."""

from foveal.planner.estimators.design import SamplingRun
from foveal.planner.estimators.forecast import Forecast, forecast
from foveal.planner.estimators.targets import (
    Costs,
    FrameGroup,
    Interval,
    MeanTarget,
    RatioTarget,
)

__all__ = [
    "Costs",
    "Forecast",
    "FrameGroup",
    "Interval",
    "MeanTarget",
    "RatioTarget",
    "SamplingRun",
    "forecast",
]
