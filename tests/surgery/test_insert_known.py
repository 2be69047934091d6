"""Where SE goes in public networks: known answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import senet
from tests.references import pytorchcv_model, relative_difference, timm_model, torchvision_model
from tests.surgery.networks import Pyramid, UNet

pytestmark = pytest.mark.slow

SE = senet.SqueezeExcitation


# From the architectures: units, and the output channels of their branches. 2 C² / 16 + C / 16 + C parameters.
RESNET50 = {256: 3, 512: 4, 1024: 6, 2048: 3}
KNOWN: dict[str, tuple[Callable[[], nn.Module], str, dict[int, int]]] = {
    "torchvision resnet18": (lambda: torchvision_model("resnet18"), "basic", {64: 2, 128: 2, 256: 2, 512: 2}),
    "torchvision resnet50": (lambda: torchvision_model("resnet50"), "bottleneck", RESNET50),
    "torchvision resnet101": (
        lambda: torchvision_model("resnet101"), "bottleneck", {256: 3, 512: 4, 1024: 23, 2048: 3},
    ),
    "torchvision resnext50": (lambda: torchvision_model("resnext50_32x4d"), "grouped bottleneck", RESNET50),
    "torchvision vgg16_bn": (
        lambda: torchvision_model("vgg16_bn"), "convolution", {64: 2, 128: 2, 256: 3, 512: 6},
    ),
    "torchvision googlenet": (
        lambda: torchvision_model("googlenet", init_weights=False),
        "inception",
        {256: 1, 480: 1, 512: 3, 528: 1, 832: 2, 1024: 1},
    ),
    # Two of its modules concatenate inside of their branches as well.
    "torchvision inception_v3": (
        lambda: torchvision_model("inception_v3", init_weights=False),
        "inception",
        {256: 1, 288: 2, 768: 5, 1280: 1, 2048: 2},
    ),
    # A layer of a dense block puts 32 channels beside its input.
    "torchvision densenet121": (lambda: torchvision_model("densenet121"), "concatenated branch", {32: 58}),
    "torchvision mobilenet_v2": (
        lambda: torchvision_model("mobilenet_v2"),
        "inverted residual",
        {24: 1, 32: 2, 64: 3, 96: 2, 160: 2},
    ),
    "torchvision convnext_tiny": (
        lambda: torchvision_model("convnext_tiny"), "ConvNeXt", {96: 3, 192: 3, 384: 9, 768: 3},
    ),
    "timm resnet50": (lambda: timm_model("resnet50"), "bottleneck", RESNET50),
    # Its branches hold sums of their own, of parts of the channels.
    "timm res2net50_26w_4s": (lambda: timm_model("res2net50_26w_4s"), "5 convolutions", RESNET50),
    "timm resnetv2_50": (lambda: timm_model("resnetv2_50"), "pre-activation bottleneck", RESNET50),
    "timm convnext_tiny": (
        lambda: timm_model("convnext_tiny"), "ConvNeXt", {96: 3, 192: 3, 384: 9, 768: 3},
    ),
    "pytorchcv resnet50": (lambda: pytorchcv_model("resnet50"), "bottleneck", RESNET50),
    # The paper's SE-BN-Inception: all ten modules, also the two that pass their pooled input on.
    "pytorchcv bninception": (
        lambda: pytorchcv_model("bninception"),
        "inception",
        {256: 1, 320: 1, 576: 3, 608: 2, 1056: 1, 1024: 2},
    ),
}  # fmt: skip


RUN = ("torchvision resnet18", "torchvision googlenet", "torchvision mobilenet_v2")
"""Read by running as well; that both ways see the same is in test_units.py."""


@pytest.mark.parametrize(
    ("name", "by_running"), [*((name, False) for name in KNOWN), *((name, True) for name in RUN)]
)
def test_known_answers(name: str, by_running: bool) -> None:
    build, kind, channels = KNOWN[name]
    with torch.device("meta"):
        model = build()
        example = torch.zeros(1, 3, 224, 224) if by_running else None
    report = senet.squeeze_excite(model, example_input=example)
    found = [site.channels for site in report.sites]
    assert {each: found.count(each) for each in found} == channels
    assert {site.kind for site in report.sites} == {kind}
    assert report.reasons.keys() <= {"no sum: nothing is added to its output"}
    weights = sum(2 * c * max(c // 16, 4) * n for c, n in channels.items())
    biases = sum((c + max(c // 16, 4)) * n for c, n in channels.items())
    assert (report.parameters, report.multiply_adds) == (weights + biases, weights)
    assert sum(isinstance(each, SE) for each in model.modules()) == len(found)
    assert all(each.is_meta for each in model.parameters())
    # A second call finds nothing to do and says so.
    keys = list(model.state_dict())
    again = senet.squeeze_excite(model, example_input=example)
    assert not again.sites and list(model.state_dict()) == keys
    assert again.reasons["it already has channel attention"] == len(found)
    assert "nothing to do" in str(again)


def test_the_papers_parameters() -> None:
    """Of Table 2's networks, from the released files."""
    for build, expected in (
        (KNOWN["timm resnet50"][0], 2_530_992),
        (KNOWN["pytorchcv bninception"][0], 646_398),
    ):
        with torch.device("meta"):
            assert senet.squeeze_excite(build()).parameters == expected


def test_blocks_sit_behind_the_last_batchnorm_and_nowhere_else() -> None:
    with torch.device("meta"):
        model = torchvision_model("resnet50")
    report = senet.squeeze_excite(model)
    assert {(site.host, site.position) for site in report.sites} == {
        (f"layer{stage}.{unit}.bn3", "after")
        for stage, n in ((1, 3), (2, 4), (3, 6), (4, 3))
        for unit in range(n)
    }
    assert [site.stage for site in report.sites] == [2] * 3 + [3] * 4 + [4] * 6 + [5] * 3


def test_units_without_a_sum_are_skipped_and_taken_by_name() -> None:
    with torch.device("meta"):
        model = torchvision_model("mobilenet_v2")
    plan = senet.squeeze_excite(model, dry_run=True)
    names = ["1", "2", "4", "7", "11", "14", "17"]
    assert [row.name for row in plan.skipped] == [f"features.{name}" for name in names]
    assert plan.reasons == {"no sum: nothing is added to its output": 7}
    assert len(senet.squeeze_excite(model, where="features.*", dry_run=True).sites) == 17
    report = senet.squeeze_excite(model, where=["features.1", "features.17"])
    assert [(site.name, site.host, site.channels) for site in report.sites] == [
        ("features.1", "features.1.conv.2", 16),
        ("features.17", "features.17.conv.3", 320),
    ]


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: torchvision_model("regnet_y_400mf"), 16),
        (lambda: torchvision_model("efficientnet_b0"), 16),
        (lambda: timm_model("seresnet50"), 16),
        (lambda: timm_model("ecaresnet50t"), 16),
        (lambda: timm_model("skresnet18"), 8),
        (lambda: pytorchcv_model("cbam_resnet18"), 8),
        (lambda: senet.create_model("se_resnet18"), 8),
    ],
)
def test_networks_that_weigh_their_channels_are_left_alone(
    build: Callable[[], nn.Module], count: int
) -> None:
    model = build()
    keys = list(model.state_dict())
    report = senet.squeeze_excite(model)
    assert not report.sites
    assert report.reasons == {"it already has channel attention": count}
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize(
    ("placement", "hosts"),
    [
        ("standard", {"layer1.0.bn2": "after", "layer1.1.bn2": "after", "layer2.0.bn2": "after"}),
        ("pre", {"layer1.0.conv1": "before", "layer1.1.conv1": "before", "layer2.0.conv1": "before"}),
        ("post", {"layer1.0": "after", "layer1.1": "after", "layer2.0": "after"}),
        ("identity", {"layer2.0.downsample.1": "after"}),
        ("conv3x3", {"layer1.0.bn1": "after", "layer1.1.bn1": "after", "layer2.0.bn1": "after"}),
    ],
)
def test_placements_agree_with_senets_own(placement: str, hosts: dict[str, str]) -> None:
    model = torchvision_model("resnet18")
    report = senet.squeeze_excite(model, placement=placement, where=["layer1", "layer2.0"], start="random")
    assert {site.host: site.position for site in report.sites} == hosts
    # senet's network with the same weights and SE at the same place gives the same scores.
    own = senet.create_model("resnet18", se=senet.SEConfig(placement=placement), num_classes=1000)
    names = [site.name for site in report.sites]
    for name, unit in own.named_modules():
        if hasattr(unit, "se") and name not in names:
            unit.se = unit.placement = None
    state = {_own_key(key, report): value for key, value in model.state_dict().items()}
    own.load_state_dict(state, strict=True)
    x = torch.randn(2, 3, 64, 64)
    assert relative_difference(output(own, x), output(model, x)) < 1e-5


def _own_key(key: str, report: senet.InsertionReport) -> str:
    for site in report.sites:
        if key.startswith(f"{site.host}.se."):
            return f"{site.name}.se.{key.removeprefix(f'{site.host}.se.')}"
    return {"conv1.weight": "conv1.weight"}.get(key, key)


def test_stages_and_where() -> None:
    with torch.device("meta"):
        model = torchvision_model("resnet50")

    def names(**options: object) -> list[str]:
        return [site.name for site in senet.squeeze_excite(model, dry_run=True, **options).sites]

    assert names(stages=[5]) == ["layer4.0", "layer4.1", "layer4.2"]
    assert names(stages=(2, 5), where="*.0") == ["layer1.0", "layer4.0"]
    assert names(where="layer4") == ["layer4.0", "layer4.1", "layer4.2"]
    assert names(where=["layer1.0", "layer3.5.bn3"]) == ["layer1.0", "layer3.5"]
    assert names(where=lambda site: site.channels == 1024) == [f"layer3.{index}" for index in range(6)]
    assert names(where=["layer1.0.conv2", "layer1.0"]) == ["layer1.0.conv2", "layer1.0"]
    report = senet.squeeze_excite(model, stages=[5], dry_run=True)
    assert report.reasons == {
        f"stage {stage} is not among the stages 5": count for stage, count in ((2, 3), (3, 4), (4, 6))
    }


def test_stages_of_plain_networks_and_of_small_images() -> None:
    with torch.device("meta"):
        vgg, cifar = torchvision_model("vgg16_bn"), pytorchcv_model("resnet20_cifar10")
    assert [site.stage for site in senet.squeeze_excite(vgg).sites] == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    assert [site.stage for site in senet.squeeze_excite(cifar).sites] == [2] * 3 + [3] * 3 + [4] * 3


def test_long_skips_and_inner_concatenations_are_no_units() -> None:
    report = senet.squeeze_excite(UNet(), 4)
    assert [site.name for site in report.sites] == ["down.0", "deep.0", "last.0"]
    report = senet.squeeze_excite(Pyramid(), dry_run=True)
    assert [site.name for site in report.sites] == ["stem.0", "coarse.0"]
    assert report.reasons["a long skip connection: its branch upsamples"] == 1
    with torch.device("meta"):
        inception_resnet = timm_model("inception_resnet_v2")
    kinds = [site.kind for site in senet.squeeze_excite(inception_resnet).sites]
    # 40 residual branches that hold a concatenation each, and the three modules without a sum.
    assert (len(kinds), kinds.count("inception")) == (43, 3)


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)
