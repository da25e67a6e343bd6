"""Writes naming.safetensors: what networks of torchvision and Keras answer on seeded weights under their own names.

    python crates/testing/reference/naming.py

For each: pooled features of `picture(224, 224)` as its framework prepares it, in 64-bit arithmetic, every n-th number, 64 at
most. The metadata holds, for each, names and shapes of the tensors, and the versions.
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import seeded
import torch
import torchvision
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def of_torchvision(name: str) -> tuple[dict, np.ndarray]:
    model = getattr(torchvision.models, name)().eval().double()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    shapes = {key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}
    state = {key: torch.from_numpy(values) for key, values in seeded.state(shapes).items()}
    model.load_state_dict(state, strict=False)
    pixels = torch.from_numpy(seeded.picture(224, 224)).double() / 255
    batch = ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return shapes, model.features(batch).mean((2, 3))[0].numpy()


def of_keras(name: str) -> tuple[dict, np.ndarray]:
    keras.config.set_floatx("float64")
    model = getattr(keras.applications, name)(include_top=False, weights=None, pooling="avg", input_shape=(224, 224, 3))
    shapes = {}
    for layer in model.layers:
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}:0"
            shapes[key] = tuple(variable.shape)
            values = seeded.tensor(key.replace(":0", "").replace("/", "."), shapes[key])
            if len(values.shape) == 4:
                # The formula takes all sides but the first for the fan-in; here it is all but the last.
                values *= np.float32(np.sqrt(np.prod(values.shape[1:]) / np.prod(values.shape[:-1])))
            variable.assign(values.astype(np.float64))
    pixels = seeded.picture(224, 224).astype(np.float64)[None]
    batch = keras.applications.imagenet_utils.preprocess_input(pixels, mode="caffe", data_format="channels_last")
    return shapes, np.asarray(model.predict(batch, verbose=0))[0]


def main() -> None:
    cases = {
        "mobilenet-v2/torchvision": of_torchvision("mobilenet_v2"),
        "vgg11/torchvision": of_torchvision("vgg11"),
        "vgg16/keras": of_keras("VGG16"),
    }
    tensors, listings = {}, {}
    for case, (shapes, values) in cases.items():
        listings[case] = json.dumps(shapes)
        tensors[case] = np.ascontiguousarray(values.astype(np.float32)[:: -(-len(values) // 64)])
        print(case, len(shapes), np.abs(values).mean())
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "keras": keras.__version__}
    save_file(tensors, HERE / "naming.safetensors", metadata={**listings, **versions})
    (HERE / "naming.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
