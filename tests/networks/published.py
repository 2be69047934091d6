"""Sizes of networks that nobody here counted: the rows of docs/paper/complexity.csv.

Other packages' networks, the authors' released files, and networks added up from articles by another
program; for 1000 (CIFAR: 10 or 100) classes at the size the network was designed for.
"""

from __future__ import annotations

from tools.network_rows import EXPLANATIONS, PACKAGES, read_rows

from senet.networks import list_models, network_spec

ROWS = {(row["package"], row["model"]): row for row in read_rows("complexity.csv")}
DERIVED = "derived (own build)"


def sizes(row: dict[str, str]) -> tuple[int, int]:
    """Return parameters and multiply-adds."""
    return int(row["params"]), int(row["macs_native"])


def _published() -> dict[str, set[tuple[int, int]]]:
    """Return what others count for each registered network; more than one size is a disagreement."""
    found: dict[str, set[tuple[int, int]]] = {}
    for name in list_models():
        spec = network_spec(name)
        rows = [
            ROWS[key]
            for key, other in PACKAGES.items()
            if other == spec and key not in EXPLANATIONS and ROWS[key]["native_size"] == str(spec.input_size)
        ]
        if rows:
            found[name] = {sizes(row) for row in rows}
    return found


PUBLISHED = _published()

# The paper's Section 6 on SE-ResNet-50 without FC biases: fields of SEConfig, and the row.
ABLATIONS: list[tuple[dict[str, object], str]] = [
    *(({"reduction": r}, f"SE-ResNet-50 r={r} no FC bias") for r in (2, 4, 8, 16, 32)),
    *(({"stages": (stage,)}, f"SE-ResNet-50 SE_Stage_{stage} only") for stage in (2, 3, 4)),
    ({"stages": (2, 3, 4)}, "SE-ResNet-50 without SE in stage 5"),
    ({"placement": "conv3x3"}, "SE-ResNet-50 SE_3x3"),
    ({"placement": "pre"}, "SE-ResNet-50 SE-PRE"),
    ({"placement": "post"}, "SE-ResNet-50 SE-POST"),
    ({"placement": "identity"}, "SE-ResNet-50 SE-Identity"),
    ({"squeeze": "none"}, "SE-ResNet-50 NoSqueeze"),
]
REDUCTIONS_WITH_BIAS = {r: f"SE-ResNet-50 r={r} FC bias" for r in (2, 4, 8, 16, 32)}
