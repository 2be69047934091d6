from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.insight import tails
from senet.insight.tails import (
    CopyStep,
    Maps,
    Site,
    Tail,
    TailStep,
    backward_traffic,
    forward_traffic,
    layer_by_layer,
    make_maps,
    maps_crossed,
    se_sites,
    tail_bytes,
)
from senet.kernels import fused, torch_passes
from senet.kernels.backends import mode
from senet.kernels.steps import Steps

CPU = torch.device("cpu")
RESIDUAL = Steps.parse("bn se add relu")
SHAPE = (8, 5, 3)


def small_maps(steps: Steps = RESIDUAL, **options: Any) -> Maps:
    return make_maps(SHAPE, 2, add=steps.add, device=CPU, **options)


def test_sites_are_the_stages_of_a_residual_network() -> None:
    sites = se_sites("se_resnet50b", 2, 224)
    shapes = [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert sites == [Site(RESIDUAL, shape) for shape in shapes]
    assert all(str(site.without_se) == "bn add relu" for site in sites)


@pytest.mark.parametrize(
    ("model", "size", "steps", "plain"),
    [("se_vgg11_bn", 32, "bn relu se", "bn relu"), ("se_inception_v3", 299, "se", "None")],
)
def test_sites_of_other_networks(model: str, size: int, steps: str, plain: str) -> None:
    sites = se_sites(model, 2, size)
    assert {str(site.steps) for site in sites} == {steps}
    assert {str(site.without_se) for site in sites} == {plain}
    assert len({site.shape[1:] for site in sites}) == len(sites)


def test_images_that_a_network_cannot_train_on_are_refused() -> None:
    with pytest.raises(SenetError, match="too small for resnet50b"):
        se_sites("se_resnet50b", 2, 0)
    with pytest.raises(SenetError, match=r"resnet8 cannot be trained on 1 image of 4×4 pixels"):
        se_sites("se_resnet8", 1, 4)


class CountedPasses:
    """The passes of `torch_passes`, and how often they read and write maps of one size."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self.reads = self.writes = 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(torch_passes, name)
        if not name.endswith("_pass"):
            return function

        def counted(*given: Any, **options: Any) -> Any:
            self.reads += self._maps_in(given)
            result = function(*given, **options)
            self.writes += self._maps_in([result] if isinstance(result, Tensor) else result)
            return result

        return counted

    def _maps_in(self, values: Any) -> int:
        return sum(isinstance(each, Tensor) and each.shape == self.shape for each in values)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("steps", ["bn se add relu", "bn add relu", "bn relu se", "bn relu", "bn se"])
def test_traffic_is_that_of_the_passes(steps: str, train: bool) -> None:
    parsed = Steps.parse(steps)
    maps = small_maps(parsed)
    module = Tail(8, parsed, SEConfig(reduction=2)).train(train)
    bn = module.bn
    assert bn is not None
    statistics = (None, None) if train else (bn.running_mean, bn.running_var)
    batch_norm = fused.BatchNorm(bn.weight, bn.bias, *statistics, train, bn.eps)
    excitation = None if module.se is None else module.se.excitation()
    passes: Any = CountedPasses(maps.y.shape)
    with torch.no_grad():
        done = fused.forward(passes, maps.y, maps.shortcut, batch_norm, excitation, parsed)
        assert forward_traffic(parsed, train=train) == (passes.reads, passes.writes)
        if train:
            passes = CountedPasses(maps.y.shape)
            out = done.out if parsed.masked_by_output else None
            saved = (out, done.norm, done.squeezed)
            fused.backward(passes, maps.grad, maps.y, saved, batch_norm, excitation, parsed)
            assert backward_traffic(parsed) == (passes.reads, passes.writes)


def test_se_adds_no_traffic_to_a_training_step() -> None:
    assert maps_crossed(RESIDUAL) == maps_crossed(Steps.parse("bn add relu")) == 12
    assert maps_crossed(RESIDUAL, train=False) == 4


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("steps", ["bn se add relu", "bn relu se", "se"])
@pytest.mark.parametrize("train", [True, False])
def test_the_copy_moves_as_many_bytes_as_the_tail(
    dtype: torch.dtype, size: int, steps: str, train: bool
) -> None:
    parsed = Steps.parse(steps)
    maps = small_maps(parsed, dtype=dtype)
    values = 2 * 8 * 5 * 3
    expected = maps_crossed(parsed, train=train) * values * size
    copies = CopyStep(maps, parsed, train=train)
    assert tail_bytes(maps, parsed, train=train) == expected == copies.bytes
    moved = [0]
    for to, source in copies.pairs:
        assert to.data_ptr() != source.data_ptr()
        moved[0] += to.numel() * to.element_size() + source.numel() * source.element_size()
    assert moved[0] == expected
    for to, _ in copies.pairs:
        to.zero_()
    copies.run()
    assert all(torch.equal(to, source) for to, source in copies.pairs)


def test_the_copy_touches_as_many_maps_as_a_tail_that_adds() -> None:
    buffers = [each for pair in small_maps().buffers for each in pair]
    assert len({each.data_ptr() for each in buffers}) == 6
    used = [each.data_ptr() for pair in CopyStep(small_maps(), RESIDUAL).pairs for each in pair]
    assert len(set(used)) == 6 and len(used) == 12


def test_maps_have_the_layout_and_type_asked_for() -> None:
    maps = small_maps(dtype=torch.bfloat16)
    for each in (maps.y, maps.shortcut, maps.grad):
        assert each is not None and each.dtype == torch.bfloat16
        assert each.is_contiguous(memory_format=torch.channels_last) and not each.is_contiguous()
    assert small_maps(memory_format=torch.contiguous_format).y.is_contiguous()
    assert small_maps(Steps.parse("bn relu se")).shortcut is None


def test_a_step_runs_forward_and_backward_to_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    grad = torch.autograd.grad

    def watched(out: Tensor, inputs: list[Tensor], given: Tensor) -> Any:
        gradients = grad(out, inputs, given)
        asked.append(len(inputs))
        assert all(
            each is not None and each.shape == x.shape for each, x in zip(gradients, inputs, strict=True)
        )
        return gradients

    monkeypatch.setattr(tails.torch.autograd, "grad", watched)
    module = Tail(8, RESIDUAL, SEConfig(reduction=2))
    TailStep(module, small_maps()).train()
    # Input, shortcut, BatchNorm's two and SE's four.
    assert asked == [8]
    assert module.bn is not None and module.bn.num_batches_tracked == 1


def test_bfloat16_maps_run_too() -> None:
    step = TailStep(Tail(8, RESIDUAL, SEConfig(reduction=2)), small_maps(dtype=torch.bfloat16))
    layer_by_layer(step.train)()
    assert step.forward().dtype == torch.bfloat16


def test_layer_by_layer_holds_for_the_work_alone() -> None:
    seen: list[str] = []
    run = layer_by_layer(lambda: seen.append(mode()))
    before = mode()
    run()
    assert seen == ["reference"] and mode() == before
    step = TailStep(Tail(8, RESIDUAL, SEConfig(reduction=2)), small_maps())
    kinds: list[str] = []
    layer_by_layer(lambda: kinds.append(step.kernel().backend))()
    assert kinds == ["reference"]


def test_both_ways_compute_the_same() -> None:
    step = TailStep(Tail(8, RESIDUAL, SEConfig(reduction=2)), small_maps())
    assert step.kernel().is_fused
    both: list[Tensor] = [step.forward()]
    layer_by_layer(lambda: both.append(step.forward()))()
    torch.testing.assert_close(both[0], both[1])


def test_a_tail_is_nothing_but_its_layers() -> None:
    kinds = [type(layer) for layer in Tail(8, Steps.parse("bn add relu"), SEConfig()).children()]
    assert kinds == [nn.BatchNorm2d, nn.ReLU]
