"""Makes pictures look as if a cheap camera had taken them: another light, a colour cast, less contrast, a turned and
off-centre view, blur, noise and strong compression; each by its own amounts, which depend on the file's name alone.

    python crates/bench/python/webcam.py FROM TO

Writes every picture under the folder FROM to the same place under the new folder TO, as JPEG.
"""

import hashlib
import pathlib
import sys

import numpy as np
from PIL import Image, ImageFilter


def shifted(picture: Image.Image, draw: np.random.Generator) -> Image.Image:
    picture = picture.convert("RGB")
    width, height = picture.size
    edge = np.asarray(picture)[[0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=0)
    picture = picture.rotate(
        draw.uniform(-12, 12),
        Image.Resampling.BICUBIC,
        translate=(round(draw.uniform(-0.06, 0.06) * width), round(draw.uniform(-0.06, 0.06) * height)),
        fillcolor=tuple(int(v) for v in edge),
    )
    picture = picture.filter(ImageFilter.GaussianBlur(draw.uniform(0.4, 1.6) * width / 300))
    pixels = np.asarray(picture).astype(np.float64) / 255
    contrast, light = draw.uniform(0.55, 0.95), draw.uniform(-0.18, 0.08)
    pixels = (pixels - 0.5) * contrast + 0.5 + light
    pixels *= draw.uniform([0.9, 0.92, 0.8], [1.1, 1.05, 1.05])
    across = np.linspace(-1, 1, width)[None, :, None] * draw.uniform(-0.08, 0.08)
    pixels += across + draw.normal(0, draw.uniform(0.01, 0.035), pixels.shape)
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def main() -> None:
    source, target = map(pathlib.Path, sys.argv[1:])
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        name = path.relative_to(source)
        seed = int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:8], "little")
        draw = np.random.default_rng(seed)
        to = (target / name).with_suffix(".jpg")
        to.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            shifted(picture, draw).save(to, quality=int(draw.integers(45, 80)))


if __name__ == "__main__":
    main()
