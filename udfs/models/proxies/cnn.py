"""A tiny convolutional network on the picture and its difference from the background.

Three convolutions of stride 2 and a linear head on a 4 x 4 grid: with a fixed camera the place is
a feature, so there is no global pooling and no augmentation. torch trains it; numpy runs it, so
that a kept model needs no torch. Source: after Kang et al., "NoScope", VLDB 2017, section 5.
"""

# torch is an extra: where it is not installed, nothing of it has a type.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from foveal.udfs.models.proxies.family import Arrays, Parameters, Problem, Trained, refitted
from foveal.udfs.models.proxies.folds import gap_folds, interleaved_folds
from foveal.udfs.models.proxies.scene import MOST, Doubles, Positions, Scene, Singles, halved

CHANNELS = (3, 8, 16, 32)
GRID, SPAN = 4, 3
EPOCHS, BATCH, RATE, DECAY = 60, 32, 3e-3, 1e-3
JUDGING_FOLDS = 3
CHUNK = 256


def planes(scene: Scene, positions: Positions) -> Singles:
    """Return gray, signed and absolute difference, float32 [n, 3, 48, 48], each about -1..1."""
    parts: list[Singles] = []
    for start in range(0, len(positions), CHUNK):
        scene.cancel()
        chunk = positions[start : start + CHUNK]
        gray = halved(scene.pictures(chunk)) / np.float32(127.5) - np.float32(1)
        less = np.clip(scene.differences(chunk), -MOST, MOST) / np.float32(MOST)
        parts.append(np.stack([gray, less, np.abs(less)], axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, 3, 48, 48), np.float32)


def convolved(images: Singles, weights: Singles, bias: Singles) -> Singles:
    """Return the rectified 3 x 3 convolution of stride 2, border of one: [n, out, h/2, w/2]."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SPAN, SPAN), axis=(2, 3))
    windows = windows[:, :, ::2, ::2].transpose(0, 2, 3, 1, 4, 5)
    count, rows, columns = windows.shape[:3]
    flat = windows.reshape(count * rows * columns, -1) @ weights.reshape(len(weights), -1).T + bias
    return np.maximum(flat, 0).reshape(count, rows, columns, -1).transpose(0, 3, 1, 2)


def _pooling(side: int) -> Singles:
    """Return what averages a row of `side` into GRID cells that may overlap, [GRID, side]."""
    out = np.zeros((GRID, side), np.float32)
    for cell in range(GRID):
        first, end = cell * side // GRID, -(-(cell + 1) * side // GRID)
        out[cell, first:end] = 1 / (end - first)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """`kernels` [out, in, 3, 3] and `biases` per layer, `head` [4 * 4 * 32 + 1], its last a bias.

    score = scale * network + shift.
    """

    kernels: tuple[Singles, ...]
    biases: tuple[Singles, ...]
    head: Singles
    scale: float
    shift: float

    def predict(self, scene: Scene, positions: Positions) -> Doubles:
        """Return the score of each frame, float64 [n]."""
        scores = np.zeros(len(positions))
        for start in range(0, len(positions), CHUNK):
            seen = planes(scene, positions[start : start + CHUNK])
            scores[start : start + CHUNK] = self.of(seen)
        return scores

    def of(self, seen: Singles) -> Doubles:
        """Return the scores of planes [n, 3, 48, 48]."""
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            seen = convolved(seen, kernel, bias)
        pooling = _pooling(seen.shape[2])
        cells = np.einsum("gh,nchw,kw->ncgk", pooling, seen, pooling, optimize=True)
        flat = cells.reshape(len(seen), -1) @ self.head[:-1] + self.head[-1]
        return self.scale * flat.astype(np.float64) + self.shift

    def dump(self) -> tuple[Arrays, Parameters]:
        """Return all it is made of."""
        arrays: dict[str, npt.NDArray[np.float32]] = {"head": self.head}
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            arrays[f"kernel{i}"], arrays[f"bias{i}"] = kernel, bias
        return arrays, {"scale": self.scale, "shift": self.shift}


def train(seen: Singles, values: Doubles, problem: Problem) -> Network:
    """Fit a network on planes [n, 3, 48, 48] and values [n] with torch, seeded."""
    import torch
    from torch import nn

    shift, scale = float(values.mean()), max(float(values.std()), 1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        layers = [nn.Conv2d(a, b, SPAN, stride=2, padding=1) for a, b in pairwise(CHANNELS)]
        head = nn.Linear(GRID * GRID * CHANNELS[-1], 1)
        body: list[nn.Module] = []
        for layer in layers:
            body += [layer, nn.ReLU()]
        network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), head)
        steps = EPOCHS * -(-len(values) // BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        inputs = torch.from_numpy(seen)
        targets = torch.from_numpy(((values - shift) / scale).astype(np.float32))
        for _ in range(EPOCHS):
            problem.scene.cancel()
            order = torch.randperm(len(values))
            for start in range(0, len(values), BATCH):
                chosen = order[start : start + BATCH]
                optimizer.zero_grad()
                loss = ((network(inputs[chosen])[:, 0] - targets[chosen]) ** 2).mean()
                loss.backward()
                optimizer.step()
                rates.step()

    def plain(tensor: torch.Tensor) -> Singles:
        return np.array(tensor.detach().numpy(), np.float32)

    return Network(
        tuple(plain(layer.weight) for layer in layers),
        tuple(plain(layer.bias) for layer in layers if layer.bias is not None),
        np.append(plain(head.weight)[0], plain(head.bias)).astype(np.float32),
        scale,
        shift,
    )


class Cnn:
    """A tiny convolutional network; needs torch to train, and many labels."""

    name = "cnn"
    least_labels = 300

    def seconds(self, labels: int) -> float:
        """Return about how long fitting takes; endless where there is no torch."""
        return 3.0 + 0.05 * labels if find_spec("torch") is not None else float("inf")

    def fit(self, problem: Problem) -> Trained:
        """Fit and judge, on fewer folds than others: each costs a training."""
        seen = planes(problem.scene, problem.labelled)

        def scores(rows: Positions, judged: Positions) -> Doubles:
            return train(seen[rows], problem.values[rows], problem).of(seen[judged])

        folds = gap_folds(problem.times, problem.videos, problem.gap, JUDGING_FOLDS)
        far = refitted(problem, folds, scores)
        near = far
        if problem.near.share >= 0.5:
            near = refitted(problem, interleaved_folds(len(seen), JUDGING_FOLDS), scores)
        return Trained(train(seen, problem.values, problem), far, near)

    def load(self, arrays: Arrays, parameters: Parameters) -> Network:
        """Return the model that was dumped."""
        layers: Sequence[int] = range(len(CHANNELS) - 1)
        return Network(
            tuple(np.asarray(arrays[f"kernel{i}"], np.float32) for i in layers),
            tuple(np.asarray(arrays[f"bias{i}"], np.float32) for i in layers),
            np.asarray(arrays["head"], np.float32),
            float(parameters["scale"]),
            float(parameters["shift"]),
        )
