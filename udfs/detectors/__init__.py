"""Object detectors: a name or a file in, a `Detector` out.

`FAMILIES` lists every family in the order in which a file's outputs are tried. To add one, write
its file and add its line here. Each family says in `evidence` whether it was run on a released
file, or was written from its publisher's layout and tested on graphs of that layout only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from foveal.errors import ProgrammingError
from foveal.planner.protocols import Detector
from foveal.udfs.detectors import options as options_
from foveal.udfs.detectors.family import Family
from foveal.udfs.detectors.fastestdet import FAMILY as FASTESTDET
from foveal.udfs.detectors.heatmap import FAMILY as HEATMAP
from foveal.udfs.detectors.loading import open_onnx
from foveal.udfs.detectors.options import MEANINGS as OPTIONS
from foveal.udfs.detectors.picodet import FAMILY as PICODET
from foveal.udfs.detectors.profiling import profile
from foveal.udfs.detectors.rtdetr import FAMILY as RTDETR
from foveal.udfs.detectors.ssd import FAMILY as SSD
from foveal.udfs.detectors.yolov5 import FAMILY as YOLOV5
from foveal.udfs.detectors.yolov8 import FAMILY as YOLOV8
from foveal.udfs.detectors.yolox import FAMILY as YOLOX
from foveal.udfs.models import DEMO_DETECTOR

__all__ = ["DEMO", "FAMILIES", "OPTIONS", "load", "profile"]

FAMILIES: Mapping[str, Family] = {
    "heatmap": HEATMAP,
    "yolox": YOLOX,
    "yolov5": YOLOV5,
    "yolov7": YOLOV5,
    "yolov8": YOLOV8,
    "yolov9": YOLOV8,
    "yolov10": YOLOV8,
    "yolov11": YOLOV8,
    "fastestdet": FASTESTDET,
    "picodet": PICODET,
    "ssd": SSD,
    "rtdetr": RTDETR,
    "dfine": RTDETR,
}
"""Every word that the option `family` takes. A file that names no family is tried in this order."""

DEMO = "demo"
"""The name of the small detector that comes with foveal."""

_TORCHVISION = "torchvision:"


def load(
    spec: str,
    *,
    options: Mapping[str, str | int | float | bool],
    resolve: Callable[[str], Path],
    threads: int,
    device: str,
) -> Detector:
    """Return the detector that `spec` names, with the options of `OPTIONS` (others are ignored).

    `spec`: `demo`; a path to an .onnx file; `torchvision:fasterrcnn_resnet50_fpn` and its kin; or a
    plain name, which `resolve` turns into a path ('yolox_nano' asks for 'yolox_nano.onnx').
    `threads`: 0 takes all cores. `device`: cpu or cuda.

    Raises:
        OperationalError: 58P01 or 58030, the file is missing, corrupt or fails; 58000, no such
            device here; and whatever `resolve` raises.
        NotSupportedError: 0A000, the file does not take one batch of pictures.
        ProgrammingError: 42704, the detector or its family is not known.
        DataError: 22023, an option's value is wrong or does not fit the file.
    """
    wanted = options_.parse(options, resolve)
    if spec.startswith(_TORCHVISION):
        from foveal.udfs.models import torchvision_detector

        return torchvision_detector.load(
            spec.removeprefix(_TORCHVISION), wanted, threads=threads, device=device
        )
    if spec == DEMO:
        return open_onnx(spec, DEMO_DETECTOR, wanted, FAMILIES, threads=threads, device=device)
    if not spec:
        raise ProgrammingError(
            "no detector is named",
            sqlstate="42704",
            hint="WITH (detector = 'yolox_nano'), a path to an .onnx file, or 'demo'",
        )
    path = Path(spec).expanduser()
    if not path.is_file():
        path = resolve(spec if spec.endswith(".onnx") else f"{spec}.onnx")
    return open_onnx(spec, path, wanted, FAMILIES, threads=threads, device=device)
