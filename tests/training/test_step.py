from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from senet.errors import SenetError, TrainingInterrupted
from senet.insight.results import EpochMetrics
from senet.training import failures
from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from senet.training.execution import Execution
from senet.training.loop import train
from senet.training.optimiser import gradient_norm, make_optimiser
from senet.training.progress import Silent
from senet.training.schedule import learning_rate
from tests.small import same_state, small_images, small_network, small_recipe, small_train
from tests.training.several import network_with_se, no_dropout, train_there
from tests.training.test_loop import StopAt


def without_norm() -> nn.Module:
    """No layer sees more than one image, so that parts of a batch give the same as the whole."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )


@pytest.mark.parametrize("parts", [2, 16])
def test_parts_of_a_batch_add_up_to_the_whole(tmp_path: Path, parts: int) -> None:
    whole, pieces = without_norm(), without_norm()
    settings = {"ema_decay": 0.9, "clip_norm": 0.3, "label_smoothing": 0.1}
    losses = train_there(tmp_path / "whole", whole, **settings)
    assert losses == pytest.approx(
        train_there(tmp_path / "parts", pieces, accumulate=parts, **settings), rel=1e-6
    )
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, pieces.state_dict()[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("largest", [1e-3, 1e9])
def test_clipping_is_that_of_torch(largest: float) -> None:
    models = [without_norm(), without_norm()]
    for model in models:
        model(torch.ones(2, 1, 8, 8)).square().sum().backward()
    expected = torch.nn.utils.clip_grad_norm_(models[0].parameters(), largest)
    assert torch.equal(gradient_norm(models[1], largest), expected)
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert first.grad is not None and second.grad is not None
        assert torch.equal(first.grad, second.grad)
    assert (expected > largest) == (largest < 1)


def test_vectors_need_not_decay() -> None:
    model = small_network()
    decay = {
        id(each): group["weight_decay"]
        for group in make_optimiser(model, small_recipe(decay_norm=False, weight_decay=0.1)).param_groups
        for each in group["params"]
    }
    assert {name: decay[id(each)] for name, each in model.named_parameters()} == {
        name: 0.1 if each.ndim > 1 else 0.0 for name, each in model.named_parameters()
    }
    (only,) = make_optimiser(model, small_recipe(weight_decay=0.1)).param_groups
    assert only["weight_decay"] == 0.1 and len(only["params"]) == len(decay)


def test_batch_norm_stays_as_it_is_in_the_last_epochs(tmp_path: Path) -> None:
    kept: dict[int, dict[str, Tensor]] = {}

    class Keep(Silent):
        def epoch(self, metrics: EpochMetrics) -> None:
            found = load_checkpoint(tmp_path / CHECKPOINT_NAME)
            assert found is not None
            kept[metrics.epoch] = found[0]["model"]

    small_train(tmp_path, small_recipe(epochs=4, freeze_norm_epochs=2, weight_decay=0.1), progress=Keep())
    norm = [name for name in kept[1] if name.startswith("1.")]
    assert len(norm) == 5
    for name in norm:
        assert not torch.equal(kept[1][name], kept[2][name]), name
        assert torch.equal(kept[2][name], kept[4][name]), name
    assert not torch.equal(kept[2]["0.weight"], kept[4]["0.weight"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_resumes_to_the_same_bits(tmp_path: Path, precision: str) -> None:
    recipe = small_recipe(precision=precision, epochs=2, clip_norm=0.5)
    expected, _ = small_train(tmp_path / "whole", recipe)
    with pytest.raises(TrainingInterrupted):
        small_train(tmp_path / "parts", recipe, progress=StopAt(7))
    resumed, _ = small_train(tmp_path / "parts", recipe)
    assert same_state(expected, resumed)
    states = [load_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("whole", "parts")]
    assert states[0] is not None and states[1] is not None
    assert states[0][0]["scaler"] == states[1][0]["scaler"]
    assert bool(states[0][0]["scaler"]) == (precision == "fp16")


def test_a_gradient_that_overflows_in_fp16_is_left_out(tmp_path: Path) -> None:
    """The first scale is far too large for this loss: steps are skipped until it fits."""
    network, before = small_network(), small_network()
    losses = train_there(tmp_path, network, precision="fp16", learning_rate=1e-6, epochs=1)
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert all(bool(torch.isfinite(each).all()) for each in network.parameters())
    assert not same_state(network, before)


def test_how_it_is_computed_changes_no_bit(tmp_path: Path) -> None:
    losses = {
        name: train_there(tmp_path / name, network_with_se(), execution=execution)
        for name, execution in {
            "usual": Execution(),
            "recomputed": Execution(recompute=True),
            "often saved": Execution(checkpoint_seconds=0),
        }.items()
    }
    assert losses["recomputed"] == losses["usual"] == losses["often saved"]
    other = train_there(tmp_path / "layout", network_with_se(), execution=Execution(channels_last=False))
    assert other == pytest.approx(losses["usual"], rel=1e-4)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_numbers(tmp_path: Path) -> None:
    compiled, usual = no_dropout(small_network()), no_dropout(small_network())
    torch._dynamo.reset()
    frames = counters["frames"]["ok"]
    losses = train_there(tmp_path / "compiled", compiled, execution=Execution(compile=True), epochs=1)
    assert counters["frames"]["ok"] > frames, "nothing was compiled"
    assert type(compiled) is nn.Sequential and compiled._compiled_call_impl is None
    assert losses == pytest.approx(train_there(tmp_path / "usual", usual, epochs=1), rel=1e-4)


def test_recomputing_needs_a_network_that_knows_how(tmp_path: Path) -> None:
    with pytest.raises(
        SenetError, match=r"network with set_grad_checkpointing, as senet's .*have, but Sequential has none:"
    ):
        train_there(tmp_path, small_network(), execution=Execution(recompute=True))


class Greedy(nn.Module):
    """Finds memory for so many images and no more."""

    def __init__(self, fits: int, words: str = "DefaultCPUAllocator: can't allocate memory") -> None:
        super().__init__()
        self.network, self.fits, self.words = small_network(), fits, words

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.fits:
            raise RuntimeError(f"[enforce fail at alloc_cpu.cpp:1] {self.words}")
        scores: Tensor = self.network(x)
        return scores


@pytest.mark.parametrize(
    ("fits", "changes", "said"),
    [
        (
            4,
            {},
            r"with 16 images does not fit into .*cpu \(batch_size 16\); 4 would fit: "
            r"start .*with batch_size 4, or with accumulate 4, which",
        ),
        (5, {}, r"4 would fit: .*accumulate 4,"),
        (
            2,
            {"accumulate": 2},
            r"with 8 images does not fit into .*cpu \(batch_size 16, accumulate 2\); 2 "
            r"would fit: start .*with batch_size 4, .*with accumulate 8, which",
        ),
        (
            0,
            {},
            r"with 16 images does .*\(batch_size 16\), not even with two: choose a smaller image size or",
        ),
        (4, {"batch_size": 12}, r"12 images .*; 3 would fit: .*batch_size 3, .*accumulate 4,"),
    ],
)
def test_out_of_memory_names_what_would_fit(
    tmp_path: Path, fits: int, changes: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second each time in a process that has run many tests.
    monkeypatch.setattr(failures, "gc", SimpleNamespace(collect=lambda: 0))
    with pytest.raises(SenetError, match=said) as caught:
        train_there(tmp_path, Greedy(fits), **changes)
    assert str(caught.value).count(". ") == 0, "one sentence"
    assert not (tmp_path / CHECKPOINT_NAME).exists()


def test_out_of_memory_in_the_words_of_onednn(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="4 would fit"):
        train_there(tmp_path, Greedy(4, "could not create a primitive"))


def test_what_fits_is_tried_when_the_failed_step_is_out_of_memory(tmp_path: Path) -> None:
    class Holding(Greedy):
        held: weakref.ref[Tensor] | None = None

        def forward(self, x: Tensor) -> Tensor:
            maps = x * 2
            if self.held is None and len(x) > self.fits:
                self.held = weakref.ref(maps)
            elif self.held is not None:
                assert self.held() is None, "the maps of the failed step are still there"
            return super().forward(maps)

    with pytest.raises(SenetError, match="4 would fit"):
        train_there(tmp_path, Holding(4))


class GreedyBackward(nn.Module):
    """Finds memory for any forward, and for the backward of four images."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        count = len(x)

        def no_place(gradient: Tensor) -> None:
            if count > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        scores.register_hook(no_place)
        return scores


def test_what_would_fit_is_tried_with_its_backward(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match=r"4 would fit"):
        train_there(tmp_path, GreedyBackward())


def test_another_error_of_a_network_is_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    class Wrong(Greedy):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        train_there(tmp_path, Wrong(1))


@pytest.mark.parametrize(
    "settings", [{"checkpoint_seconds": -1.0}, {"timeout_seconds": 0.0}, {"checkpoint_seconds": float("nan")}]
)
def test_times_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SenetError, match=next(iter(settings))):
        Execution(**settings)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_gradients_are_measured_and_clipped_without_the_scale_of_fp16(tmp_path: Path, clip: float) -> None:
    norms: dict[str, list[float]] = {}
    for precision in ("fp32", "fp16"):
        network, execution = without_norm(), Execution(log=("csv",), log_steps=1)
        changes = {"precision": precision, "clip_norm": clip, "epochs": 1, "learning_rate": 0.01}
        train_there(tmp_path / precision, network, execution=execution, **changes)
        rows = (tmp_path / precision / "steps.csv").read_text().splitlines()
        assert rows[0].split(",")[-1] == "gradient_norm" and len(rows) == 7
        norms[precision] = [float(row.split(",")[-1]) for row in rows[1:]]
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=0.02)
    assert min(norms["fp32"]) > 0.05, "before clipping"


def test_the_learning_rate_of_a_step_is_that_of_the_schedule(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=2, warmup_epochs=1)
    small_train(tmp_path, recipe, execution=Execution(log=("csv",), log_steps=1))
    rows = [row.split(",") for row in (tmp_path / "steps.csv").read_text().splitlines()[1:]]
    expected = [learning_rate(recipe, step, 6) for step in range(12)]
    assert [float(row[2]) for row in rows] == pytest.approx(expected, rel=1e-12)
    assert [(int(row[0]), int(row[1])) for row in rows] == [(n + 1, n // 6 + 1) for n in range(12)]


def test_the_network_moves_by_the_learning_rate_of_the_schedule(tmp_path: Path) -> None:
    """Without momentum a first step goes against the gradient, as far as the schedule says."""
    network = without_norm()
    recipe = small_recipe(epochs=1, momentum=0.0, weight_decay=0.0, warmup_epochs=0.5)
    norms: list[float] = []

    class After(Silent):
        def __init__(self) -> None:
            self.before = [each.detach().clone() for each in without_norm().parameters()]

        def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
            now = [each.detach().clone() for each in network.parameters()]
            moved = torch.cat([(a - b).flatten() for a, b in zip(now, self.before, strict=True)])
            norms.append(moved.norm().item())
            self.before = now

    train(
        network,
        small_images(recipe),
        recipe,
        seed=0,
        folder=tmp_path,
        device=torch.device("cpu"),
        progress=After(),
        execution=Execution(log=("csv",), log_steps=1),
    )
    rows = [row.split(",") for row in (tmp_path / "steps.csv").read_text().splitlines()[1:]]
    expected = [learning_rate(recipe, step, 6) * float(row[4]) for step, row in enumerate(rows)]
    assert norms == pytest.approx(expected, rel=1e-3)


def test_out_of_memory_leaves_no_gradients(tmp_path: Path) -> None:
    """The second piece of a batch fails: gradients of the first are given back, and those of the tries."""
    network = Greedy(8)
    held: list[bool] = []

    def look(module: nn.Module, _: object) -> None:
        held.append(any(each.grad is not None for each in module.parameters()))
        network.fits = 8 if len(held) == 1 else 4

    network.register_forward_pre_hook(look)
    with pytest.raises(SenetError, match="4 would fit"):
        train_there(tmp_path, network, accumulate=2)
    assert held == [False, True, False]
    assert all(each.grad is None for each in network.parameters())
