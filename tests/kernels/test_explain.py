import copy

import pytest
import torch
from torch import nn

import senet
from senet.blocks.tail import tail
from senet.errors import SenetError
from senet.kernels import backends
from senet.kernels.backends import kernels
from senet.kernels.dispatch import recording
from senet.kernels.explain import explain_kernels


def test_every_block_is_named_with_what_ran_it():
    model = senet.create_model("se_resnet8")
    report = explain_kernels(model, torch.randn(2, 3, 32, 32))
    assert report.backends == {"numba": len(report.rows)}
    blocks = [row.block for row in report.rows]
    assert blocks[:3] == ["bn1", ["layer1.0", "bn1"][0] + ": bn1", "layer1.0: bn2, se"]
    row = report.rows[2]
    assert (row.steps, row.shape, row.reason) == ("bn se add relu", (2, 16, 32, 32), "")
    lines = str(report).splitlines()
    assert lines[0].split() == ["block", "steps", "input", "kernel", "why", "nothing", "faster"]
    assert lines[-1] == f"{len(blocks)} blocks: {len(blocks)} by numba"
    assert len(lines) == len(blocks) + 2


def test_it_says_why_nothing_faster_ran():
    model = senet.create_model("se_resnet8", se=senet.SEConfig(squeeze="max", min_hidden=1))
    model.layer2[0].bn1.register_forward_hook(lambda *_: None)
    report = explain_kernels(model, torch.randn(2, 3, 32, 32))
    reasons = {row.reason for row in report.rows if row.backend == "reference"}
    assert reasons == {"squeeze max", "BatchNorm has a hook"}
    assert "BatchNorm has a hook" in str(report)
    with kernels("reference"):
        forced = explain_kernels(model, torch.randn(2, 3, 32, 32))
    assert set(forced.backends) == {"reference"}


def test_an_se_block_is_listed_once():
    model = senet.create_model("se_resnet8")
    with kernels("reference"):
        report = explain_kernels(model, torch.randn(2, 3, 32, 32))
    assert [row.steps for row in report.rows if "se" in row.steps] == ["bn se add relu"] * 3
    model.layer1[0].bn2.register_forward_hook(lambda *_: None)
    report = explain_kernels(model, torch.randn(2, 3, 32, 32))
    assert [(row.steps, row.backend) for row in report.rows if "se" in row.steps][:2] == [
        ("bn se add relu", "reference"),
        ("se", "numba"),
    ]


def test_the_model_stays_as_it_was():
    model = senet.create_model("se_resnet8").train()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    explain_kernels(nn.Sequential(model, nn.Dropout(0.5)), torch.zeros(2, 3, 32, 32))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("name", backends.MODES)
def test_kernels_may_be_chosen(name):
    before = backends.mode()
    with kernels(name):
        assert backends.mode() == name
        with kernels("reference"):
            assert backends.mode() == "reference"
        assert backends.mode() == name
    assert backends.mode() == before


def test_small_maps_are_left_to_the_layers():
    model = senet.create_model("se_resnet8").eval()
    x = torch.randn(1, 3, 32, 32)
    with kernels("auto"):
        small = explain_kernels(model, x)
        large = explain_kernels(model, torch.randn(8, 3, 32, 32))
    few = "too few values: the layers are as fast"
    assert {row.reason for row in small.rows} == {"", few}
    # Without gradients 32 x 16 x 16 values are just enough for SE, and 8 x 16 x 32 x 32 without.
    assert [row.backend for row in small.rows if "se" in row.steps] == ["numba", "numba", "reference"]
    assert {row.reason for row in small.rows if "se" not in row.steps} == {few}
    assert [row.backend for row in large.rows[:3]] == ["numba"] * 3
    assert large.rows[-2].backend == "reference"
    bn, y = torch.nn.BatchNorm2d(16), torch.randn(8, 16, 32, 32)
    with kernels("auto"), recording() as ran:
        tail(y, bn)
        tail(torch.cat([y] * 4), bn)
    assert [each.choice.backend for each in ran] == ["reference", "numba"]


def test_unknown_kernels_are_refused():
    sentence = r"The kernels must be one of .*, not 'referenc'.* Did you mean 'reference'"
    with pytest.raises(SenetError, match=sentence), kernels("referenc"):
        pass


def test_a_backend_that_cannot_be_imported_is_named(monkeypatch):
    def fail(name):
        raise ImportError("Numba needs NumPy 2.3 or less")

    monkeypatch.setattr(backends, "_missing", {})
    monkeypatch.setattr(backends, "import_module", fail)
    model = senet.create_model("se_resnet8")
    report = explain_kernels(model, torch.randn(2, 3, 32, 32))
    assert set(report.backends) == {"reference"}
    assert report.rows[0].reason == (
        "numba cannot be imported (Numba needs NumPy 2.3 or less): run pip install numba"
    )


def test_an_se_block_that_runs_again_by_itself_is_listed_again():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.se = nn.BatchNorm2d(8), senet.SqueezeExcitation(8, 2)

        def forward(self, x):
            return self.se(tail(x, self.bn, se=self.se))

    with kernels("reference"):
        report = explain_kernels(Twice(), torch.randn(2, 8, 4, 4))
    assert [row.steps for row in report.rows] == ["bn se", "se"]
