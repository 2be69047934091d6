"""Reading a model and finding its units: what the tests of the whole insertion do not reach."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import senet
from senet.errors import SenetError
from senet.surgery.flat_graph import read_by_tracing
from senet.surgery.recorded import read_by_running
from senet.surgery.regions import Regions
from tests.references import import_timm, import_torchvision
from tests.surgery.networks import Block, Concurrent, Values, resnet


class Keeps(Block):
    """Keeps its last features, as many users' networks do, and counts its calls."""

    def __init__(self) -> None:
        super().__init__(2, 3, 16)
        self.features: list[Tensor] = []
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.last, self.calls = y, self.calls + 1
        self.features.append(y)
        return y


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 8, 8)], ids=["traced", "run"])
def test_what_a_forward_keeps_is_put_back(example: Tensor | None) -> None:
    model = Keeps()
    senet.squeeze_excite(model, example_input=example)
    assert model.features == [] and model.calls == 0 and not hasattr(model, "last")


def test_running_a_model_changes_none_of_its_numbers() -> None:
    class Counts(Block):
        def __init__(self) -> None:
            super().__init__(2, 3, 16)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return super().forward(x)

    model = Counts().train()
    before = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    senet.squeeze_excite(model, example_input=torch.randn(2, 3, 8, 8), dry_run=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training and not torch.equal(rng, torch.zeros_like(rng))


def test_a_module_that_returns_what_it_takes_ends_nothing() -> None:
    """The empty Sequential returns the sum, but SE on it would stand behind the next unit's shortcut too."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, padding=1)
            self.nothing = nn.Sequential()
            self.block = Block(2, 16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.nothing(self.conv(x)))

    flat = read_by_tracing(Net())
    assert "nothing" not in [name for names in flat.outputs.values() for name in names]
    flat = read_by_running(Net(), torch.zeros(1, 3, 8, 8))
    assert "nothing" not in [name for names in flat.outputs.values() for name in names]


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 64, 64)], ids=["traced", "run"])
def test_a_channel_shuffle_is_looked_through(example: Tensor | None) -> None:
    model = import_torchvision().models.shufflenet_v2_x0_5()
    report = senet.squeeze_excite(model, example_input=example)
    kinds = [site.kind for site in report.sites]
    assert (kinds.count("concatenated branch"), kinds.count("inception")) == (13, 3)
    assert {site.host for site in report.sites if site.kind == "inception"} == {
        "stage2.0", "stage3.0", "stage4.0",
    }  # fmt: skip


def test_other_moves_of_channels_are_not() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 16, 1)
            self.b = nn.Conv2d(3, 16, 3, padding=1)
            self.last = nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.cat([self.a(x), self.b(x)], 1)
            return self.last(y.reshape(len(x), 8, 2 * x.shape[2], -1))

    with pytest.raises(
        SenetError, match="come from the function cat in the model, which is not the output of a module"
    ):
        senet.squeeze_excite(Mixed(), example_input=torch.zeros(1, 3, 8, 8))


def test_a_container_cannot_hold_a_block_but_the_module_around_it_can() -> None:
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = Concurrent(nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            return self.branches(x)

    report = senet.squeeze_excite(nn.Sequential(Unit(), nn.ReLU()))
    assert [(site.host, site.channels) for site in report.sites] == [("0", 32)]
    with pytest.raises(SenetError, match="the function cat in 0, which is not the output of a module"):
        senet.squeeze_excite(nn.Sequential(Unit().branches, nn.ReLU()))


def test_a_branch_whose_output_is_used_elsewhere_gets_nothing() -> None:
    class Leaks(Block):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            return functional.relu(y + x), y

    with pytest.raises(SenetError, match="the output of its branch is also used elsewhere"):
        senet.squeeze_excite(Leaks(2, 16, 16))


def test_a_sum_of_equals_does_not_tell_which_is_the_shortcut() -> None:
    class Equals(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 16, 1)
            self.b = nn.Conv2d(3, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.a(x) + self.b(x))

    with pytest.raises(
        SenetError, match="both inputs of its sum come from 1 layer: it is not clear which is the shortcut"
    ):
        senet.squeeze_excite(Equals())


def test_a_skip_over_whole_units_is_none() -> None:
    """As networks for super-resolution have it."""

    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 16, 3, padding=1)
            self.body = nn.Sequential(Block(2, 16, 16), Block(2, 16, 16), nn.Conv2d(16, 16, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(x)
            return x + self.body(x)

    report = senet.squeeze_excite(Skips())
    assert [site.name for site in report.sites] == ["body.0", "body.1"]
    assert report.reasons == {"a long skip connection: its branch consists of whole units": 1}


def test_a_concatenation_of_branches_with_units_is_none() -> None:
    """As in CSP networks: the units in it get SE."""

    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 16, 1)
            self.b = nn.Sequential(nn.Conv2d(3, 16, 1), Block(2, 16, 16))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.a(x), self.b(x)], 1)

    assert [site.name for site in senet.squeeze_excite(nn.Sequential(Partial(), nn.ReLU())).sites] == [
        "0.b.1"
    ]


def test_a_layer_in_front_of_a_relu_that_is_used_elsewhere_gets_nothing() -> None:
    """Its hook would weigh what goes elsewhere as well."""

    class Leaks(Block):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            return functional.relu(y) + x, y

    with pytest.raises(SenetError, match="the input of its ReLU is also used elsewhere"):
        senet.squeeze_excite(Leaks(2, 16, 16))


@pytest.mark.parametrize("example", [None, torch.zeros(1, 3, 8, 8)], ids=["traced", "run"])
def test_a_layer_whose_output_goes_past_the_relu_gets_nothing(example: Tensor | None) -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.last = nn.Conv2d(16, 16, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.conv(x)
            return functional.relu(self.last(functional.relu(y))), y

    report = senet.squeeze_excite(Past(), example_input=example)
    assert [site.host for site in report.sites] == ["last"]
    assert report.skipped[0].reason == "no non-linearity follows it"


def test_a_convolution_without_a_non_linearity_is_taken_by_name() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3), nn.ReLU()
    )
    assert [site.name for site in senet.squeeze_excite(model, dry_run=True).sites] == ["3"]
    report = senet.squeeze_excite(model, where=["0", "3"])
    assert [(site.name, site.host) for site in report.sites] == [("0", "1"), ("3", "4")]


def test_units_of_one_forward_are_told_apart() -> None:
    model = torch.fx.symbolic_trace(resnet())
    report = senet.squeeze_excite(model, dry_run=True)
    assert [site.name for site in report.sites] == ["1.bn2", "2.bn2", "3.bn2"]
    assert [site.name for site in senet.squeeze_excite(model, where="2.bn2").sites] == ["2.bn2"]


def test_closed_parts_are_read_by_themselves() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = resnet()[:4]
            self.fc = nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] != 17:
                raise ValueError("17 pixels")
            return self.fc(self.units(x).mean((2, 3)))

    report = senet.squeeze_excite(Outer())
    assert [site.name for site in report.sites] == ["units.1", "units.2", "units.3"]
    assert [row.name for row in report.skipped] == [""]
    assert "a branch depends on tensor values (line" in report.skipped[0].reason


@pytest.mark.parametrize(
    "name", ["resnet50", "densenet121", "inception_v3", "mobilenet_v2", "shufflenet_v2_x1_0"]
)
def test_tracing_and_running_see_the_same(name: str) -> None:
    with torch.device("meta"):
        options = {"init_weights": False} if name == "inception_v3" else {}
        model = getattr(import_torchvision().models, name)(**options).eval()
        example = torch.zeros(1, 3, 299, 299)
    traced, ran = read_by_tracing(model), read_by_running(model, example)
    layers = [[node.target for node in flat.nodes if node.op == "call_module"] for flat in (traced, ran)]
    assert layers[0] == layers[1] and len(layers[0]) > 50
    assert not traced.unread and traced.scopes and ran.shapes


def test_forks_are_where_all_paths_come_from() -> None:
    flat = read_by_tracing(Block(2, 3, 16, 2))
    add = next(node for node in flat.nodes if "add" in str(node.target))
    region = Regions(flat.nodes, lambda node: node.all_input_nodes).region(add, add.all_input_nodes)
    assert region is not None and region.fork.op == "placeholder"
    sides = {
        str(operand.target): [str(node.target) for node in side] for operand, side in region.sides.items()
    }
    assert sides == {"bn2": ["conv1", "bn1", "act", "conv2", "bn2"], "skip": ["skip"]}


def test_a_forward_that_takes_a_shape_for_a_tensor_ends_in_no_crash() -> None:
    """torch.zeros(shape) once took a stand-in for a tensor."""
    with torch.device("meta"):
        model = import_timm().create_model("edgenext_xx_small")
    report = senet.squeeze_excite(model)
    assert len(report.sites) == 9 and any(row.kind == "" for row in report.skipped) is False


def test_all_kinds_of_inputs() -> None:
    model, x = Values(), torch.randn(1, 3, 8, 8)
    for example in (x, (x,), {"x": x}):
        assert len(senet.squeeze_excite(model, example_input=example, dry_run=True).sites) == 1
