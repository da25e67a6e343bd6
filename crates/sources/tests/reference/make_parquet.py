"""Writes parquet/*.parquet and parquet.txt beside this script: data sets as Hugging Face's `datasets` and pyarrow write them.

Run with: python make_parquet.py (datasets 5.2.0, pyarrow 26.0.1)
parquet.txt: a line for each row of each file: file, row, label's name or -, SHA-256 of the picture's bytes or -.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Value

HERE = Path(__file__).parent
OUT = HERE / "parquet"
NAMES = ["rock", "paper", "scissors"]
PICTURES = ["420.jpg", "grey.jpg", "rgb.png", "rgba.png", "lossless.webp", "one-pixel.png", "palette.png"]

lines = []


def listed(file, labels, contents):
    for row, (label, content) in enumerate(zip(labels, contents, strict=True)):
        digest = "-" if content is None else hashlib.sha256(content).hexdigest()
        lines.append(f"{file} {row} {'-' if label is None else label} {digest}")


def picture(n):
    return (HERE / "pictures" / PICTURES[n % len(PICTURES)]).read_bytes()


def hub(file, rows, first):
    """As `Dataset.to_parquet` writes it, with a column that is none of ours."""
    labels = [(first + n) % 3 for n in range(rows)]
    contents = [picture(first + n) for n in range(rows)]
    data = Dataset.from_dict(
        {
            "picture": [{"bytes": c, "path": f"clip{n // 4}-{n:03}.png"} for n, c in enumerate(contents)],
            "caption": [f"number {n}" for n in range(rows)],
            "kind": labels,
        },
        features=Features({"picture": Image(), "caption": Value("string"), "kind": ClassLabel(names=NAMES)}),
    )
    data.to_parquet(OUT / file, batch_size=40)
    listed(file, [NAMES[label] for label in labels], contents)


def plain(file, labels, kind, **options):
    """As pyarrow writes a table, without the Hub's metadata."""
    contents = [None if n == 5 else picture(n) for n in range(len(labels))]
    image = pa.array(contents, pa.binary())
    table = pa.table({"image": image, "label": pa.array(labels, kind)})
    pq.write_table(table, OUT / file, row_group_size=50, data_page_size=2000, **options)
    listed(file, labels, contents)


def refused(file, **labels):
    """Columns of labels that cannot be taken as they are."""
    table = pa.table({"image": pa.array([b"", b""], pa.binary()), **labels})
    pq.write_table(table, HERE / "refused" / file)


def splits(file, labelled=True, **columns):
    """Four rows of two classes, and columns that may say the split."""
    images = pa.array([picture(n) for n in range(4)], pa.binary())
    labels = {"label": pa.array(["a", "b", "a", "b"])} if labelled else {}
    (HERE / "splits").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, **labels, **columns}), HERE / "splits" / file)


splits("phase.parquet", phase=pa.array(["train", "train", "test", "test"]))
splits("usage.parquet", Usage=pa.array(["Training", "Training", "Training", "PublicTest"]))
splits("extra.parquet", part=pa.array(["train", "train", "extra", "test"]))
splits("caption.parquet", caption=pa.array(["a test", "b", "train", "z"]))
splits("both.parquet", split=pa.array(["train"] * 4), subset=pa.array(["train", "train", "test", "test"]))
splits("plain.parquet")
splits("unlabelled.parquet", labelled=False)
OUT.mkdir(exist_ok=True)
(HERE / "refused").mkdir(exist_ok=True)
refused("lists.parquet", label=pa.array([[0, 1], [1]], pa.list_(pa.int64())))
refused("floats.parquet", label=pa.array([0.5, 1.0], pa.float64()))
refused("numbers-and-names.parquet", label=pa.array([0, 1]), label_name=pa.array(["a", "b"]))
hub("train-00000-of-00002.parquet", 90, 0)
hub("train-00001-of-00002.parquet", 3, 90)
hub("test-00000-of-00001.parquet", 12, 200)
for compression in ["none", "snappy", "gzip", "zstd", "lz4"]:
    names = [["a", "b"][n % 2] for n in range(70)]
    plain(f"{compression}.parquet", names, pa.string(), compression=compression)
numbers = [None if n == 3 else -1 if n == 4 else n % 2 for n in range(20)]
plain("numbers.parquet", numbers, pa.int32(), compression="snappy", data_page_version="2.0", use_dictionary=False)
(HERE / "parquet.txt").write_text("\n".join(lines) + "\n")
