from __future__ import annotations

import re

import pytest

from senet.cli.main import EXIT_BAD_INPUT, main


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("senet: ") and err.count("\n") == 1 and not out
    return err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--wd", "--weight-decay"),
        ("--batch_size", "--batch-size"),
        ("--batchsize", "--batch-size"),
        ("--Batch-Size", "--batch-size"),
        ("--epoch", "--epochs"),
        ("--modle", "--model"),
        ("--learning", "--learning-rate"),
        ("--gpu", "--device"),
        ("--output", "--out"),
    ],
)
@pytest.mark.parametrize("command", ["train", "compare"])
def test_an_unknown_option_names_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], command: str, given: str, meant: str
) -> None:
    for words in ([given, "1"], [f"{given}=1"], ["photos", "--stream", given]):
        err = refused(capsys, command, *words)
        assert f"There is no option {given};" in err
        assert err.endswith(f"Did you mean {meant}?\n")


def test_an_option_like_no_other_suggests_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mean" not in refused(capsys, "train", "--xyzzy")
    assert "mean" not in refused(capsys, "--lr", "1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["comapre"], "no command 'comapre'.* Did you mean 'compare'?"),
        (["help", "evalute"], "no command 'evalute'.* Did you mean 'evaluate'?"),
        (["train", "--model", "a", "--model=b"], "--model is given twice"),
        (["train", "--flip", "--no-flip"], "--no-flip is given twice"),
        (["train", ""], r"Argument 2 \(after train\) is empty"),
        (["train", "--out", " "], r"Argument 3 \(after --out\) is empty"),
        (["train", "--out="], "Argument 2 .*is empty"),
        (["train", "a\0b"], "NUL character"),
        (["train", "--model"], "--model: expected one argument"),
        (["compare", "a", "b"], "Unexpected argument 'b'; 'senet compare --help'"),
        *((["train", "--epochs", text], f"--epochs: {re.escape(repr(text))} is not a whole number")
          for text in ("1e3", "1_000", "３", "0x10", "inf", "nan", "1.0", "9" * 30)),
        *((["train", "--learning-rate", text], f"--learning-rate: {re.escape(repr(text))} is not a number")
          for text in ("1_0", "０.1", "inf", "nan", "1e999", "0x1p3", "1,5")),
        (["compare", "--gate", "softmax"], "--gate: 'softmax' is not one of sigmoid, tanh"),
    ],
)  # fmt: skip
def test_bad_words_are_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert re.search(sentence, refused(capsys, *words))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "usage: senet [-h]"),
        (["help"], "usage: senet [-h]"),
        (["help", "compare"], "usage: senet compare"),
        (["--version"], "senet "),
    ],
)
def test_help_and_version_are_printed_and_no_complaint(
    capsys: pytest.CaptureFixture[str], words: list[str], shown: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    out, err = capsys.readouterr()
    assert end.value.code == 0 and out.startswith(shown) and not err
