"""SystemScan: one of foveal's own catalogs."""

from __future__ import annotations

from foveal.engine.executor import Runtime
from foveal.engine.substrate import ArrowStream
from foveal.planner.physical import SystemScan


def system_scan(node: SystemScan, runtime: Runtime) -> ArrowStream:
    """Return the catalog's rows as they are now."""
    return runtime.system(node.name)
