"""Makes efficientnet-lite0-f16.safetensors from the 32-bit file (see ORIGIN.md).

    python crates/zoo/assets/make_weights.py ../shared/weights/timm/tf_efficientnet_lite0.in1k/model.safetensors

Weights, scales and biases become 16-bit floats (rounded to nearest, ties to even). Running statistics stay 32-bit: they
are 1 % of the numbers, and rounding them would add an eighth to the features' error. Counters of batches are dropped.
The same input gives the same bytes: NumPy 2.4.6, safetensors 0.8.0.
"""

import hashlib
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save

OUT = pathlib.Path(__file__).with_name("efficientnet-lite0-f16.safetensors")
LIMIT = 9_500_000


def main(source: str) -> None:
    tensors = {}
    for name, values in load_file(source).items():
        if name.endswith("num_batches_tracked"):
            continue
        if "running" not in name:
            rounded = values.astype(np.float16)
            assert np.isfinite(rounded).all(), f"{name} does not fit 16-bit floats"
            values = rounded
        tensors[name] = values
    # safetensors orders by size of the element, then by name, and aligns: 32-bit tensors can be borrowed in place.
    data = save(tensors, metadata={"architecture": "tf_efficientnet_lite0", "license": "Apache-2.0"})
    assert len(data) <= LIMIT, f"{len(data)} bytes are too many"
    OUT.write_bytes(data)
    print(f"{OUT.name}: {len(tensors)} tensors, {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
