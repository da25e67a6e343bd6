"""ONNX files of Taper in runtimes of others: `cargo xtask exports` runs it.

    python networks.py CASES [--own-size] [NAME …]

CASES is the program `cases` of the crate taper-onnx; with --own-size, its cases are all networks at
their own size. For each case: ONNX's own checker in full, with
the inference of shapes; ONNX Runtime, OpenVINO and tract give Taper's figures to 1e-5 (of the largest,
where these are not probabilities) and the same class, for 1, 3 and 8 pictures; labels are read back.
Some networks with random weights make rounding errors larger, so that the runtimes differ from each
other by more than that on one and the same file. There the bound is twice that difference, and 1e-3
at most: a file that says something else than Taper computes has them agree with each other.
Needs the packages of requirements.txt, in the versions that it names.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
import openvino
import tract

LARGEST = 1e-5
# Where the runtimes themselves differ.
LARGEST_APART = 1e-3


def with_onnxruntime(path, output):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: session.run([output], {name: pictures})[0]


def with_openvino(path, output):
    # Its default on this kind of processor may be bfloat16.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(openvino.Core().read_model(path), "CPU", precise)
    return lambda pictures: model([pictures])[model.output(output)]


def with_tract(path, output):
    model = tract.onnx().load(path).into_model().into_runnable()
    return lambda pictures: model.run([pictures])[0].to_numpy()


RUNTIMES = {"ONNX Runtime": with_onnxruntime, "OpenVINO": with_openvino, "tract": with_tract}


def check(cases, name, folder):
    subprocess.run([cases, name, folder], check=True)
    about = json.loads((folder / "about.json").read_text())
    options, size, n = about["options"], about["size"], about["pictures"]
    pixels = numpy.fromfile(folder / "pixels.u8", "u1").reshape(n, size, size, 3)
    expected = numpy.fromfile(folder / "expected.f32", "<f4").reshape(n, -1)
    if options["input"] == "normalised":
        mean, std = numpy.float32(about["mean"]), numpy.float32(about["std"])
        pixels = ((pixels / numpy.float32(255) - mean) / std).transpose(0, 3, 1, 2)
        pixels = numpy.ascontiguousarray(pixels, "f4")
    path = str(folder / "model.onnx")

    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    output = inferred.graph.output[0]
    width = output.type.tensor_type.shape.dim[1].dim_value
    assert width == expected.shape[1], (width, expected.shape)
    assert output.name == options["output"]
    labels = json.loads({p.key: p.value for p in model.metadata_props}["labels"])
    assert labels == about["labels"]

    scale = max(1, numpy.abs(expected).max())
    counts = [options["batch"]] if options["batch"] else [1, 3, n]
    answers = {}
    for runtime, opened in RUNTIMES.items():
        if runtime == "tract" and options["embed_labels"]:
            # It has no texts that are looked up; without that output it reads the file.
            continue
        run = opened(path, output.name)
        for count in counts:
            answers[runtime, count] = given = run(pixels[:count])
            assert given.shape == expected[:count].shape, (runtime, given.shape)

    most = counts[-1]
    whole = [given for (_, count), given in answers.items() if count == most]
    apart = max(numpy.abs(a - b).max() for a, b in itertools.combinations(whole, 2)) / scale
    largest = min(max(LARGEST, 2 * apart), LARGEST_APART)
    worst = 0
    for (runtime, count), given in answers.items():
        wanted = expected[:count]
        difference = numpy.abs(given - wanted).max() / scale
        assert difference <= largest, (runtime, count, difference, largest)
        if options["output"] != "features":
            assert (given.argmax(1) == wanted.argmax(1)).all(), runtime
        worst = max(worst, difference)
    if options["embed_labels"]:
        given = with_onnxruntime(path, "label")(pixels)
        assert given.tolist() == [labels[i] for i in expected.argmax(1)], given
    return worst


def main():
    cases, *names = sys.argv[1:]
    own = [name for name in names if name == "--own-size"]
    names = [name for name in names if name not in own]
    listed = subprocess.run([cases, *own], check=True, capture_output=True, text=True)
    failed = 0
    for name in names or listed.stdout.split():
        with tempfile.TemporaryDirectory() as folder:
            try:
                worst = check(cases, name, pathlib.Path(folder))
                print(f"{name:24} {worst:.1e}", flush=True)
            except Exception as error:
                failed += 1
                print(f"{name:24} FAILED: {type(error).__name__}: {error}", flush=True)
    if failed:
        sys.exit(f"{failed} cases failed")


main()
