"""The peers of `cargo xtask bench backbone` that are written in Python.

    python peers.py NAME                    answers requests on standard input, as crates/bench/src/protocol.rs says
    python peers.py export NETWORK FILE     writes a network as ONNX, for the peers that read it

All compute the pooled features of timm's networks with the weights of crates/testing/reference/seeded.py.
"""

import json
import os
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "testing" / "reference"))
import seeded

TIMM_NAMES = {
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "clip-vit-b32": "vit_base_patch32_clip_quickgelu_224.openai",
    "fastvit-t8": "fastvit_t8",
    "mobileone-s0": "mobileone_s0",
}
# Their branches are one convolution, as in Taper.
FUSED = ["fastvit-t8", "mobileone-s0"]


def network(name):
    """timm's network up to its pooled features, with seeded weights."""
    import timm
    import torch
    from timm.utils.model import reparameterize_model

    if name == "clip-vit-b32":
        return clip()

    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = timm.create_model(TIMM_NAMES[name])
            if name in FUSED:
                self.body = reparameterize_model(self.body)
            # VGG's classifier is most of its weights, and none of its features.
            self.body.reset_classifier(0) if name != "vgg16" else setattr(self.body, "pre_logits", torch.nn.Identity())

        def forward(self, x):
            return self.body.forward_features(x).mean((2, 3))

    model = Features().eval()
    shapes = {key: tuple(value.shape) for key, value in model.body.state_dict().items()}
    # FastViT's scales have the shape of maps in timm.
    flat = {key: shape[:1] if key.endswith(".gamma") else shape for key, shape in shapes.items()}
    state = {key: torch.from_numpy(value).reshape(shapes[key]) for key, value in seeded.state(flat).items()}
    missing, unexpected = model.body.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
    return model


def clip():
    """CLIP's half for pictures; timm's `head` is its projection, and has a bias of zeros."""
    import timm
    import torch

    model = timm.create_model(TIMM_NAMES["clip-vit-b32"], pretrained=False).eval()
    shapes = {key.replace("head.", "projection."): tuple(value.shape) for key, value in model.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in seeded.state(shapes).items()}
    state["projection.bias"].zero_()
    model.load_state_dict({key.replace("projection.", "head."): value for key, value in state.items()})
    return model


def export(name, path):
    """Writes the network with a batch of any size; the height and width are those of the example."""
    import torch

    size = 256 if name in ("resnet50", "fastvit-t8") else 224
    with torch.no_grad():
        torch.onnx.export(
            network(name),
            torch.zeros(1, 3, size, size),
            path + ".partial",
            dynamo=False,
            input_names=["pictures"],
            output_names=["features"],
            dynamic_axes={"pictures": {0: "n"}, "features": {0: "n"}},
        )
    os.replace(path + ".partial", path)


def pictures(work):
    """Normalised pictures [n, 3, size, size]: those of crates/bench/src/backbone/work.rs."""
    n, size = work["batch"], work["size"]
    pixels = (np.arange(n * size * size * 3, dtype=np.uint64) * 7919 % 251).reshape(n, size, size, 3)
    normalised = (pixels / 255 - np.array(work["mean"])) / np.array(work["std"])
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), dtype=np.float32)


def torch_peer(work, x, bf16):
    import torch

    torch.set_num_threads(work["threads"])
    model, x = network(work["network"]), torch.from_numpy(x)
    if bf16:
        model = model.to(torch.bfloat16).to(memory_format=torch.channels_last)
        x = x.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return model(x)

    return f"torch {torch.__version__}", run, lambda y: y.float().numpy()


def onnxruntime_peer(work, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work["threads"]
    session = onnxruntime.InferenceSession(work["model"], options, providers=["CPUExecutionProvider"])
    run = lambda: session.run(None, {"pictures": x})[0]
    return f"onnxruntime {onnxruntime.__version__}", run, lambda y: y


def openvino_peer(work, x, precision):
    import openvino

    core = openvino.Core()
    model = core.read_model(work["model"])
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_NUM_THREADS": work["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return f"openvino {openvino.__version__}", lambda: request.infer({0: x}), lambda y: y[0]


PEERS = {
    "pytorch-eager": lambda work, x: torch_peer(work, x, False),
    "pytorch-bf16-channels-last": lambda work, x: torch_peer(work, x, True),
    "onnxruntime-f32": onnxruntime_peer,
    "openvino-f32": lambda work, x: openvino_peer(work, x, "f32"),
    "openvino-bf16": lambda work, x: openvino_peer(work, x, "bf16"),
}


class Peer:
    def __init__(self, name):
        self.open = PEERS[name]

    def load(self, work):
        self.run, self.batch = None, work["batch"]
        version, self.run, features = self.open(work, pictures(work))
        sample = features(self.run())[0]
        return {"loaded": {"version": version, "sample": [float(value) for value in sample]}}

    def timed(self):
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def burst(self, seconds):
        """The first pass does not count, unless it is all there is time for: as in crates/bench/src/protocol.rs."""
        begin = time.perf_counter()
        first = self.timed()
        times = [first] if first >= seconds else []
        while first < seconds and (len(times) < 2 or time.perf_counter() - begin < seconds):
            times.append(self.timed())
        return {"measured": {"value": self.batch / statistics.median(times), "passes": len(times)}}


def answer(peer):
    """Answers requests until standard input ends."""
    # Libraries print what they like: that goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        [(what, request)] = json.loads(line).items()
        try:
            said = peer.load(request) if what == "load" else peer.burst(request["seconds"])
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(sys.argv[2], sys.argv[3])
    else:
        answer(Peer(sys.argv[1]))
