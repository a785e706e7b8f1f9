"""An ONNX file and the options in, a ready `OnnxDetector` out.

The file's input, outputs and metadata are looked at, and one run on a grey picture shows the true
shapes of its outputs; from these the family, the input size and the classes are found. What cannot
be found must be said in the options.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from foveal.errors import DataError, OperationalError, ProgrammingError, did_you_mean
from foveal.planner.protocols import DetectorInfo
from foveal.udfs.detectors import coco, picture
from foveal.udfs.detectors.boxes import Ints
from foveal.udfs.detectors.family import Family, Head, Outputs, Size
from foveal.udfs.detectors.graph import Graph, ModelFile, read_file
from foveal.udfs.detectors.onnx_detector import OnnxDetector
from foveal.udfs.detectors.options import Options
from foveal.udfs.detectors.picture import Picture

_GREY = 114


def open_onnx(
    name: str,
    path: Path,
    options: Options,
    families: Mapping[str, Family],
    *,
    threads: int,
    device: str,
) -> OnnxDetector:
    """Return the detector in the file at `path`, called `name`.

    Raises:
        OperationalError: 58P01 or 58030, the file is missing, corrupt or fails.
        NotSupportedError: 0A000, it does not take one batch of pictures.
        ProgrammingError: 42704, its family, or the one named, is not known.
        DataError: 22023, the options do not fit the file.
    """
    file = read_file(path)
    graph = Graph(file, threads=threads, device=device)
    wanted = options.family or graph.metadata.get("foveal.family")
    if wanted is not None and wanted not in families:
        raise ProgrammingError(
            f'unknown detector family "{wanted}"',
            sqlstate="42704",
            hint=did_you_mean(wanted, families) or "choose one of " + ", ".join(families),
        )
    size = _input_size(graph, file, options)
    outputs = _probe(graph, size)
    family, head = _family(name, outputs, size, families, wanted)
    classes, label_to_class = _classes(name, head, graph.metadata, options)
    how = family.picture
    if graph.input.kind == "tensor(uint8)":  # the graph normalises for itself
        how = replace(how, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    how = _adapted(how, options)
    info = DetectorInfo(
        name=name,
        family=family.name,
        key="",
        classes=classes,
        input_height=size.height,
        input_width=size.width,
        confidence=_confidence(graph, family, options),
        iou=options.iou,
        slices=options.slices,
        path=str(path),
    )
    info = replace(info, key=detector_key(file.digest, info, how))
    return OnnxDetector(info, graph, family, head, how, label_to_class)


def detector_key(content: str, info: DetectorInfo, how: Picture | None) -> str:
    """Return the hex digest that names a detector's answers: its content and every parameter."""
    parts = [
        content,
        info.family,
        repr(info.confidence),
        repr(info.iou),
        f"{info.input_width}x{info.input_height}",
        str(info.slices),
        json.dumps(info.classes),
        repr(how),
        str(picture.VERSION),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _confidence(graph: Graph, family: Family, options: Options) -> float:
    if options.confidence is not None:
        return options.confidence
    stated = _literal(graph.metadata.get("foveal.confidence"))
    return stated if isinstance(stated, float) and 0 < stated < 1 else family.confidence


def _adapted(how: Picture, options: Options) -> Picture:
    return replace(
        how,
        order=options.order or how.order,
        mean=how.mean if options.mean is None else options.mean,
        std=how.std if options.std is None else options.std,
    )


def _input_size(graph: Graph, file: ModelFile, options: Options) -> Size:
    fixed = graph.fixed_size
    if options.input is not None:
        if fixed is not None and fixed != options.input:
            graph.resize(file, options.input)
        return options.input
    if fixed is not None:
        return fixed
    stated = graph.metadata.get("foveal.input")
    if stated is not None:
        width, _, height = stated.partition("x")
        if width.isdigit() and height.isdigit():
            return Size(int(height), int(width))
    sides = _literal(graph.metadata.get("imgsz"))
    if isinstance(sides, list | tuple):  # Ultralytics: [height, width]
        numbers = list(cast("tuple[object, ...]", sides))
        if len(numbers) == 2 and all(isinstance(n, int) and n > 0 for n in numbers):
            return Size(*cast("list[int]", numbers))
    raise DataError(
        f'detector file "{graph.path}" leaves its input size open',
        sqlstate="22023",
        hint="say it: WITH (input = '640x640')",
    )


def _probe(graph: Graph, size: Size) -> Outputs:
    """Run once on grey; a graph that says it takes any batch but does not, is run singly."""
    grey = np.full((*size, 3), _GREY, dtype=np.uint8)
    plain = Picture("stretch", std=(1.0, 1.0, 1.0))
    try:
        if graph.batched:
            try:
                return graph.run(graph.batch([grey, grey], plain), size)
            except OperationalError:
                graph.batched = False
        return graph.run(graph.batch([grey], plain), size)
    except OperationalError as error:
        fixed = graph.file_size
        if fixed is None or fixed == size:
            raise
        raise DataError(
            f"the detector cannot take pictures of {size.width}x{size.height}",
            sqlstate="22023",
            detail=error.detail,
            hint=f"its own input is {fixed.width}x{fixed.height}",
        ) from error


def _family(
    name: str, outputs: Outputs, size: Size, families: Mapping[str, Family], wanted: str | None
) -> tuple[Family, Head]:
    shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in outputs.items())
    if wanted is not None:
        family = families[wanted]
        head = family.read(outputs, size)
        if head is None:
            raise DataError(
                f'the outputs of detector "{name}" do not fit the family "{wanted}"',
                sqlstate="22023",
                detail=f"with an input of {size.width}x{size.height} it answers {shapes}",
                hint=f"the layouts of {wanted} are those of {family.source}",
            )
        return family, head
    for family in dict.fromkeys(families.values()):
        head = family.read(outputs, size)
        if head is not None:
            return family, head
    raise ProgrammingError(
        f'cannot tell how to read the outputs of detector "{name}"',
        sqlstate="42704",
        detail=f"with an input of {size.width}x{size.height} it answers {shapes}",
        hint="say it: WITH (family = ...), one of " + ", ".join(families),
    )


def _literal(text: str | None) -> object:
    try:
        return ast.literal_eval(text or "")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _stated_names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the class names that the file states: foveal's JSON list or Ultralytics' mapping."""
    try:
        stated: Any = json.loads(metadata["foveal.classes"])
    except (KeyError, ValueError):
        stated = _literal(metadata.get("names"))
    if isinstance(stated, dict):
        table = cast("dict[object, object]", stated)
        stated = [table.get(i, table.get(str(i))) for i in range(len(table))]
    if not isinstance(stated, list | tuple):
        return None
    names = list(cast("list[object]", stated))
    if not names or not all(isinstance(n, str) for n in names):
        return None
    return tuple(cast("list[str]", names))


def _classes(
    name: str, head: Head, metadata: Mapping[str, str], options: Options
) -> tuple[tuple[str, ...], Ints]:
    """Return the class names, and the class of each label (-1 for none)."""
    names = options.classes or _stated_names(metadata)
    if names is None:
        if head.classes not in (0, len(coco.NAMES), 91):
            raise DataError(
                f'detector "{name}" scores {head.classes} classes and does not name them',
                sqlstate="22023",
                hint="say them: WITH (classes = 'names.txt') or WITH (classes = 'cat,dog')",
            )
        names = coco.NAMES
    expected = {head.classes} | ({len(coco.NAMES)} if head.labels == "coco" else set[int]())
    if head.classes and len(names) not in expected:
        raise DataError(
            f'detector "{name}" scores {head.classes} classes, but {len(names)} names are given',
            sqlstate="22023",
            hint="give one name per class, in the order of the network's outputs",
        )
    if head.labels == "coco" and len(names) == len(coco.NAMES):
        table = np.full(max(coco.CATEGORY_IDS) + 1, -1, dtype=np.int32)
        table[list(coco.CATEGORY_IDS)] = np.arange(len(names), dtype=np.int32)
        return names, table
    first = 0 if head.labels == "zero" or head.classes == len(names) else 1
    table = np.full(len(names) + first, -1, dtype=np.int32)
    table[first:] = np.arange(len(names), dtype=np.int32)
    return names, table
