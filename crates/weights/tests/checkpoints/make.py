"""Writes the checkpoints beside it: small state_dicts as torch saves them, in every form that the reader knows.

    python crates/zoo/tests/checkpoints/make.py

Made with torch 2.15.0. Values are i / 8 for the i-th number of a tensor, exact in every type.
"""

import collections
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(torch.Size(shape).numel(), dtype=torch.float64) / 8).reshape(shape).to(dtype)


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(2, 3, 2, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(3)


def main() -> None:
    small = Small()
    for tensor in small.state_dict().values():
        tensor.copy_(numbers(*tensor.shape).to(tensor.dtype))
    state = small.state_dict()
    # As torchvision publishes: since torch 1.6, and before.
    torch.save(state, HERE / "new.pth")
    torch.save(state, HERE / "old.pth", _use_new_zipfile_serialization=False)
    # A training script's checkpoint, with an optimizer beside the weights.
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
    torch.save({"epoch": 3, "arch": "small", "state_dict": state, "optimizer": optimizer.state_dict()}, HERE / "wrapped.pth")
    # Other types; views of one storage; another order in memory; a Parameter; a scalar.
    whole = numbers(4, 6)
    odd = collections.OrderedDict(
        half=numbers(5, dtype=torch.float16),
        brain=numbers(5, dtype=torch.bfloat16),
        double=numbers(2, dtype=torch.float64),
        counter=torch.tensor(7),
        rows=whole[1:3],
        transposed=whole.t(),
        last=numbers(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(numbers(3)),
        empty=torch.zeros(0, 3),
    )
    torch.save(odd, HERE / "odd.pth")
    # Numbers that repeat in memory unfold to more than there are.
    torch.save({"repeated": numbers(1).expand(1000, 1000)}, HERE / "repeated.pth")
    # A whole module: its class would have to be imported.
    torch.save(torch.nn.ReLU(), HERE / "module.pth")


if __name__ == "__main__":
    main()
