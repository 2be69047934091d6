from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import senet
from senet.cli.main import main
from senet.cli.models import _matching, _number
from senet.networks.zoo import list_models, plain_name, twin_name

Lines = list[str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Lines]:
    def run(*words: str) -> Lines:
        assert main(["models", *words]) == 0
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return run


def in_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))


def cells(lines: Lines, name: str) -> list[str]:
    (line,) = (line for line in lines if line.split()[:1] == [name])
    return line.split()[1:]


@pytest.mark.slow
def test_sizes_are_exact_where_nobody_looks(printed: Callable[..., Lines]) -> None:
    assert [spec.name for spec in _matching("*")] == [n for n in list_models() if n == plain_name(n)]
    for name in ("resnet50", "shufflenet_g3", "inception_v3", "resnext154_64x4d"):
        lines = printed(name)
        assert "…" not in "".join(lines)
        plain, se = senet.cost(name), senet.cost(twin_name(name))
        counts = (plain.parameters, se.parameters, plain.multiply_adds, se.multiply_adds)
        assert cells(lines, name)[1:] == [f"{count:,}" for count in counts]
        assert name != "resnet50" or cells(lines, name)[1:3] == ["25,557,032", "28,088,024"]
        assert cells(lines, name)[0] == ("299" if name == "inception_v3" else "224")
    note = " ".join(" ".join(lines[-3:]).split())
    assert note.endswith("The twin of NAME is se_NAME, that of resnext154_64x4d is senet154.")
    assert "Multiply-adds of convolutions and fully connected layers, for one image of the size" in note


@pytest.mark.parametrize("pattern", ["senet154", "resnext154*"])
def test_the_cost_of_a_network_and_its_twin(printed: Callable[..., Lines], pattern: str) -> None:
    lines = printed("--cost", pattern)
    assert " ".join(lines[0].split()) == (
        "network parameters convolution fully connected pooling scaling addition activations MB"
    )
    for name in ("resnext154_64x4d", "senet154"):
        cost = senet.cost(name)
        work = (cost.convolution, cost.fully_connected, cost.pooling, cost.scaling, cost.addition)
        numbers = [f"{count:,}" for count in (cost.parameters, *work, cost.activations)]
        assert cells(lines, name) == [*numbers, f"{cost.bytes / 1e6:,.1f}"]
    note = " ".join(" ".join(lines[3:]).split())
    assert note.startswith(
        "For one image of the size it was designed for. Convolution and fully connected: one"
    )
    for word in (
        "Pooling: values read",
        "Scaling:",
        "Addition:",
        "Activations:",
        "not counted",
        "MB: a million",
    ):
        assert word in note


def test_it_fits_80_columns_with_rounded_numbers(
    printed: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_terminal(monkeypatch, 80)
    # The longest names.
    assert max(map(len, list_models())) == len("se_inception_resnet_v2_article")
    for words in ([], ["--cost"]):
        lines = printed("inception_resnet_v2_article", *words)
        assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
        if words:
            # 37,083,598; 9,255,809,632; 6,768,000; 13,353,216; 12,734,720; 6,367,360; 17,164,190.
            expected = ["37.1M", "9.26G", "6.77M", "13.4M", "12.7M", "6.37M", "17.2M", "148.5"]
            assert cells(lines, "se_inception_resnet_v2_article") == expected
        else:
            # 32,433,928; 37,083,598; 9,257,953,632; 9,262,577,632.
            expected = ["299", "32.43M", "37.08M", "9.258G", "9.263G"]
            assert cells(lines, "inception_resnet_v2_article") == expected


def test_a_wide_terminal_gets_exact_numbers(
    printed: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_terminal(monkeypatch, 160)
    lines = printed("--cost", "*shake*")
    assert cells(lines, "shakeshake26_2x96d")[1] == "3,776,888,832"
    assert max(map(len, lines)) <= 160


def test_a_terminal_too_narrow_for_any_table_cuts_nothing(
    printed: Callable[..., Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_terminal(monkeypatch, 30)
    lines = printed("--cost", "se_resnet50")
    assert cells(lines, "se_resnet50")[0] == "28.1M" and "…" not in "".join(lines)
    assert max(map(len, lines[3:])) <= 30


def test_another_input_size(printed: Callable[..., Lines]) -> None:
    # timm's legacy_senet154 at 320 pixels.
    lines = printed("senet154", "--input-size", "320")
    assert cells(lines, "resnext154_64x4d")[0] == "320"
    assert cells(lines, "resnext154_64x4d")[-1] == "42,212,171,776"
    lines = printed("--cost", "senet154", "--input-size", "320")
    assert cells(lines, "senet154")[3] == f"{senet.cost('senet154', 320).pooling:,}"
    assert lines[3].startswith("For one image of 320×320 pixels.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--input-size", "31", "vgg11_bn"],
            "31×31 pixels is reduced to nothing at .*smallest possible are 32×32",
        ),
        (
            ["--cost", "inception_v3", "--input-size", "74"],
            "74×74 .* inception_v3; .* 75×75: use larger images",
        ),
        (["--input-size", "0"], "--input-size must be a whole number of at least 1, not 0"),
        (["--input-size", "-5"], "at least 1, not -5"),
        (["--input-size", "big"], "'big' is not a whole number"),
        (["--cost", "resnet5O"], "No network is called 'resnet5O'; 'senet models' lists all"),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["models", *words]) == 2
    out, err = capsys.readouterr()
    assert re.search(sentence, err) and err.count("\n") == 1 and out == ""


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (0, 3, "0"),
        (640, 3, "640"),
        (999, 3, "999"),
        (1000, 3, "1k"),
        (4096, 3, "4.1k"),
        (999_499, 3, "999k"),
        (999_500, 3, "1M"),
        (25_557_032, 4, "25.56M"),
        (25_557_032, 3, "25.6M"),
        (999_960_000, 4, "1G"),
        (20_679_737_344, 3, "20.7G"),
        (25_557_032, None, "25,557,032"),
    ],
)
def test_rounded_numbers(number: int, digits: int | None, text: str) -> None:
    assert _number(number, digits) == text
