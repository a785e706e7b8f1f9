"""Parsed statement and snapshot in, bound logical plan out."""

from foveal.planner.bind.binder import Bound, bind

__all__ = ["Bound", "bind"]
