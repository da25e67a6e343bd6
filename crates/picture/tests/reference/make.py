"""Writes the reference files beside this script: small pictures in many formats, and what Pillow and torchvision make of them.

Run with: python make.py
Versions used: see the first line of decode.txt and prepare.txt. No random numbers: every picture is a formula, which
reference.rs repeats.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import torchvision
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

HERE = Path(__file__).parent
(HERE / "pictures").mkdir(exist_ok=True)


def smooth(width, height):
    """Gradients, which survive JPEG."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) * 3 % 256], -1).astype(np.uint8)


def rough(width, height):
    """Edges and detail, which tell filters apart."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(3 * x + 5 * y + 40 * c + (x * y % 17) * 6) % 256 for c in range(3)], -1).astype(np.uint8)


def png16(path, array):
    """A 16-bit PNG, which Pillow cannot write for RGB."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def write_pictures():
    out = HERE / "pictures"
    rgb = Image.fromarray(smooth(32, 24))
    grey = rgb.convert("L")
    alpha = Image.fromarray(np.tile(np.arange(32, dtype=np.uint8) * 8, (24, 1)))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    rgb.save(out / "444.jpg", quality=95, subsampling=0)
    rgb.save(out / "420.jpg", quality=95, subsampling=2)
    Image.fromarray(smooth(33, 27)).save(out / "422-odd.jpg", quality=95, subsampling=1)
    rgb.save(out / "progressive.jpg", quality=95, subsampling=2, progressive=True)
    rgb.save(out / "restart.jpg", quality=95, subsampling=0, restart_marker_blocks=3)
    rgb.save(out / "rgb-not-ycc.jpg", quality=95, keep_rgb=True)
    grey.save(out / "grey.jpg", quality=95)
    Image.fromarray(np.concatenate([smooth(32, 24), np.full((24, 32, 1), 60, np.uint8)], -1), "CMYK").save(out / "cmyk.jpg", quality=95)
    for orientation in range(1, 9):
        rgb.save(out / f"exif-{orientation}.jpg", quality=95, subsampling=0, exif=exif(orientation))
    rgb.save(out / "exif-6.png", exif=exif(6))
    rgb.save(out / "rgb.png")
    rgba.save(out / "rgba.png")
    grey.save(out / "grey.png")
    Image.merge("LA", (grey, alpha)).save(out / "grey-alpha.png")
    rgb.quantize(7).save(out / "palette.png")
    rgb.quantize(7).save(out / "palette-transparent.png", transparency=2)
    grey.convert("1").save(out / "bilevel.png")
    y, x = np.mgrid[:24, :32]
    deep = np.stack([x * 2047, y * 2730, (x * y * 97) % 65536], -1)
    png16(out / "rgb16.png", deep)
    png16(out / "grey16.png", deep[..., 2:])
    second = Image.fromarray(255 - smooth(32, 24))
    rgb.save(out / "animated.gif", save_all=True, append_images=[second], duration=100)
    rgb.quantize(7).save(out / "transparent.gif", transparency=2)
    rgb.save(out / "lossless.webp", lossless=True)
    rgba.save(out / "alpha.webp", lossless=True, exact=True)
    rgb.save(out / "lossy.webp", quality=90)
    rgb.save(out / "animated.webp", save_all=True, append_images=[second], duration=100, lossless=True)
    rgb.save(out / "rgb.bmp")
    rgb.quantize(7).save(out / "palette.bmp")
    rgb.save(out / "lzw.tiff", compression="tiff_lzw")
    grey.save(out / "grey.tiff")
    Image.fromarray(smooth(1, 1)).save(out / "one-pixel.png")


def write_decoded():
    lines = [f"# Pillow {PIL.__version__}: name width height pixels (RGB, rows from the top, over white, upright)"]
    for path in sorted((HERE / "pictures").iterdir()):
        picture = ImageOps.exif_transpose(Image.open(path))
        if path.stem in ("rgb16", "grey16"):
            continue  # Pillow takes the upper byte or clips; the test has the formula.
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        picture = picture.convert("RGB")
        lines.append(f"{path.name} {picture.width} {picture.height} {picture.tobytes().hex()}")
    (HERE / "decode.txt").write_text("\n".join(lines) + "\n")


def write_prepared():
    modes = {
        "bilinear": (Image.Resampling.BILINEAR, InterpolationMode.BILINEAR),
        "bicubic": (Image.Resampling.BICUBIC, InterpolationMode.BICUBIC),
        "lanczos": (Image.Resampling.LANCZOS, InterpolationMode.LANCZOS),
    }
    lines = [
        f"# Pillow {PIL.__version__}, torchvision {torchvision.__version__}: width height interpolation fraction size pixels"
        " (fraction 0: squash)"
    ]
    cases = [(97, 61, 24), (61, 97, 24), (20, 15, 24), (24, 40, 24), (1, 1, 8), (300, 7, 16)]
    for width, height, size in cases:
        picture = Image.fromarray(rough(width, height))
        for name, (pillow, vision) in modes.items():
            squashed = picture.resize((size, size), pillow)
            lines.append(f"{width} {height} {name} 0 {size} {squashed.tobytes().hex()}")
            for fraction in (0.875, 0.8, 1.0):
                if name == "lanczos" and fraction != 0.875:
                    continue
                # timm/data/transforms_factory.py, transforms_imagenet_eval with crop_mode="center".
                resize = Resize(int(np.floor(size / fraction)), interpolation=vision)
                cropped = CenterCrop(size)(resize(picture))
                lines.append(f"{width} {height} {name} {fraction} {size} {cropped.tobytes().hex()}")
    (HERE / "prepare.txt").write_text("\n".join(lines) + "\n")


write_pictures()
write_decoded()
write_prepared()
