"""The demonstration's detector: pictures of rendered scenes in, a small ONNX file out.

Two classes, one output stride, no anchors: every object is the peak of its class's heat map, and
size and offset are read at the peak.
Source: Zhou, Wang, Krähenbühl, "Objects as Points" (2019), sections 3 and 4; the boxes' loss is
generalised IoU, Rezatofighi et al. (CVPR 2019), weighted by the heat map as in TTFNet, Liu et al.
(AAAI 2020), section 3.

    python -m foveal.connectors.video.scene_samples samples.npz
    python -m foveal.udfs.models.demo_detector samples.npz --out udfs/models/demo_detector.onnx
"""

# torch is an extra: where it is not installed, nothing of it has a type.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportUntypedBaseClass=false, reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.planner.protocols import Detections
from foveal.udfs.detectors.boxes import suppress
from foveal.udfs.detectors.family import Head, Size
from foveal.udfs.detectors.heatmap import FAMILY
from foveal.udfs.models import DEMO_DETECTOR
from foveal.udfs.models.accuracy import Tally, best_threshold

CLASSES = ("car", "person")
OUTPUTS = ("heatmap", "size", "offset")
WIDTH, HEIGHT, STRIDE = 320, 192, 8
LEAST_VISIBLE, DOUBTFUL = 0.5, 0.4
"""Objects are to be found from this visible share on; between the two the loss is blind."""


class Block(nn.Module):
    """A 3x3 convolution with batch norm and ReLU; `step` 1 with equal channels adds the input."""

    def __init__(self, taken: int, given: int, step: int = 1) -> None:
        """Take `taken` channels and give `given` at 1 / `step` of the resolution."""
        super().__init__()
        self.convolution = nn.Conv2d(taken, given, 3, step, 1, bias=False)
        self.norm = nn.BatchNorm2d(given)
        self.residual = step == 1 and taken == given

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, given, H / step, W / step]."""
        y = functional.relu(self.norm(self.convolution(x)))
        return x + y if self.residual else y


class HeatmapNetwork(nn.Module):
    """A stem to stride 8, two coarser levels merged back top-down, and one head."""

    def __init__(self) -> None:
        """Start with random weights, and every cell expecting no object."""
        super().__init__()
        self.fine = nn.Sequential(
            Block(3, 16, 2), Block(16, 24, 2), Block(24, 24), Block(24, 56, 2), Block(56, 56)
        )
        self.middle = nn.Sequential(Block(56, 80, 2), Block(80, 80))
        self.coarse = nn.Sequential(Block(80, 112, 2), Block(112, 112))
        self.from_coarse = nn.Conv2d(112, 80, 1)
        self.from_middle = nn.Conv2d(80, 48, 1)
        self.from_fine = nn.Conv2d(56, 48, 1)
        self.merge = nn.Sequential(Block(48, 48), Block(48, 48))
        self.heat = nn.Conv2d(48, len(CLASSES), 1)
        self.shape = nn.Conv2d(48, 4, 1)
        nn.init.constant_(_bias(self.heat), -3.0)
        nn.init.constant_(_bias(self.shape), 0.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return heat map (0..1), size (input pixels) and offset (cells) of float32 RGB 0..1."""
        fine = self.fine(x * 4 - 2)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = middle + functional.interpolate(self.from_coarse(coarse), scale_factor=2.0)
        merged = self.from_fine(fine) + functional.interpolate(
            self.from_middle(middle), scale_factor=2.0
        )
        merged = self.merge(functional.relu(merged))
        shape = self.shape(merged)
        size = torch.exp(torch.clamp(shape[:, :2], -3, 3)) * 20.0
        return torch.sigmoid(self.heat(merged)), size, shape[:, 2:] + 0.5


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What `scene_samples` wrote, in memory; see `write_samples` for shapes."""

    images: npt.NDArray[np.uint8]
    picture: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    box: npt.NDArray[np.float32]
    visible: npt.NDArray[np.float32]
    inside: npt.NDArray[np.float32]

    @classmethod
    def load(cls, path: str | Path) -> Samples:
        """Read a file of training pictures."""
        with np.load(path) as file:
            return cls(**{name: file[name] for name in cls.__slots__})

    def truth(self, picture: int) -> Detections:
        """Return the objects to be found in one picture."""
        rows = self.picture == picture
        rows &= (self.visible >= LEAST_VISIBLE) & (self.inside >= LEAST_VISIBLE)
        ones = np.ones(int(rows.sum()), np.float32)
        return Detections(self.box[rows], ones, self.kind[rows].astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What the network should say of one picture. Maps [.., 24, 40].

    `heat` [2]: 1 at each centre, falling off; `mask` [2]: 0 where nothing is to be learnt;
    `box` [4]: the box (input pixels) that a cell should give; `weight`: how much that counts.
    """

    heat: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]


def targets(
    box: npt.NDArray[np.float32],
    kind: npt.NDArray[np.int64],
    share: npt.NDArray[np.float32],
) -> Targets:
    """Return the maps for one picture's objects; `share` is the lesser of visible and inside."""
    rows, columns = HEIGHT // STRIDE, WIDTH // STRIDE
    heat = np.zeros((len(CLASSES), rows, columns), np.float32)
    mask = np.ones_like(heat)
    boxes = np.zeros((4, rows, columns), np.float32)
    weight = np.zeros((rows, columns), np.float32)
    x, y = np.arange(columns) + 0.5, np.arange(rows)[:, None] + 0.5
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    for k in np.argsort(-area):
        if share[k] < DOUBTFUL:
            continue
        x0, y0, x1, y1 = (float(v) / STRIDE for v in box[k])
        dx, dy = x - (x0 + x1) / 2, y - (y0 + y1) / 2
        row = min(int((y0 + y1) / 2), rows - 1)
        column = min(int((x0 + x1) / 2), columns - 1)
        if share[k] < LEAST_VISIBLE:
            mask[kind[k]][(np.abs(dx) < 1) & (np.abs(dy) < 1)] = 0
            continue
        spread_x, spread_y = max(0.09 * (x1 - x0), 0.4), max(0.09 * (y1 - y0), 0.4)
        bell = np.exp(-(dx**2) / (2 * spread_x**2) - dy**2 / (2 * spread_y**2)).astype(np.float32)
        np.maximum(heat[kind[k]], bell, out=heat[kind[k]])
        heat[kind[k], row, column] = 1.0
        mask[kind[k], row, column] = 1.0
        bell[row, column] = 1.0
        taken = bell > np.maximum(weight, 0.15)
        boxes[:, taken] = box[k][:, None]
        weight[taken] = bell[taken]
    return Targets(heat, mask, boxes, weight)


def _batches(
    samples: Samples, chosen: npt.NDArray[np.int64], size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Yield shuffled, mirrored and tinted batches: pictures, heat, mask, box, weight."""
    starts = np.searchsorted(samples.picture, np.arange(len(samples.images) + 1))
    share = np.minimum(samples.visible, samples.inside)
    order = rng.permutation(chosen)
    for at in range(0, len(order) - size + 1, size):
        pictures: list[npt.NDArray[np.float32]] = []
        wanted: list[Targets] = []
        for n in order[at : at + size]:
            rows = slice(int(starts[n]), int(starts[n + 1]))
            image, box = samples.images[n].astype(np.float32) / 255, samples.box[rows]
            if rng.random() < 0.5:
                image = image[:, ::-1]
                box = np.stack([WIDTH - box[:, 2], box[:, 1], WIDTH - box[:, 0], box[:, 3]], axis=1)
            tint = rng.normal(1, 0.06, 3) * rng.uniform(0.8, 1.2)
            image = np.clip(image * tint + rng.uniform(-0.04, 0.04), 0, 1)
            pictures.append(image.transpose(2, 0, 1).astype(np.float32))
            wanted.append(targets(box, samples.kind[rows], share[rows]))
        yield (
            torch.from_numpy(np.stack(pictures)),
            torch.from_numpy(np.stack([t.heat for t in wanted])),
            torch.from_numpy(np.stack([t.mask for t in wanted])),
            torch.from_numpy(np.stack([t.box for t in wanted])),
            torch.from_numpy(np.stack([t.weight for t in wanted])),
        )


def loss(
    output: tuple[Tensor, Tensor, Tensor], heat: Tensor, mask: Tensor, box: Tensor, weight: Tensor
) -> Tensor:
    """Return the focal loss of the heat map plus the weighted generalised-IoU loss of the boxes."""
    said, size, offset = output
    said = torch.clamp(said, 1e-4, 1 - 1e-4)
    centre = heat.ge(0.999).float()
    found = torch.log(said) * (1 - said) ** 2 * centre
    missed = torch.log(1 - said) * said**2 * (1 - heat) ** 4 * (1 - centre)
    focal = -((found + missed) * mask).sum() / centre.sum().clamp(min=1)
    rows, columns = heat.shape[2:]
    cell_x = torch.arange(columns, dtype=torch.float32)[None, None, :]
    cell_y = torch.arange(rows, dtype=torch.float32)[None, :, None]
    x, y = (cell_x + offset[:, 0]) * STRIDE, (cell_y + offset[:, 1]) * STRIDE
    half_w, half_h = size[:, 0] / 2, size[:, 1] / 2
    mine = (x - half_w, y - half_h, x + half_w, y + half_h)
    return focal + 2.0 * (_giou_loss(mine, box) * weight).sum() / weight.sum().clamp(min=1)


def _giou_loss(a: tuple[Tensor, Tensor, Tensor, Tensor], b: Tensor) -> Tensor:
    wide = (torch.minimum(a[2], b[:, 2]) - torch.maximum(a[0], b[:, 0])).clamp(min=0)
    high = (torch.minimum(a[3], b[:, 3]) - torch.maximum(a[1], b[:, 1])).clamp(min=0)
    common = wide * high
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) - common
    around = (torch.maximum(a[2], b[:, 2]) - torch.minimum(a[0], b[:, 0])) * (
        torch.maximum(a[3], b[:, 3]) - torch.minimum(a[1], b[:, 1])
    )
    return 1 - common / union.clamp(min=1e-6) + (around - union) / around.clamp(min=1e-6)


def train(
    samples: Samples, *, epochs: int, seed: int, batch: int = 16, held_out: int = 300
) -> tuple[HeatmapNetwork, float]:
    """Return the trained network and the threshold at which it does best on held-out pictures.

    The last `held_out` pictures (other scenes than the rest) are not trained on. Prints one line
    per epoch. Deterministic for a seed, a build of torch and a thread count.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = HeatmapNetwork()
    trained = np.arange(len(samples.images) - held_out)
    steps = epochs * (len(trained) // batch)
    rate = 3e-3
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    threshold, step, began = 0.3, 0, time.monotonic()
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for pictures, *wanted in _batches(samples, trained, batch, rng):
            warm = min(1.0, (step + 1) / 150)
            for group in optimiser.param_groups:
                group["lr"] = (
                    warm * rate * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
                )
            optimiser.zero_grad()
            value = loss(network(pictures), *wanted)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            total += float(value.detach())
            step += 1
        threshold, reached = score(network, samples, held_out)
        print(
            f"epoch {epoch + 1}/{epochs} loss {total / (len(trained) // batch):.3f} "
            f"precision {reached.precision:.3f} recall {reached.recall:.3f} at {threshold:.2f}, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    return network, threshold


def score(network: HeatmapNetwork, samples: Samples, held_out: int) -> tuple[float, Tally]:
    """Return the best threshold on the last `held_out` pictures, and how the network does there."""
    network.eval()
    head = Head(Size(HEIGHT, WIDTH), len(CLASSES), strides=(STRIDE,))
    found: list[Detections] = []
    first = len(samples.images) - held_out
    for n in range(first, len(samples.images)):
        picture = samples.images[n].astype(np.float32).transpose(2, 0, 1)[None] / 255
        with torch.no_grad():
            maps = (output.numpy() for output in network(torch.from_numpy(picture)))
        for peaks in FAMILY.decode(dict(zip(OUTPUTS, maps, strict=True)), head, 0.05):
            kept = suppress(peaks.boxes, peaks.scores, peaks.labels, 0.45)
            found.append(Detections(peaks.boxes[kept], peaks.scores[kept], peaks.labels[kept]))
    return best_threshold(found, [samples.truth(n) for n in range(first, len(samples.images))])


def export(network: HeatmapNetwork, path: str | Path, confidence: float) -> None:
    """Write the network as ONNX, with the metadata by which a loader knows the family."""
    network.eval()
    with warnings.catch_warnings():
        # The TorchScript exporter needs no further package; it announces its successor each time.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, HEIGHT, WIDTH),),
            str(path),
            input_names=["images"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in ("images", *OUTPUTS)},
            opset_version=17,
            dynamo=False,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(
        model,
        {
            "foveal.family": "heatmap",
            "foveal.classes": json.dumps(CLASSES, separators=(",", ":")),
            "foveal.input": f"{WIDTH}x{HEIGHT}",
            "foveal.stride": str(STRIDE),
            "foveal.confidence": f"{confidence:.2f}",
        },
    )
    onnx.checker.check_model(model)
    Path(path).write_bytes(model.SerializeToString())


def main() -> None:
    """Train and export, as the command line asks."""
    parser = argparse.ArgumentParser(description="Train the demonstration's detector.")
    parser.add_argument("samples", type=Path, help="a file written by scene_samples")
    parser.add_argument("--out", type=Path, default=DEMO_DETECTOR)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    network, threshold = train(Samples.load(chosen.samples), epochs=chosen.epochs, seed=chosen.seed)
    export(network, chosen.out, threshold)
    print(f"{chosen.out}: {chosen.out.stat().st_size} bytes, confidence {threshold:.2f}")


if __name__ == "__main__":
    main()
