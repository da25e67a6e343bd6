"""Forward pass and both gradients of single convolutions in PyTorch beside taper-backward's.

python gradients.py target/release/examples/gradients NETWORK BATCH [ROUNDS]: runs the example and
torch in turns, two threads each, and prints the medians of the rounds in ms. Torch may take NCHW or
channels last, whichever is faster for a shape.
"""

import re
import statistics
import subprocess
import sys
import time

import torch

LINE = re.compile(
    r"\s*([\d.]+)\s+\d+\s+([\d.]+)\s+\d+\s+([\d.]+)\s+\d+\s+[\d.]+\s+[\d.]+\s+× \d+ "
    r"(\d+)×(\d+)×(\d+) → (\d+), kernel (\d+)×(\d+)(.*)"
)


def taper(program, network, batch):
    out = subprocess.run(
        [program, network, str(batch), "auto", "2"], capture_output=True, text=True, check=True
    ).stdout
    for line in out.splitlines():
        if match := LINE.match(line):
            *times, rest = match.groups()[:3], match.groups()[9]
            yield tuple(match.groups()[3:9]) + (rest,), [float(t) for t in times[0]]


def best(run, seconds=0.3):
    run()
    times, end = [], time.time() + seconds
    while time.time() < end or len(times) < 2:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def torch_times(shape, batch):
    height, width, cin, cout, kernel, _ = map(int, shape[:6])
    rest = shape[6]
    stride, groups = [
        int(m.group(1)) if (m := re.search(pattern, rest)) else 1
        for pattern in (r"stride (\d+)", r"(\d+) groups")
    ]
    found = re.search(r"padding (\d+),(\d+),(\d+),(\d+)", rest)
    padding = [int(p) for p in found.groups()] if found else [0] * 4
    # One more column and row at the end cannot be given to a convolution: pad both ends alike.
    pad = [padding[1], padding[3]] if stride > 1 else [padding[0], padding[2]]
    result = [float("inf")] * 3
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(batch, cin, height, width).to(memory_format=layout)
        w = torch.randn(cout, cin // groups, kernel, kernel).to(memory_format=layout)
        b = torch.randn(cout)
        args = ([stride] * 2, pad, [1, 1], False, [0, 0], groups)
        with torch.no_grad():
            y = torch.convolution(x, w, b, *args)
            g = torch.randn_like(y)
            back = lambda mask: torch.ops.aten.convolution_backward(g, x, w, [cout], *args, mask)
            times = [
                best(lambda: torch.convolution(x, w, b, *args)),
                best(lambda: back([True, False, False])) if cin > 3 else 0.0,
                best(lambda: back([False, True, True])),
            ]
        result = [min(old, new) for old, new in zip(result, times)]
    return result


def main():
    program, network, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    torch.set_num_threads(2)
    ours, theirs = {}, {}
    for _ in range(rounds):
        for shape, times in taper(program, network, batch):
            ours.setdefault(shape, []).append(times)
        for shape in ours:
            theirs.setdefault(shape, []).append(torch_times(shape, batch))
    median = lambda rows: [statistics.median(column) for column in zip(*rows)]
    print("taper: forward, data, weights; torch: the same; ratio of data + weights")
    for shape, rows in ours.items():
        mine, other = median(rows), median(theirs[shape])
        ratio = sum(other[1:]) / sum(mine[1:])
        h, w, cin, cout, kernel, _, rest = shape
        row = " ".join(f"{t:8.2f}" for t in mine + other)
        print(f"{row}  {ratio:5.2f}  {h}×{w}×{cin} → {cout}, kernel {kernel}{rest}", flush=True)


main()
