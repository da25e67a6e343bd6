"""The peers of `cargo xtask bench data`, and the pictures where there are none.

    python data_peers.py NAME               answers requests on standard input, as crates/bench/src/protocol.rs says
    python data_peers.py make KIND FOLDER   writes pictures: `pictures-300` or `photos-500`

The pictures are parts of scikit-learn's two sample photographs (CC BY, china.jpg and flower.jpg), chosen by a seed:
`photos-500` about 500 x 400, quality 90, 4:2:0; `pictures-300` 300 x 300, quality 95, 4:4:4.
"""

import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
BATCH, SIZE = 64, 256


def make(kind, folder):
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    partial = pathlib.Path(folder + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for i in range(400):
        photo = photos[i % 2]
        if kind == "photos-500":
            width, height = int(rng.integers(450, 551)), int(rng.integers(360, 428))
            options = {"quality": 90}
        else:
            width, height = 300, 300
            options = {"quality": 95, "subsampling": 0}
        left = int(rng.integers(0, photo.width + 1 - width))
        top = int(rng.integers(0, photo.height + 1 - height))
        name = partial / ("china", "flower")[i % 2] / f"{i:03}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + width, top + height)).save(name, **options)
    partial.rename(folder)


def files(work):
    """In Taper's order: by class, then by name."""
    root = pathlib.Path(work["pictures"])
    return [str(path) for path in sorted(root.rglob("*.jpg"), key=lambda p: p.relative_to(root).parts)]


class TfData:
    def __init__(self, work):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow as tf

        threads = work["threads"]
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        paths = files(work)

        def load(path):
            picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
            return tf.image.resize(picture, (SIZE, SIZE))

        flipped = lambda path: tf.image.random_flip_left_right(load(path))
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        data = tf.data.Dataset.from_tensor_slices(paths).map(flipped, num_parallel_calls=threads)
        self.data = data.batch(BATCH).prefetch(2).with_options(options)
        self.sample = [float(v) for v in load(paths[0]).numpy().mean((0, 1))]
        self.version = f"tensorflow {tf.__version__}"

    def batches(self):
        return (batch.shape[0] for batch in self.data)


class Pictures:
    """A map-style data set for torch."""

    def __init__(self, work):
        self.paths, self.augment = files(work), work["case"] == "augment300"
        from torchvision.transforms import v2

        if self.augment:
            bilinear = v2.InterpolationMode.BILINEAR
            steps = [v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.RandomRotation(15, interpolation=bilinear)]
            steps += [v2.ColorJitter(0.2, 0.2, 0.2, 0.05), v2.PILToTensor()]
        else:
            steps = [v2.Resize((SIZE, SIZE), antialias=True), v2.RandomHorizontalFlip()]
        self.transform = v2.Compose(steps)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(self.read(index))

    def read(self, index):
        if self.augment:
            from PIL import Image

            return Image.open(self.paths[index]).convert("RGB")
        from torchvision.io import decode_jpeg, read_file

        return decode_jpeg(read_file(self.paths[index]))


class Torchvision:
    def __init__(self, work):
        import torch
        import torchvision
        from torchvision.transforms.v2 import functional as F

        torch.set_num_threads(1)
        pictures = Pictures(work)
        self.loader = torch.utils.data.DataLoader(
            pictures, batch_size=BATCH, num_workers=work["threads"], persistent_workers=True
        )
        first = F.to_image(pictures.read(0))
        first = F.resize(first, [SIZE, SIZE], antialias=True)
        self.sample = [float(v) for v in first.float().mean((1, 2))]
        self.version = f"torchvision {torchvision.__version__}"

    def batches(self):
        return (batch.shape[0] for batch in self.loader)


class Peer:
    """One epoch is one pass; the timing is that of crates/bench/src/protocol.rs."""

    def __init__(self, name):
        self.open = {"tf.data": TfData, "torchvision": Torchvision}[name]

    def load(self, work):
        self.worker = self.open(work)
        self.timed()
        return {"loaded": {"version": self.worker.version, "sample": self.worker.sample}}

    def timed(self):
        start = time.perf_counter()
        self.count = sum(self.worker.batches())
        return time.perf_counter() - start

    def burst(self, seconds):
        import statistics

        begin = time.perf_counter()
        first = self.timed()
        times = [first] if first >= seconds else []
        while first < seconds and (len(times) < 2 or time.perf_counter() - begin < seconds):
            times.append(self.timed())
        return {"measured": {"value": self.count / statistics.median(times), "passes": len(times)}}


def serve(name):
    import json

    # Libraries print what they like: that goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer(name)
    for line in sys.stdin:
        [(what, request)] = json.loads(line).items()
        try:
            answer = peer.load(request) if what == "load" else peer.burst(request["seconds"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
    else:
        serve(sys.argv[1])
