"""Functions and models: batches and pictures in, values and detections out.

`FUNCTIONS` lists the scalar functions over masks and pictures. Detectors are in `detectors`,
trackers in `tracking`.
"""

from foveal.udfs.pixels import FUNCTIONS, Function

__all__ = ["FUNCTIONS", "Function"]
