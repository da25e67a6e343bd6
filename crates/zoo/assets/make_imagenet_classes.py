"""Writes imagenet-1k.tsv: one line per class of ImageNet-1k in label order, WordNet synset and names (see ORIGIN.md).

    python crates/zoo/assets/make_imagenet_classes.py

Needs timm (made with 1.0.31), whose package holds the synsets and their WordNet lemmas.
"""

import pathlib

from timm.data import ImageNetInfo

# Two pairs of classes share their first name: a list of labels needs each name once.
TOLD_APART = {
    134: "crane (bird)",
    517: "crane (machine)",
    638: "maillot (tights)",
    639: "maillot (bathing suit), tank suit",
}


def main() -> None:
    info = ImageNetInfo("imagenet-1k")
    lines = []
    for label in range(info.num_classes()):
        names = TOLD_APART.get(label, info.index_to_description(label))
        lines.append(f"{info.index_to_label_name(label)}\t{names}\n")
    assert len({line.split("\t")[1].strip().split(", ")[0] for line in lines}) == 1000
    pathlib.Path(__file__).with_name("imagenet-1k.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
