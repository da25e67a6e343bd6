"""A model that Taper exported, served by LitServe and ONNX Runtime: the peer of `taper serve`.

    python serve.py MODEL.onnx PORT WORKERS THREADS

Dynamic batches of 8 within 5 ms, as LitServe has them; pictures come as the field `file` of a form, and
are prepared by what the file says of itself. WORKERS processes of THREADS threads each.
"""

import json
import sys

import litserve
import numpy
import onnxruntime
from PIL import Image

MODEL, PORT, WORKERS, THREADS = sys.argv[1], *map(int, sys.argv[2:])


class Api(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self.texts = self.session.get_modelmeta().custom_metadata_map
        self.labels = json.loads(self.texts["labels"])

    def decode_request(self, request):
        image, box = Image.open(request["file"].file).convert("RGB"), None
        if self.texts["fit"] == "crop":
            side = float(self.texts["crop_fraction"]) * min(image.size)
            left, top = ((length - side) / 2 for length in image.size)
            box = (left, top, left + side, top + side)
        size, filter = int(self.texts["size"]), self.texts["interpolation"].upper()
        return numpy.asarray(image.resize((size, size), Image.Resampling[filter], box))

    def batch(self, inputs):
        return numpy.stack(inputs)

    def predict(self, pixels):
        return self.session.run(["probabilities"], {"pixels": pixels})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, probabilities):
        label = self.labels[int(probabilities.argmax())]
        return {"label": label, "probabilities": dict(zip(self.labels, map(float, probabilities)))}


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.005)
    server = litserve.LitServer(api, workers_per_device=WORKERS, accelerator="cpu")
    server.run(port=PORT, generate_client_file=False, log_level="warning", num_api_servers=1)
