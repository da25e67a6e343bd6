"""A trained, fine-tuned model of the program's own in ONNX Runtime and OpenVINO: `cargo xtask exports`
runs it.

    python model.py TAPER FOLDER

TAPER is the program; FOLDER, which is made, gets pictures of the exact size (no resampling, so that only
the network is compared), two models, and their files. Probabilities are those of `taper predict` to 1e-5.
Then as docs/deployment.md shows it: a photograph of another size, prepared with Pillow by what the file
says of itself, gets the same class and nearly the same probabilities.
"""

import json
import pathlib
import subprocess
import sys

import numpy
import onnx
import onnxruntime
import openvino
from PIL import Image, ImageOps

SIZE = 96
COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 60), "yellow": (210, 200, 40)}


def picture(random, colour):
    pixels = random.normal(colour, 60, (SIZE, SIZE, 3))
    pixels[SIZE // 3 :, : SIZE // 2] += random.normal(0, 40, 3)
    return Image.fromarray(pixels.clip(0, 255).astype("u1"))


def data(folder):
    random = numpy.random.default_rng(0)
    for split, count in [("train", 12), ("test", 6)]:
        for name, colour in COLOURS.items():
            own = folder / split / name
            own.mkdir(parents=True)
            for i in range(count):
                picture(random, colour).save(own / f"{i}.png")


def prepared(path, texts):
    """A picture as the network wants it, by the file's own texts (docs/deployment.md)."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image, size, box = Image.alpha_composite(white, image).convert("RGB"), int(texts["size"]), None
    if texts["fit"] == "crop":
        shorter = int(size / float(texts["crop_fraction"]))
        scales = [int(shorter * n / min(image.size)) / n for n in image.size]
        corner = [round((n * scale - size) / 2) for n, scale in zip(image.size, scales)]
        box = [(at + end) / scale for end in (0, size) for at, scale in zip(corner, scales)]
    return numpy.array(image.resize((size, size), Image.Resampling[texts["interpolation"].upper()], box))


def main():
    taper, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    data(folder / "data")

    def run(*arguments):
        done = subprocess.run([taper, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    common = ["--data", "data", "--size", str(SIZE), "--precision", "f32", "-q"]
    run("train", *common, "--fit", "squash", "--unfreeze", "blocks.5", "--fine-tune-epochs", "2", "--out", "tuned")
    run("train", *common, "--out", "cropped")
    pictures = sorted((folder / "data/test").rglob("*.png"))
    names = [str(path.relative_to(folder)) for path in pictures]
    for model, most in [("tuned", 1e-5), ("cropped", 0.02)]:
        run("export", model, "--format", "onnx")
        path = str(folder / f"{model}.onnx")
        onnx.checker.check_model(path, full_check=True)
        lines = run("predict", model, *names, "--json", "--precision", "f32", "-q").splitlines()
        answers = [json.loads(line) for line in lines]

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        texts = session.get_modelmeta().custom_metadata_map
        labels = json.loads(texts["labels"])
        assert labels == sorted(COLOURS)
        pixels = numpy.stack([prepared(path, texts) for path in pictures])
        given = session.run(["probabilities"], {"pixels": pixels})[0]
        precise = {"INFERENCE_PRECISION_HINT": "f32"}
        other = openvino.compile_model(openvino.Core().read_model(path), "CPU", precise)
        for runtime, given in [("ONNX Runtime", given), ("OpenVINO", other([pixels])[0])]:
            wanted = numpy.array([[a["probabilities"][label] for label in labels] for a in answers])
            difference = numpy.abs(given - wanted).max()
            assert difference <= most, (model, runtime, difference)
            assert [labels[i] for i in given.argmax(1)] == [a["label"] for a in answers]
            print(f"{model:8} {runtime:12} {difference:.1e}")


main()
