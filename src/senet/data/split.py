"""Telling training and test images apart, and the rules every class mapping keeps."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np

from senet.data.source import Indices
from senet.errors import SenetError
from senet.randomness import seed_from
from senet.text import counted, quoted

TRAIN_NAMES = ("train", "training")
# A test part is often published without labels, so a validation part is preferred.
TEST_NAMES = ("val", "valid", "validation", "test", "testing")

MOST_NAMED = 5

PartName = Literal["train", "val", "test"]
PART_WORDS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training", "trainings", "trn", "trainval"), "train"),
    **dict.fromkeys(("entrenamiento", "entrainement", "entraînement", "apprentissage"), "train"),
    **dict.fromkeys(("addestramento", "treino", "treinamento", "eğitim", "egitim", "trening"), "train"),
    **dict.fromkeys(
        ("обучение", "обучающая", "тренировочная", "训练", "訓練", "学習", "훈련", "학습"), "train"
    ),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"
    ),
    **dict.fromkeys(("validierung", "validierungs", "validacion", "validación", "validazione"), "val"),
    **dict.fromkeys(("validação", "validacao", "doğrulama", "dogrulama", "walidacja", "валидация"), "val"),
    **dict.fromkeys(("验证", "驗證", "検証", "검증"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout", "prueba", "pruebas", "teste"), "test"),
    **dict.fromkeys(("тест", "тестовая", "测试", "測試", "テスト", "시험", "테스트"), "test"),
}
# Written without a separator as well: trainset, valdata, imagestest.
GLUED = (
    "sets?|data|dataset|images?|imgs?|pictures|photos|pics|folder|dir|split|part|files|daten|bilder|"
    "集|数据集?|數據集?|データ|图片|画像|데이터"
)
PART_WORD = re.compile(rf"(?:{GLUED})?({'|'.join(PART_WORDS)})(?:{GLUED})?")
NEUTRAL = re.compile(rf"{GLUED}|final|v|of|the|all|full|x|y")
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def part_of(name: str) -> PartName | None:
    """Return the part of the images that a file's or folder's own name tells, or ``None``.

    One word of the name must be a part's, in any case: ``train``, ``seg_train``, ``TrainingData``,
    ``val-images``, ``my_testset_v2``, ``split=test``. A name with the words of two parts
    (``train_test_split``) tells none. So may a class be called, such as ``train`` beside ``bus``: whoever
    asks looks at what lies beside it.

    Args:
        name: without folders above it; everything in it counts, so leave out a suffix such as ``.tar``.
    """
    found = {PART_WORDS[match[1]] for word in _words(name) if (match := PART_WORD.fullmatch(word))}
    return found.pop() if len(found) == 1 else None


def stem_of(name: str) -> str:
    """Return what is left of a name without the words `part_of` reads: ``"cats"`` of ``cats_train``."""
    return " ".join(
        word for word in _words(name) if not (PART_WORD.fullmatch(word) or NEUTRAL.fullmatch(word))
    )


def _words(name: str) -> list[str]:
    # Some file systems write î in two characters, of which the second is no letter.
    return re.findall(r"[^\W\d_]+", CAMEL_CASE.sub(" ", unicodedata.normalize("NFC", name)).lower())


def stratified_split(
    labels: Indices, classes: Sequence[str], *, test_fraction: float, seed: int
) -> tuple[Indices, Indices, str]:
    """Split the images of each class at random, by the same fraction in every class.

    The choice depends only on the seed, the class's name and the number of its images, so another
    class coming or going changes nothing in the rest.

    Returns:
        Indices of the training images and of the test images, both ascending, and a sentence.

    Raises:
        SenetError: the fraction is not between 0 and 1, or a class has fewer than two images.
    """
    if not 0 < test_fraction < 1:
        raise SenetError(f"test_fraction must be a number between 0 and 1, not {test_fraction}.")
    tests = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise SenetError(
                f"Class {quoted(name)} has only {counted(len(members), 'image')}, but needs two, one for "
                "training and one for testing: add images or remove the class."
            )
        count = min(max(round(len(members) * test_fraction), 1), len(members) - 1)
        generator = np.random.Generator(np.random.PCG64(seed_from("split", seed, name)))
        tests.append(generator.permutation(members)[:count])
    test = np.sort(np.concatenate(tests)).astype(np.int64)
    train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), test)
    sentence = (
        f"No validation or test split was found, so {100 * test_fraction:.4g} % of each class was held "
        f"out at random (seed {seed}): {len(train):,} training and "
        f"{counted(len(test), 'test image')}."
    )
    return train, test, sentence


def require_two_classes(classes: Sequence[str], where: str, hint: str = "") -> None:
    """Raise `SenetError` when there is nothing to tell apart."""
    if len(classes) < 2:
        found = f"only the class {quoted(classes[0])}" if classes else "no class"
        raise SenetError(f"There is {found} in {where}, but at least two are needed.{hint}")


def require_every_class(labels: Indices, classes: Sequence[str], where: str) -> None:
    """Raise `SenetError` when a class has no image at all."""
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if missing:
        raise SenetError(f"{where} has no image of {listed(missing)}: add images or remove the class names.")


def without_test_images(labels: Indices, classes: Sequence[str]) -> str:
    """Return a sentence on classes that have no test image, or ``""``."""
    missing = [classes[label] for label in sorted(set(range(len(classes))) - set(labels.tolist()))]
    return f" There are no test images of {listed(missing)}." if missing else ""


def listed(names: Sequence[str]) -> str:
    """Return ``"'a', 'b' and 7 more"``."""
    shown = ", ".join(quoted(name) for name in names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
