"""SE in networks that somebody else built."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import senet
from senet.errors import SenetError
from tests.references import import_timm, import_torchvision, pytorchcv_model, randomise, relative_difference
from tests.surgery import models
from tests.surgery.networks import Block, ByShape, Lister, NormTwice, Pyramid, Shared, Tutorial, UNet, resnet

SE = senet.SqueezeExcitation


def torchvision_model(name: str, **options: object) -> nn.Module:
    return getattr(import_torchvision().models, name)(**options)


def timm_model(name: str) -> nn.Module:
    return import_timm().create_model(name)


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


RUN = ("torchvision resnet18", "torchvision googlenet", "timm convnext_tiny", "torchvision mobilenet_v2")
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
    weights = sum(2 * c * max(c // 16, 4) * n for c, n in channels.items())
    biases = sum((c + max(c // 16, 4)) * n for c, n in channels.items())
    assert (report.parameters, report.multiply_adds) == (weights + biases, weights)
    assert sum(isinstance(each, SE) for each in model.modules()) == len(found)
    assert all(each.is_meta for each in model.parameters())
    # A second call finds nothing to do and says so.
    keys = list(model.state_dict())
    again = senet.squeeze_excite(model, example_input=example)
    assert not again.sites and list(model.state_dict()) == keys
    assert again.reasons["it weighs its channels already"] == len(found)
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
    assert plan.reasons == {"no sum: nothing is added to what it returns": 7}
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
    assert report.reasons == {"it weighs its channels already": count}
    assert list(model.state_dict()) == keys


SMALL: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "timm bottleneck": (lambda: models.small_timm(attention=None), 2),
    "torchvision basic": (models.small_torchvision_resnet, 2),
    "torchvision vgg": (models.small_vgg, 2),
    "torchvision mobilenet": (models.small_mobilenet, 1),
    "torchvision densenet": (models.small_densenet, 4),
    "torchvision googlenet": (models.small_googlenet, 1),
    "1-d": (lambda: resnet(1), 3),
    "2-d": (lambda: resnet(2), 3),
    "3-d": (lambda: resnet(3), 3),
    "by shape": (lambda: resnet(2, ByShape), 3),
    "tutorial": (Tutorial, 2),
    "shared unit": (Shared, 1),
    "own": (lambda: senet.create_model("resnet8", num_classes=5), 3),
    "own vgg": (lambda: nn.Sequential(*list(senet.create_model("vgg11_bn").children())[:2]), 1),
}


def input_of(name: str) -> Tensor:
    sides = {"1-d": (40,), "3-d": (10, 12, 9), "own": (32, 32)}.get(name, (48, 40))
    return torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(3))


def trained(name: str) -> nn.Module:
    torch.manual_seed(8)  # with others, some block may start with all its few hidden units dead
    model = SMALL[name][0]()
    randomise(model)
    return model.eval()


@pytest.mark.parametrize("name", SMALL)
def test_the_contract(name: str) -> None:
    model, x = trained(name), input_of(name)
    plain, before = copy.deepcopy(model), output(model, x)
    dry = senet.squeeze_excite(model, 4, example_input=x, dry_run=True)
    assert list(model.state_dict()) == list(plain.state_dict()) and len(dry.sites) == SMALL[name][1]
    report = senet.squeeze_excite(model, 4, example_input=x)
    assert report.sites == dry.sites
    # senet's own networks run other kernels with SE than without.
    assert report.output_change == 0 if not name.startswith("own") else report.output_change < 1e-5
    keys, old = set(model.state_dict()), set(plain.state_dict())
    assert old < keys and all(".se." in key for key in keys - old)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in plain.state_dict().items())

    _every_parameter_gets_a_gradient(model, x)
    changed = output(model, x)
    assert relative_difference(changed, before) > 1e-6
    # Saving, loading and inserting again commute.
    other = copy.deepcopy(plain)
    senet.squeeze_excite(other, 4, example_input=x)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(output(other, x), changed)
    loaded = pickle.loads(pickle.dumps(model)) if "own" not in name else copy.deepcopy(model)
    assert torch.equal(output(loaded, x), changed)

    model.load_state_dict(plain.state_dict(), strict=False)
    assert sorted(senet.remove(model)) == sorted(site.host for site in report.sites)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(output(model, x), before)
    assert [type(each) for each in model.modules()] == [type(each) for each in plain.modules()]


def output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = model.eval()(x)
    return y if isinstance(y, Tensor) else y[0]


def _every_parameter_gets_a_gradient(model: nn.Module, x: Tensor) -> None:
    blocks = [each for each in model.modules() if isinstance(each, SE)]
    seen: set[Tensor] = set()
    optimizer = torch.optim.SGD([p for block in blocks for p in block.parameters()], 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (
            model.train()(x) * torch.randn(1, generator=torch.Generator().manual_seed(2))
        ).square().sum().backward()
        for block in blocks:
            for parameter in block.parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all()
                if parameter.grad.abs().max() > 0:
                    seen.add(parameter)
                parameter.grad /= parameter.grad.abs().max().clamp(min=1e-30)
        optimizer.step()
    assert len(seen) == sum(len(list(block.parameters())) for block in blocks)


def test_blocks_run_where_the_report_says() -> None:
    """SE behind bn2, before the sum: computed by hand."""
    model, x = trained("2-d"), input_of("2-d")
    senet.squeeze_excite(model, start="random", where="1")
    block = model[1]
    assert isinstance(block, Block)
    maps = torch.randn(2, 16, 9, 7)
    branch = torch.nn.functional.batch_norm(
        block.conv2(torch.relu(block.bn1(block.conv1(maps)))),
        block.bn2.running_mean, block.bn2.running_var, block.bn2.weight, block.bn2.bias, eps=block.bn2.eps,
    )  # fmt: skip
    se = block.bn2.se
    gates = torch.sigmoid(se.fc2(torch.relu(se.fc1(branch.mean((2, 3))))))
    expected = torch.relu(branch * gates[:, :, None, None] + maps)
    assert relative_difference(block(maps), expected) < 1e-6
    assert output(model, x).isfinite().all()


def test_random_start_is_the_papers() -> None:
    model = trained("2-d")
    report = senet.squeeze_excite(model, start="random", example_input=input_of("2-d"))
    blocks = [each for each in model.modules() if isinstance(each, SE)]
    assert report.output_change > 1e-3
    assert {(each.config.gate, each.config.start) for each in blocks} == {("sigmoid", "random")}
    assert all(each.fc2.weight.abs().max() > 0 for each in blocks)


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
    assert report.reasons["a long skip connection: its branch makes the maps larger again"] == 1
    with torch.device("meta"):
        inception_resnet = timm_model("inception_resnet_v2")
    kinds = [site.kind for site in senet.squeeze_excite(inception_resnet).sites]
    # 40 residual branches that hold a concatenation each, and the three modules without a sum.
    assert (len(kinds), kinds.count("inception")) == (43, 3)


def test_a_relu_that_is_a_function_runs_once_more_and_changes_nothing() -> None:
    model = trained("tutorial")
    report = senet.squeeze_excite(model, 4, where="conv1", start="random")
    assert [(site.host, site.position) for site in report.sites] == [("conv1", "after relu")]
    x = torch.randn(2, 3, 20, 20)
    weighed = model.conv1(x)
    plain = torch.relu(nn.functional.conv2d(x, model.conv1.weight, model.conv1.bias))
    assert torch.equal(weighed, model.conv1.se(plain)) and torch.equal(torch.relu(weighed), weighed)


def test_other_functions_have_no_place() -> None:
    with pytest.raises(SenetError, match="the function gelu in the model, where no module ends"):
        senet.squeeze_excite(Tutorial("gelu"))


def test_a_layer_that_is_used_elsewhere_too_gets_nothing() -> None:
    with pytest.raises(SenetError, match="bn is called 2 times, 1 of them where SE belongs"):
        senet.squeeze_excite(NormTwice())


def test_a_module_that_runs_its_children_is_left_as_it_was() -> None:
    model = nn.Sequential(Lister(), nn.ReLU())
    keys = list(model.state_dict())
    with pytest.raises(SenetError, match="Lister '0' runs its children by itself"):
        senet.squeeze_excite(model)
    assert list(model.state_dict()) == keys and not any(each._forward_hooks for each in model.modules())


def test_what_a_model_has_is_kept() -> None:
    torch.manual_seed(0)
    model = resnet()
    nn.utils.parametrizations.weight_norm(model[1].conv2)
    nn.utils.spectral_norm(model[2].conv1)
    calls: list[str] = []
    model[1].bn2.register_forward_hook(lambda *_: calls.append("hook"))
    model[0].requires_grad_(False)
    model[2].eval()
    model.half()[3].bfloat16()
    modes = [each.training for each in model.modules()]
    senet.squeeze_excite(model)
    old = [each for each in model.modules() if not any(each in se.modules() for se in blocks(model))]
    assert [each.training for each in old] == modes
    assert {each.dtype for each in model[1].bn2.se.parameters()} == {torch.float16}
    assert {each.dtype for each in model[3].bn2.se.parameters()} == {torch.bfloat16}
    assert model[1].bn2.se.training and not model[2].bn2.se.training
    assert not model[0].weight.requires_grad and all(
        each.requires_grad for each in model[1].bn2.se.parameters()
    )
    assert not calls
    model[1](torch.randn(2, 16, 8, 8).half())
    assert calls == ["hook"]


def blocks(model: nn.Module) -> list[nn.Module]:
    return [each for each in model.modules() if isinstance(each, SE)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs(dtype: torch.dtype) -> None:
    model, x = trained("2-d").to(dtype), input_of("2-d").to(dtype)
    before = output(model, x)
    senet.squeeze_excite(model)
    assert torch.equal(output(model, x), before)


def test_observers_of_quantisation_are_kept() -> None:
    model = trained("2-d").train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")
    torch.ao.quantization.prepare_qat(model, inplace=True)
    x = input_of("2-d")
    model(x)
    model.apply(torch.ao.quantization.disable_observer)
    before = output(model, x)
    observers = [name for name, _ in model.named_modules() if "activation_post_process" in name]
    senet.squeeze_excite(model)
    assert torch.equal(output(model, x), before)
    assert [name for name, _ in model.named_modules() if "activation_post_process" in name] == observers


def test_compiled_exported_and_traced_afterwards() -> None:
    model, x = trained("torchvision googlenet"), input_of("torchvision googlenet")
    senet.squeeze_excite(model, start="random")
    expected = output(model, x)
    assert torch.allclose(torch.compile(model, backend="eager", fullgraph=True)(x), expected, atol=1e-5)
    assert torch.allclose(torch.export.export(model, (x,)).module()(x), expected, atol=1e-5)
    assert torch.allclose(torch.jit.trace(model, x)(x), expected, atol=1e-5)


def test_a_loaded_model_keeps_its_blocks_whatever_hooks_it_gets() -> None:
    """In another process the numbers of hooks begin anew."""
    model = trained("2-d")
    senet.squeeze_excite(model, start="random")
    file = io.BytesIO()
    torch.save(model, file)
    torch.utils.hooks.RemovableHandle.next_id = 0
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    for _ in range(20):
        loaded[1].bn2.register_forward_hook(lambda *_: None)
    assert torch.equal(output(loaded, input_of("2-d")), output(model, input_of("2-d")))


def test_copies_of_a_model_do_not_share_blocks() -> None:
    model = trained("2-d")
    senet.squeeze_excite(model)
    copied = copy.deepcopy(model)
    nn.init.ones_(copied[1].bn2.se.fc2.bias)
    x = input_of("2-d")
    assert not torch.equal(output(copied, x), output(model, x))
    senet.remove(copied)
    assert len(blocks(model)) == 3


def test_the_report_prints_and_sorts() -> None:
    report = senet.squeeze_excite(resnet(), reduction=4)
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "unit",
        "kind",
        "SE",
        "sits",
        "stage",
        "channels",
        "hidden",
        "parameters",
        "multiply-adds",
    ]
    assert lines[1].split() == ["1", "basic", "behind", "bn2", "2", "16", "4", "148", "128"]
    assert lines[-1] == (
        "Sequential: 3 places got se with reduction 4, start identity: 1,252 parameters and 1,152 "
        "multiply-adds for an image more."
    )
    assert sorted(report.sites, key=lambda site: -site.channels)[0].channels == 32
    assert sorted(report.sites) == list(report.sites)


@pytest.mark.parametrize("name", ["resnet8", "vgg11_bn"])
def test_cost_and_files_of_senets_own_networks(name: str, tmp_path: Path) -> None:
    model = senet.create_model(name, num_classes=5)
    plain = senet.cost(model, 32)
    report = senet.squeeze_excite(model, 4)
    told = senet.cost(model, 32)
    assert told.parameters - plain.parameters == report.parameters
    assert told.multiply_adds - plain.multiply_adds == report.multiply_adds
    assert told == senet.cost(nn.Sequential(model), (3, 32, 32)), "what runs, counted by watching it"
    with pytest.raises(SenetError, match="got SE from"):
        senet.save_weights(model, tmp_path / "x.safetensors")
    assert not any(tmp_path.iterdir())
