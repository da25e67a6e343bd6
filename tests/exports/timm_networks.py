"""Files of `taper export --format safetensors` in PyTorch's timm: `cargo xtask exports --timm` runs it.

    python timm_networks.py NETWORKS [NAME …]

NETWORKS is the program `timm` of the crate taper-export. Each network, made by `timm.create_model`
with `checkpoint_path`, gives Taper's logits to 1e-4 of the largest.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import timm
import torch


def check(networks, name, folder):
    subprocess.run([networks, name, folder], check=True)
    about = json.loads((folder / "about.json").read_text())
    model = timm.create_model(
        about["architecture"], num_classes=about["classes"],
        checkpoint_path=str(folder / "timm.safetensors"),
    ).eval()
    size = about["size"]
    pixels = numpy.fromfile(folder / "pixels.u8", "u1").reshape(-1, size, size, 3)
    normalised = (pixels / 255 - numpy.array(about["mean"])) / numpy.array(about["std"])
    with torch.inference_mode():
        given = model(torch.tensor(normalised.transpose(0, 3, 1, 2), dtype=torch.float32)).numpy()
    wanted = numpy.array(about["logits"])
    difference = numpy.abs(given - wanted).max() / numpy.abs(wanted).max()
    assert difference <= 1e-4, difference
    return difference


def main():
    networks, *names = sys.argv[1:]
    listed = subprocess.run([networks], check=True, capture_output=True, text=True)
    failed = 0
    for name in names or listed.stdout.split():
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{name:20} {check(networks, name, pathlib.Path(folder)):.1e}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{name:20} FAILED: {type(error).__name__}: {error}", flush=True)
    if failed:
        sys.exit(f"{failed} networks failed")


main()
