"""Models that foveal trains itself, and the file of the one that comes with it.

Nothing here loads torch; the modules that train do.
"""

from __future__ import annotations

from pathlib import Path

DEMO_DETECTOR = Path(__file__).with_name("demo_detector.onnx")
"""The detector trained for the rendered traffic scene (docs/demo.md); run by ONNX Runtime."""
