"""Writes picture.png, torchvision.png and torchvision.txt beside this script: what torchvision v2 makes of a picture.

Run with: python make_torchvision.py
torchvision.png holds the results below each other, in the order of the lines of torchvision.txt (step, values, height).
Everything is deterministic: all factors are given.
"""

import io
import math
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

WIDTH, HEIGHT = 48, 40
BILINEAR = InterpolationMode.BILINEAR
# Without `fill` torchvision blends with black beyond the edges; with it, it weighs the rim twice.


def picture():
    """Soft gradients, a disc, stripes and a little noise: smooth parts, edges and all hues."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype("float64")
    planes = [
        120 + 80 * np.sin(x / 9) + 30 * np.cos(y / 5),
        110 + 70 * np.sin((x + y) / 11) + 25 * np.cos(x / 4),
        100 + 90 * np.cos(y / 8) + 20 * np.sin(x / 6),
    ]
    pixels = np.stack(planes, -1)
    pixels[(x - 15) ** 2 + (y - 14) ** 2 < 70] = [215, 60, 40]
    pixels[(x > 30) & (x < 44) & (y % 8 < 4)] = [30, 90, 200]
    pixels += np.random.default_rng(7).normal(0, 4, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


pixels = picture()
Image.fromarray(pixels).save(Path(__file__).with_name("picture.png"), optimize=True)
image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
lines, results = [], []


def add(step, values, result):
    result = result if isinstance(result, np.ndarray) else result.permute(1, 2, 0).numpy()
    assert result.dtype == np.uint8 and result.shape[1] == WIDTH, (step, result.shape)
    lines.append(f"{step} {','.join(str(v) for v in values)} {result.shape[0]}")
    results.append(result)


def affine(shear=(0.0, 0.0), translate=(0, 0), scale=1.0):
    return F.affine(image, 0.0, list(translate), scale, list(shear), interpolation=BILINEAR)


add("flip", [], F.horizontal_flip(image))
add("flip_vertical", [], F.vertical_flip(image))
for degrees in (30, -100):
    add("rotation", [degrees], F.rotate(image, degrees, interpolation=BILINEAR))
for shear in (20, -35):
    add("shear_x", [math.tan(math.radians(shear))], affine(shear=(shear, 0.0)))
    add("shear_y", [math.tan(math.radians(shear))], affine(shear=(0.0, shear)))
add("translation", [7, -5], affine(translate=(7, -5)))
for scale in (1.4, 0.8):
    add("zoom", [1 / scale], affine(scale=scale))
start = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
for moves in ([[5, 3], [2, 6], [7, 1], [4, 4]], [[0, 9], [9, 0], [0, 0], [12, 8]]):
    inwards = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    end = [[s[0] + i[0] * m[0], s[1] + i[1] * m[1]] for s, i, m in zip(start, inwards, moves)]
    warped = F.perspective(image, start, end, interpolation=BILINEAR)
    add("perspective", [v for move in moves for v in move], warped)
for top, left, height, width in ((4, 6, 30, 36), (0, 0, 40, 48), (11, 9, 13, 20)):
    crop = F.resized_crop(image, top, left, height, width, [48, 48], interpolation=BILINEAR, antialias=True)
    add("resized_crop", [left, top, width, height], crop)

for factor in (0.6, 1.4):
    add("brightness", [factor], F.adjust_brightness(image, factor))
for factor in (0.0, 0.5, 1.6):
    add("contrast", [factor], F.adjust_contrast(image, factor))
    add("saturation", [factor], F.adjust_saturation(image, factor))
    add("sharpness", [factor], F.adjust_sharpness(image, factor))
for turn in (0.2, -0.35, 0.5):
    add("hue", [turn], F.adjust_hue(image, turn))
add("grey", [], F.rgb_to_grayscale(image, 3))
for gamma in (0.6, 1.8):
    add("gamma", [gamma], F.adjust_gamma(image, gamma))
for bits in (1, 4, 8):
    add("posterize", [bits], F.posterize(image, bits))
for threshold in (0, 128, 255):
    add("solarize", [threshold], F.solarize(image, threshold))
add("invert", [], F.invert(image))
add("autocontrast", [], F.autocontrast(F.adjust_brightness(image, 0.6)))
add("equalize", [], F.equalize(image))
for sigma in (0.8, 2.0, 5.0):
    size = 2 * math.ceil(3 * sigma) + 1
    add("blur", [sigma], F.gaussian_blur(image, [size, size], [sigma, sigma]))
jittered = F.adjust_contrast(F.adjust_brightness(image, 0.8), 1.3)
jittered = F.adjust_hue(F.adjust_saturation(jittered, 0.6), 0.1)
add("jitter", [0.8, 1.3, 0.6, 0.1], jittered)
add("chain", [], F.equalize(F.solarize(F.posterize(F.adjust_gamma(image, 1.5), 5), 200)))
add("erase", [12, 6, 18, 20], F.erase(image, 6, 12, 20, 18, torch.tensor([128, 128, 128], dtype=torch.uint8)[:, None, None]))
for quality in (10, 50, 90):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    add("jpeg", [quality], np.asarray(Image.open(file).convert("RGB")))

header = f"# torchvision {torchvision.__version__}, torch {torch.__version__}, Pillow {PIL.__version__} (jpeg): step values height"
Path(__file__).with_name("torchvision.txt").write_text("\n".join([header, *lines]) + "\n")
Image.fromarray(np.concatenate(results)).save(Path(__file__).with_name("torchvision.png"), optimize=True)
