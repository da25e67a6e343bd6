"""Weights and pictures by formula: the same numbers as `taper_graph::Weights::seeded` and `taper_testing::picture`.

Made with NumPy 2.4.6; only integer arithmetic, square roots and products are used, so that any version gives the same
bits.
"""

import math

import numpy as np


def uniform(name: str, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) that depend on the tensor's name alone."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = ((np.arange(count, dtype=np.uint64) * 0x9E3779B9 + seed) & 0xFFFFFFFF).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float64) / 2**24


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a parameter as 32-bit floats; what it is for follows from its name and rank."""
    u = uniform(name, math.prod(shape)).reshape(shape)
    if name.endswith(".running_var"):
        values = 0.75 + 0.5 * u
    elif name.endswith((".running_mean", ".bias")):
        values = 0.2 * (u - 0.5)
    elif len(shape) == 1:
        values = 0.65 + 0.4 * u
    else:
        values = (2.0 * u - 1.0) * math.sqrt(6.0 / math.prod(shape[1:]))
    return values.astype(np.float32)


def state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """All tensors of a network, counters of batches left out."""
    return {name: tensor(name, shape) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def picture(height: int, width: int) -> np.ndarray:
    """A picture [height, width, 3] of 8-bit values: gradients that wrap round, crossed by tiles."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    slopes = 7 * x * (c + 1) + 5 * y * (3 - c) + ((x * y) >> 3)
    return ((slopes ^ ((x >> 2) * (y >> 3))) & 255).astype(np.uint8)


if __name__ == "__main__":
    for name, shape in [
        ("conv1.weight", (64, 3, 7, 7)),
        ("layer4.2.bn3.weight", (2048,)),
        ("layer4.2.bn3.running_var", (2048,)),
        ("fc.bias", (10,)),
    ]:
        print(name, tensor(name, shape).reshape(-1)[:3].tolist())
    print("picture", picture(197, 231)[[0, 100, 196], [0, 50, 230]].tolist())
