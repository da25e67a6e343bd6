"""Makes the photographs smaller: `python make.py FOLDER`, with the folder skimage/data of scikit-image 0.26."""

import pathlib
import sys

from PIL import Image

for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
    source = pathlib.Path(sys.argv[1]) / name
    with Image.open(source) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((384, 384), Image.Resampling.LANCZOS)
        picture.save(pathlib.Path(__file__).with_name(source.stem + ".jpg"), quality=85, optimize=True)
