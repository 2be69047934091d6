import copy
import dataclasses
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

import senet
from senet.blocks.attached import attach
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.experiments.prune_gates import prune_gates
from senet.experiments.prune_report import PruneReport
from tests.experiments.planted import CLASSES, COUNT, gate, pairs, planted, prune, steps
from tests.references import randomise
from tests.small import same_state


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (0, {"vital": None, "still": 1, "slight": None, "soft": 2}),
        (0.005, {"vital": None, "still": 1, "slight": None, "soft": 2}),
        (0.01, {"vital": None, "still": 1, "slight": 2, "soft": 3}),
        # One image for slight leaves too few for vital.
        (0.2, {"vital": None, "still": 1, "slight": 2, "soft": 3}),
        (0.21, {"vital": 4, "still": 1, "slight": 2, "soft": 3}),
    ],
)
def test_the_cheapest_go_first_and_none_beyond_the_budget(budget, expected):
    model = planted()
    report = prune(model, budget=budget)
    assert steps(report) == expected
    assert [row.block for row in report.rows] == ["vital", "still", "slight", "soft"]
    left = [name for name, each in model.named_children() if isinstance(each, SqueezeExcitation)]
    assert left == [name for name, step in expected.items() if step is None]
    lost = (expected["slight"] is not None) + 20 * (expected["vital"] is not None)
    assert report.before.top1_error == 0
    assert report.after.top1_error == pytest.approx(lost)
    for row in report.rows:
        assert (row.reason != "") == (row.step is None)
        assert (row.milliseconds is None) == (row.time_ratio is None) == (row.step is None)
    if budget == 0.005:
        kept = {row.block: row.reason for row in report.kept}
        assert kept["slight"] == "the top-1 error would rise by 1.00 points in all, more than 0.5"
        assert "rise by 20.00 points in all" in kept["vital"]


def test_what_is_measured():
    model = planted()
    report = prune(model, dry_run=True)
    rows = {row.block: row for row in report.rows}
    low, high = 2 / (1 + math.exp(10)), 2 / (1 + math.exp(-10))
    mean = 0.2 * high + 0.8 * low
    assert rows["vital"].mean_gate == pytest.approx((3 + mean) / 4, rel=1e-6)
    assert rows["vital"].gate_deviation == pytest.approx(0.4 * (high - low) / 4, rel=1e-6)
    assert rows["vital"].error_change == pytest.approx(20)
    assert rows["slight"].error_change == pytest.approx(1)
    assert rows["soft"].error_change == rows["still"].error_change == 0
    assert rows["still"].loss_change == rows["still"].gate_deviation == 0
    assert 0 < rows["slight"].loss_change < rows["soft"].loss_change < rows["vital"].loss_change
    assert rows["soft"].parameters == 4 * 4 * 2 + 8
    assert rows["soft"].channels == 4
    before = functional.cross_entropy(model(pairs().tensors[0]), pairs().tensors[1]).item()
    assert report.before.loss == pytest.approx(before, rel=1e-6)
    with torch.no_grad():
        model.vital.fc2.weight.zero_()
        model.vital.fc2.bias[2] = math.log(mean / (2 - mean))
    after = functional.cross_entropy(model(pairs().tensors[0]), pairs().tensors[1]).item()
    assert rows["vital"].loss_change == pytest.approx(after - before, rel=1e-5)
    assert report.images == COUNT
    assert report.batch_size == 32
    assert report.before.top5_error == 0


def test_totals():
    model = planted()
    everything = sum(each.numel() for each in model.parameters())
    report = prune(model, budget=0)
    block = 4 * 4 * 2 + 8
    assert report.before.parameters == everything
    assert report.before.se_parameters == 4 * block
    assert report.before.se_share == pytest.approx(100 * 4 * block / (everything - 4 * block))
    assert (
        report.after.parameters == everything - 2 * block == sum(each.numel() for each in model.parameters())
    )
    assert report.after.se_parameters == 2 * block
    assert [row.block for row in report.folded] == ["still", "soft"]
    assert report.time_ratio.count >= 5
    now = functional.cross_entropy(model(pairs().tensors[0]), pairs().tensors[1]).item()
    assert report.after.loss == pytest.approx(now, rel=1e-6)
    assert report.folded[0].into == ("after_vital",)


def test_the_budget_is_counted_from_the_original():
    # Two blocks that cost one image each: a budget of one image is spent by the first.
    model = planted()
    model.still = gate(1, 3, 20, -10)
    report = prune(model, budget=0.01)
    # Both hold class 2 alone; with either held its image is lost, so the second is free.
    assert sum(row.folded for row in report.rows) == 3
    assert report.after.top1_error == pytest.approx(1)


def test_a_dry_run_changes_nothing_and_says_the_same():
    model = planted().train()
    twin = copy.deepcopy(model)
    dry = prune(model, budget=0.01, dry_run=True)
    assert same_state(model, twin)
    assert [type(each) for each in model.modules()] == [type(each) for each in twin.modules()]
    assert all(each.training for each in model.modules())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    assert not any("forward" in vars(each) for each in model.modules())
    wet = prune(model, budget=0.01)
    assert all(each.training for each in model.modules())
    assert not same_state_of_kept(model, twin)
    timeless = {"milliseconds": None, "time_ratio": None}
    assert [dataclasses.replace(row, **timeless) for row in dry.rows] == [
        dataclasses.replace(row, **timeless) for row in wet.rows
    ]
    assert dry.after.loss == wet.after.loss
    assert "SE blocks would be folded" in str(dry)
    assert (dry.dry_run, wet.dry_run) == (True, False)


def same_state_of_kept(model, twin):
    return list(model.state_dict()) == list(twin.state_dict())


def test_it_prints_a_table():
    report = prune(planted(), budget=0.005)
    lines = str(report).splitlines()
    assert lines[0].split()[:4] == ["block", "channels", "parameters", "gate"]
    assert lines[1].startswith("vital   4         40 ")
    assert "kept" in lines[1]
    assert "+20.00 points" in lines[1]
    assert "after_vital" in lines[2]
    assert (
        "Sequential: 2 of 4 SE blocks folded, measured on 100 images (one image is 1 %), with a budget of 0.5"
        in str(report)
    )
    assert sorted(report.rows)[0].block == "slight"
    assert isinstance(report, PruneReport)


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        y = functional.relu(self.bn(self.conv(x)))
        return self.fc(functional.relu(self.conv2(y)).mean((2, 3)))


def hosted(seed=0, kind=Host):
    torch.manual_seed(seed)
    model = kind()
    randomise(model)
    attach(model.bn, SqueezeExcitation(8, 2), "after relu")
    attach(model.conv2, SqueezeExcitation(8, 2), "after")
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_left_needs_no_senet(dtype):
    model = hosted().to(dtype)
    report = prune(model, budget=1)
    assert [row.into for row in report.rows] == [("bn",), ("conv2",)]
    plain = Host().to(dtype)
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    images = torch.randn(5, 2, 3, 3, dtype=dtype)
    assert torch.equal(plain.eval()(images), model.eval()(images))
    assert not any(type(each).__module__.startswith("senet") for each in model.modules())
    assert report.after.se_parameters == 0


def test_under_inference_mode_it_does_the_same():
    with torch.inference_mode():
        model = planted()  # its weights are inference tensors
        report = prune(model, budget=0, dry_run=True)
        assert steps(report) == {"vital": None, "still": 1, "slight": None, "soft": 2}
    model = hosted()
    with torch.inference_mode():
        assert len(prune(model, budget=1).folded) == 2
    model(torch.randn(2, 2, 3, 3)).sum().backward()


def test_an_accelerated_model():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.se, self.relu = nn.BatchNorm2d(8), SqueezeExcitation(8, 2), nn.ReLU()

        def forward(self, x):
            return self.relu(self.se(self.bn(x)) + x)

    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    model = nn.Sequential(nn.Conv2d(2, 8, 1), Unit(), Unit(), *head)
    randomise(model)
    twin = copy.deepcopy(model)
    senet.accelerate(model)
    with pytest.raises(SenetError, match="the model is compiled"):
        prune(model, budget=1)
    report = prune(twin, budget=1)
    assert [row.into for row in report.rows] == [("1.bn",), ("2.bn",)]


class Reading(nn.Module):
    """Reads the output of a layer in a way that no tensor shows."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3)
        self.se = SqueezeExcitation(8, 2)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.conv(x)
        seen = float(y.numpy().mean())
        return self.fc(self.se(y).mean((2, 3))) + seen * torch.arange(CLASSES)


def test_what_else_reads_a_layer_is_noticed_by_the_scores():
    torch.manual_seed(0)
    model = Reading()
    before = copy.deepcopy(model)
    (row,) = prune(model, budget=1).rows
    assert row.reason == "the scores would change: another layer also uses the output of conv"
    assert same_state(model, before)


class Skipping(nn.Sequential):
    def forward(self, x):
        for name, each in self.named_children():
            x = x if name == "idle" else each(x)
        return x


def test_a_block_that_cannot_be_folded_is_measured_all_the_same():
    model = Skipping(OrderedDict(planted().named_children()))
    model.after_vital = nn.Sequential(model.after_vital, nn.SiLU())
    model.idle = SqueezeExcitation(4, 1)
    report = prune(model, budget=1)
    rows = {row.block: row for row in report.rows}
    assert rows["still"].reason == "it multiplies the output of silu, into which no weights can be folded"
    assert rows["still"].loss_change == 0
    assert rows["idle"].reason == "it did not run"
    assert math.isnan(rows["idle"].mean_gate)
    assert report.rows[-1].block == "idle"
    assert "–" in str(report)


@pytest.mark.slow
def test_a_network_of_senet_becomes_its_plain_one(tmp_path):
    torch.manual_seed(0)
    model = senet.create_model("se_resnet8", num_classes=CLASSES)
    randomise(model)
    images, labels = torch.randn(6, 3, 32, 32), torch.arange(6)
    for each in model.modules():
        if isinstance(each, SqueezeExcitation):
            nn.init.zeros_(each.fc2.weight)
    with torch.no_grad():
        expected = model.eval()(images)
    report = prune(model, [(images, labels)], budget=0)
    assert len(report.folded) == 3
    assert report.model == "se_resnet8"
    assert all(row.loss_change == pytest.approx(0, abs=1e-5) for row in report.rows)
    assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-4)
    assert model.spec.se is None
    senet.save_weights(model, tmp_path / "plain.safetensors")
    plain = senet.create_model("resnet8", weights=tmp_path / "plain.safetensors").eval()
    with torch.no_grad():
        assert torch.equal(plain(images), model(images))
    assert (
        senet.cost(model).parameters == senet.cost("resnet8").parameters - 64 * (10 - CLASSES) - 10 + CLASSES
    )


def test_it_is_public():
    assert senet.prune_gates is prune_gates
    assert senet.PruneReport is PruneReport
