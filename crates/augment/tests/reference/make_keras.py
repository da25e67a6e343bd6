"""Writes keras.txt beside this script: what Keras' preprocessing layers make of a formula picture, for given factors.

Run with: KERAS_BACKEND=torch python make_keras.py
The layers' random draws are replaced by the values in the file; everything else is theirs.
"""

from pathlib import Path

import keras
import numpy as np
import torch
from keras import layers, ops

WIDTH, HEIGHT = 17, 12


def picture():
    """augment's tests/keras.rs has the same formula."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([(3 * x + 5 * y + 40 * c + (x * y % 17) * 6) % 256 for c in range(3)], -1).astype("float32")


def rotation(turn, fill):
    layer = layers.RandomRotation((turn, turn + 1e-9), fill_mode=fill)
    return layer.transform_images(picture(), layer.get_random_transformation(picture()[None]))


def zoom(factor, fill):
    layer = layers.RandomZoom((factor, factor), fill_mode=fill)
    return layer.transform_images(picture(), layer.get_random_transformation(picture()))


def translation(x, y, fill):
    layer = layers.RandomTranslation((y, y), (x, x), fill_mode=fill)
    return layer.transform_images(picture(), layer.get_random_transformation(picture()))


def contrast(factor):
    layer = layers.RandomContrast(0.5)
    return layer.transform_images(ops.convert_to_tensor(picture()), {"contrast_factor": torch.tensor([[[factor]]])})


def brightness(factor):
    layer = layers.RandomBrightness(0.5)
    return layer.transform_images(ops.convert_to_tensor(picture()), {"rgb_delta": torch.tensor([[[factor * 255.0]]])})


def affine(matrix, fill):
    return ops.image.affine_transform(picture(), np.array([*matrix, 0, 0], "float32"), interpolation="bilinear", fill_mode=fill)


lines = [f"# Keras {keras.__version__}, torch {torch.__version__} backend: step values fill pixels ({WIDTH} x {HEIGHT} RGB)"]


def add(step, values, fill, result):
    result = ops.convert_to_numpy(result).reshape(HEIGHT, WIDTH, 3)
    pixels = np.floor(result + 0.5).clip(0, 255).astype(np.uint8)
    lines.append(f"{step} {','.join(str(v) for v in values)} {fill} {pixels.tobytes().hex()}")


for fill in ("reflect", "nearest"):
    for turn in (0.05, -0.125, 0.3, 0.4):
        add("rotation", [turn], fill, rotation(turn, fill))
    for factor in (0.3, -0.4):
        add("zoom", [factor], fill, zoom(factor, fill))
    add("translation", [0.2, -0.35], fill, translation(0.2, -0.35, fill))
    matrix = [0.9, 0.3, -1.25, -0.2, 1.1, 2.5]
    add("affine", matrix, fill, affine(matrix, fill))
    far = [1.0, 0.0, 47.5, 0.0, 1.0, -61.25]
    add("affine", far, fill, affine(far, fill))
for factor in (0.5, 1.5):
    add("contrast", [factor], "reflect", contrast(factor))
for factor in (-0.3, 0.4):
    add("brightness", [factor], "reflect", brightness(factor))
Path(__file__).with_name("keras.txt").write_text("\n".join(lines) + "\n")
