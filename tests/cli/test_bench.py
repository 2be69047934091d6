from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from senet.cli.bench_display import BenchDisplay, plot_path
from senet.cli.main import EXIT_BAD_INPUT, main
from senet.errors import SenetError
from senet.insight import bench as measuring
from senet.report.timings_csv import read_csv
from senet.weights import installed
from tests.references import import_timm

TINY = ["bench", "--model", "resnet8", "--batch-size", "2", "--image-size", "8", "--seconds", "0.001"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_shows_bars_and_writes_what_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--csv", "rows.csv"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "building the networks …" and "training step …" in lines
    assert "se_resnet8 and resnet8, images 2 × 3×8×8, fp32, channels_last" in lines
    for title in ("Tail on maps of 64×2×2, forward and backward", "Training step", "Inference, 2 images"):
        assert title in lines
    assert out.count("█") > 20 and re.search(r"\d\.\d\d × plain \(\d\.\d\d–\d+\.\d\d\)", out)
    text = " ".join(out.split())
    assert "The first use of the kernels took" in text
    assert re.search(r"A training step with SE takes \d+\.\d\d times as long as without \(", text)
    assert lines[-2:] == ["Rows: rows.csv", "Chart: runs/bench-se_resnet8.svg"]
    rows = read_csv(Path("rows.csv"))
    assert {row.benchmark for row in rows} == {"first use of the kernels", "tail", "network"}
    chart = Path("runs/bench-se_resnet8.svg").read_text(encoding="utf-8")
    assert "senet se_resnet8, layer by layer" in chart and "first use" not in chart


def test_the_chart_goes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--plot", "bars.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Chart: bars.png"
    assert Path("bars.png").read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in Path().iterdir()] == ["bars.png"]


def test_settings_reach_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stop(settings: Any, **options: Any) -> None:
        seen.append((settings, options))
        raise SenetError("seen")

    monkeypatch.setattr(measuring, "bench", stop)
    for words in (
        ["--precision", "bf16", "--threads", "1", "--seconds", "7", "--image-size", "64"],
        ["--model", "resnet50b", "--batch-size", "3"],
    ):
        assert main(["bench", "--device", "cpu", *words]) == EXIT_BAD_INPUT
    (first, options), (second, _) = seen
    assert (first.model, first.batch_size, first.size) == ("se_resnet50b", 8, 64)
    assert (first.precision, first.threads, first.seconds) == ("bf16", 1, 7)
    assert (second.model, second.batch_size, second.size, second.threads) == ("resnet50b", 3, 224, None)
    assert options["device"].type == "cpu"


def test_networks_of_other_packages_are_measured_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import_timm()
    seen: dict[str, Any] = {}

    def stop(settings: Any, **options: Any) -> None:
        seen.update(options["others"])
        raise SenetError("seen")

    monkeypatch.setattr(measuring, "bench", stop)
    assert main(["bench"]) == EXIT_BAD_INPUT
    assert list(seen) == ["timm resnet50", "timm seresnet50", "torchvision resnet50"]


def test_a_package_that_cannot_be_imported_is_named_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(installed.KNOWN, "timm", {"resnet8": "resnet8"})
    real = installed.importlib.import_module

    def broken(name: str, package: str | None = None) -> ModuleType:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist\nat x")
        return real(name, package)

    monkeypatch.setattr(installed.importlib, "import_module", broken)
    assert main(TINY) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "timm cannot be imported (operator torchvision::nms does not exist)." in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "resnet51"], "'resnet51'.*Did you mean"),
        (["--batch-size", "0"], "The batch size must be a whole number of at least 1, not 0"),
        (["--batch-size", "many"], "'many' is not a whole number"),
        (["--image-size", "0"], "The image size must be .*not 0"),
        (["--image-size", "16", "--model", "vgg11_bn"], "16×16 pixels are too small for vgg11_bn"),
        (
            ["--image-size", "4", "--batch-size", "1", "--model", "resnet8"],
            "leave a single value per channel",
        ),
        (["--device", "tpu"], "device must be auto, cpu.*, not 'tpu'"),
        (["--precision", "fp16"], "'fp16' is not one of fp32, bf16"),
        (["--threads", "0"], "The number of threads must be .*not 0"),
        (["--seconds", "0"], "seconds must be above 0 .*, not 0"),
        (["--seconds", "-5"], "seconds must be above 0 .*, not -5"),
        (
            ["--csv", "nowhere/rows.csv"],
            "nowhere/rows.csv cannot be written: choose a file in an existing folder",
        ),
        (["--csv", "."], ". cannot be written"),
        (["--plot", "bars.pdf"], ".svg or .png, not bars.pdf"),
        (["--plot", "nowhere/bars.svg"], "nowhere/bars.svg cannot be written"),
        (["--seed", "1"], "no option --seed;"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.setattr(measuring, "time_in_turns", lambda *_, **__: pytest.fail("it measured"))
    assert main(["bench", *words]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert re.search(sentence, err) and err.startswith("senet: ") and err.count("\n") == 1, err
    assert "Traceback" not in out + err and not list(Path().iterdir())


def test_the_bar_moves_between_measurements_only() -> None:
    console = Console(force_terminal=True, width=80, record=True)
    display = BenchDisplay(console)
    with console.capture() as capture, display:
        assert not display.bar.live.auto_refresh, "a thread that draws would take time from what is measured"
        display.watch("training step", 0.25)
        display.watch("training step", 0.5)
    text = capture.get()
    assert "training step" in text and "25 %" in text and "50 %" in text


def test_names_of_files_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--plot", "[red].svg"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Chart: [red].svg"


def test_where_the_chart_goes_is_looked_at_first() -> None:
    assert plot_path(None, None, "se_x") == Path("runs/bench-se_x.svg")
    assert plot_path(Path("a.csv"), Path("b.png"), "se_x") == Path("b.png")
    assert not list(Path().iterdir())
    Path("runs").write_text("in the way")
    with pytest.raises(SenetError, match="runs is a file"):
        plot_path(None, None, "se_x")
