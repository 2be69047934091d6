"""The benchmark for a GPU runs whole, where there is none as well, and fails with a wrong kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import bench_first_use, bench_network, common, gpu, gpu_checks

from senet.kernels import numba_passes
from senet.report.timings_csv import read_csv
from tests.smoke import pairs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


@pytest.fixture(autouse=True)
def no_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling all kernels anew takes too long for a test: say that it took a second."""
    monkeypatch.setattr(bench_first_use, "in_new_process", lambda *given: 1.0)


def test_everything_of_the_gpu_runs(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--smoke", "--seconds", "0.01", "--out", str(out)]) == 0
    rows = read_csv(out)
    assert [*dict.fromkeys(row.benchmark for row in rows)] == ["check", "tail", "network", "first use"]
    checks = [row for row in rows if row.benchmark == "check"]
    assert len(checks) > 40 and all(row.note.startswith("passed, error ") for row in checks)
    names = {row.name for row in checks}
    assert {"moments_pass", "gradient_apply_pass, affine", "empty batch", "same bits twice"} <= names
    assert {"opcheck, bn se add relu", "bn se add relu, training", "bn relu se, evaluation"} <= names
    assert {row.layout for row in checks} == {"channels_last", "contiguous"}
    n = bench_network
    assert {(n.OURS, n.TIMM_PLAIN), (n.OURS, n.COMPILED), (n.OURS, n.OURS_PLAIN)} <= pairs(rows)
    assert "0 checks failed" in capsys.readouterr().out


def test_without_timm_our_own_layers_are_the_peers(out: Path) -> None:
    words = ["--smoke", "--seconds", "0.01", "--out", str(out), "--without-timm"]
    rows = gpu.Run(common.parse(None, "gpu", 1, words, gpu.more_options)).networks()
    n = bench_network
    assert not any("timm" in row.name for row in rows)
    assert {(n.OURS, n.LAYERS_PLAIN), (n.OURS, n.COMPILED)} <= pairs(rows)
    (note,) = {row.note for row in rows if row.name == n.COMPILED}
    assert note.startswith(f"{n.OURS}, layer by layer: compiled in ")


def test_a_wrong_kernel_fails(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = numba_passes.gradient_apply_pass

    def wrong(*given: Any, **options: Any) -> Any:
        dy, shortcut = right(*given, **options)
        return dy * 1.0001, shortcut

    monkeypatch.setattr(numba_passes, "gradient_apply_pass", wrong)
    for part in ("tails", "networks", "first_use"):
        monkeypatch.setattr(gpu.Run, part, lambda run: [])
    assert gpu.main(["--smoke", "--out", str(out)]) == 1
    assert "FAILED Check(name='gradient_apply_pass'" in capsys.readouterr().out
    assert {row.note.split(",")[0] for row in read_csv(out)} == {"passed", "FAILED"}


def test_a_first_use_that_takes_too_long_is_a_note(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*given: Any) -> float:
        raise subprocess.TimeoutExpired("python", given[-1])

    monkeypatch.setattr(bench_first_use, "in_new_process", slow)
    run = gpu.Run(common.parse(None, "gpu", 1, ["--smoke", "--out", str(out)], gpu.more_options))
    (row,) = run.first_use()
    assert row.milliseconds is None and row.note == "more than 285 s"


def test_parts_for_which_no_time_is_left_are_named(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gpu.Run(common.parse(None, "gpu", 1, ["--smoke", "--out", str(out)], gpu.more_options))
    run.smoke = False
    run.started -= 560
    run.part("tails", 60, lambda: pytest.fail("it ran"))
    assert "tails: left out, 10 s are not enough" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no CUDA device")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "no CUDA device here; --smoke" in capsys.readouterr().err


def test_the_gpu_script_needs_torch_alone() -> None:
    blocked = "rich matplotlib scipy PIL pyarrow jinja2 numba timm torchvision safetensors triton"
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked.split()}))\n"
        "import benchmarks.gpu\nfrom senet.networks.zoo import create_network\ncreate_network('se_resnet8')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("got", "wanted", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.2], [1.0, 2.0], 0.1),
        ([0.0, 4.0], [1.0, 4.0], 0.25),
        ([float("nan"), 4.0], [float("inf"), 4.0], 0.0),
        ([float("nan"), 4.0], [1.0, 4.0], float("inf")),
        ([1.0, 4.0], [float("nan"), 4.0], float("inf")),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0], [1.0, 1.0], float("inf")),
    ],
)
def test_errors_are_relative_to_the_largest_value(
    got: list[float], wanted: list[float], error: float
) -> None:
    assert gpu_checks.error_of(torch.tensor(got), torch.tensor(wanted)) == pytest.approx(error, abs=1e-6)


def test_a_check_needs_the_kernels_it_is_about() -> None:
    case = gpu_checks.SMOKE_CASES[0]
    right = gpu_checks.check_tail(case, "bn relu", torch.float32, "channels_last", CPU, train=True)
    assert right.passed
    # There are none for half precision on a CPU.
    other = gpu_checks.check_tail(case, "bn relu", torch.bfloat16, "channels_last", CPU, train=True)
    assert not other.passed and other.problem.startswith("ran by reference: no kernels for bfloat16")
    assert other.error <= other.bound


def test_cases_are_what_they_are_called() -> None:
    cases = {
        case.name: gpu_checks.maps_of(case, torch.float32, "channels_last", CPU) for case in gpu_checks.CASES
    }
    assert cases["1 channel"].shape[1] == 1 and cases["1 image"].shape[0] == 1
    assert cases["1 pixel"].shape[2:] == (1, 1) and cases["2048 channels"].shape[1] == 2048
    far = cases["mean 10000 times the deviation"]
    assert far.mean() / far.std() == pytest.approx(1e4, rel=0.1)
    constant, other = cases["constant channels"][:, 0], cases["constant channels"][:, 1]
    assert constant.min() == constant.max() and other.min() < other.max()
    assert cases["one huge value"].abs().max() == 3e4
    gaps = cases["gaps in memory"]
    assert not gaps.is_contiguous() and not gaps.is_contiguous(memory_format=torch.channels_last)
    broken = cases["NaN and infinity"]
    assert broken.isnan().any() and (broken == float("inf")).any() and (broken == -float("inf")).any()
