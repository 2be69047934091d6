from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from senet.cli.commands import COMMANDS
from senet.cli.main import EXIT_BAD_INPUT, EXIT_INTERRUPTED, main
from senet.training import resume
from tests.small import small_source

pytestmark = pytest.mark.slow

SENET = [sys.executable, "-m", "senet.cli.main"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Nobody listens there: a test never asks the real Hub.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", {"cat": 20, "dog": 20})


def make_photos(root: Path, counts: dict[str, int]) -> Path:
    source = small_source(max(counts.values()), side=10)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            source.read(index).save(root / name / f"{index}.jpg")
    return root


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused: one sentence, exit code 2, nothing written."""
    before = sorted(Path().rglob("*"))
    assert main([str(word) for word in words]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("senet: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert sorted(Path().rglob("*")) == before
    return err


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([each.NAME, "--help"] for each in COMMANDS)])
def test_help_imports_neither_torch_nor_numpy(words: list[str]) -> None:
    script = (
        "import sys\nfrom senet.cli.main import main\n"
        f"try: main({words})\nexcept SystemExit as stop: assert not stop.code\n"
        "slow = {'torch', 'numpy', 'scipy', 'rich', 'PIL', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "senet" in done.stdout


def test_help_tells_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for expected in (
        "--epochs N",
        "(default: chosen from",
        "--reduction N",
        "(default: 16)",
        "--placement",
        "--no-flip",
    ):
        assert expected in text
    assert "90 % of the epochs" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compose"], "no command 'compose'.*'compare'"),
        (["compare", "nowhere"], "'nowhere' is not a file or folder on this machine"),
        (
            ["compare", "photos", "--epochs", "-1"],
            "epochs must be a whole number from 1 to 1,000,000, not -1",
        ),
        (["compare", "photos", "--epochs", "many"], "'many' is not a whole number"),
        (
            ["compare", "photos", "--epoch-s", "1"],
            "no option --epoch-s; 'senet compare --help' .*Did you mean --epochs",
        ),
        (["compare", "photos", "--model", "resnet51"], "'resnet51'.*Did you mean '?resnet"),
        (["compare", "photos", "--reduction", "0"], "reduction must be .*at least 1, not 0"),
        (["compare", "photos", "--reduction", "64"], "at most the number of channels, 16, not 64"),
        (["compare", "photos", "--gate", "softmax"], "'softmax' is not one of sigmoid, tanh"),
        (["compare", "photos", "--stages", "9"], "must be among 2, 3, 4, not 9"),
        (["compare", "photos", "--model", "vgg11_bn", "--placement", "pre"], "placement"),
        (["compare", "photos", "--seeds", "0"], "seeds must be .*, not 0"),
        (["compare", "photos", "--device", "tpu"], "device must be auto, cpu.*, not 'tpu'"),
        (["compare", "photos", "--device", "cuda:99"], "cuda:99"),
        (["compare", "photos", "--workers", "-3"], "workers must be .*, not -3"),
        (["compare", "photos", "--test-fraction", "0"], "test_fraction must be .*, not 0.0"),
        (["compare", "photos", "--step-epochs", "2"], "no effect with the cosine schedule"),
        (["compare", "photos", "--out", "photos"], "not a senet run"),
        (["train", "photos"], "--model"),
        (["train", "photos", "--model", "resnet8", "--reduction", "4"], "no effect on the plain network"),
        (["train", "photos", "--model", "se_resnet7"], "se_resnet7"),
        (["models", "alexnet"], "No network is called 'alexnet'"),
    ],
)
def test_bad_input_is_one_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert re.search(sentence, complaint(capsys, *words))


def test_a_test_fraction_without_effect(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no effect" in complaint(capsys, "compare", "--test-fraction", "0.3")
    photos.rename("train")
    make_photos(Path("divided/val"), {"cat": 5, "dog": 5})
    Path("train").rename("divided/train")
    assert "no effect on divided" in complaint(
        capsys, "train", "divided", "--model", "resnet8", "--test-fraction", "0.3"
    )


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in complaint(capsys, "compare", "empty")


def test_one_class_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_photos(tmp_path / "one", {"cat": 20})
    assert "class" in complaint(capsys, "compare", "one")


def test_a_class_without_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "owl").mkdir()
    assert "owl" in complaint(capsys, "compare", "photos")


def test_many_broken_images_stop_before_training(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 5, 7, 9, 11):
        path = photos / "cat" / f"{number}.jpg"
        path.write_bytes(path.read_bytes()[:200])
    assert "5 of 40 images cannot be read" in complaint(capsys, "compare", "photos")


def test_a_bomb_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((12000, 12000), np.uint8)).save(photos / "cat" / "bomb.png")
    assert "bomb.png" in complaint(capsys, "compare", "photos", "--max-unreadable", "0")


def test_one_broken_image_among_many_is_skipped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_photos(tmp_path / "many", {"cat": 60, "dog": 60})
    path = root / "cat" / "7.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert main(["train", "many", "--model", "resnet8", "--epochs", "1", "--out", "x", "--workers", "0"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Skipped as unreadable: 1 file" in out and "7.jpg" in out


def test_nan_is_one_sentence_and_keeps_the_run(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "photos",
        "--model",
        "resnet8",
        "--epochs",
        "3",
        "--learning-rate",
        "1e6",
        "--warmup-epochs",
        "1",
    ]
    assert (
        main([*words, "--workers", "0", "--batch-size", "8", "--weight-decay", "1000", "--out", "x"])
        == EXIT_BAD_INPUT
    )
    err = capsys.readouterr().err
    assert re.search(r"became (nan|inf|-inf) at step \d+ \(epoch \d\) in x", err) and err.count("\n") == 1


def test_a_full_disk_is_one_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from senet.errors import SenetError

    def full(path: Path, state: object) -> None:
        raise SenetError(f"The disk is full: {path} could not be written.")

    monkeypatch.setattr(resume, "save_checkpoint", full)
    assert (
        main(["train", "photos", "--model", "resnet8", "--epochs", "1", "--workers", "0", "--out", "x"]) == 2
    )
    assert "The disk is full" in capsys.readouterr().err


@pytest.fixture
def running(layer_by_layer: None, photos: Path) -> Iterator[subprocess.Popen[str]]:
    """A comparison that has trained its first epoch."""
    process = subprocess.Popen(
        [*SENET, "compare", "photos", "--epochs", "400", "--batch-size", "8", "--out", "x", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not Path("x/seed0-plain/metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_saves_and_ends_with_the_command_to_go_on(running: subprocess.Popen[str]) -> None:
    # A terminal sends Ctrl-C to every process of the group, the workers included.
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in err
    assert err.strip().endswith(
        "To resume: senet compare photos --epochs 400 --batch-size 8 --out x --workers 2"
    )
    assert "everything up to that point is saved" in err
    assert Path("x/seed0-plain/checkpoint.pt").exists()


def test_ctrl_c_during_an_import_is_no_traceback() -> None:
    # A module that is interrupted while it is imported may turn Ctrl-C into an ImportError.
    script = """
import os, signal, sys
from senet.cli import main as command, models
def run(arguments):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt as stop:
        raise ImportError("initialization failed") from stop
models.run = run
sys.exit(command.main(["models"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (EXIT_INTERRUPTED, 1), done.stderr
    assert "To resume: senet models" in done.stderr
