from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senet.data.split import listed, part_of, stratified_split, without_test_images
from senet.errors import SenetError

LABELS = np.array([0] * 50 + [1] * 10 + [2] * 31)
CLASSES = ("a", "b", "c")


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
def test_every_class_is_split_by_the_same_fraction(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    classes = [f"class {number}" for number in range(len(counts))]
    train, test, _ = stratified_split(labels, classes, test_fraction=fraction, seed=seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        tested = int((labels[test] == label).sum())
        assert 1 <= tested <= count - 1
        assert abs(tested - count * fraction) <= 1


def test_the_split_is_random_but_repeats() -> None:
    first, again, other = (
        stratified_split(LABELS, CLASSES, test_fraction=0.2, seed=seed)[1].tolist() for seed in (0, 0, 1)
    )
    assert first == again != other
    assert np.bincount(LABELS[first]).tolist() == [10, 2, 6]
    assert first[:10] != list(range(10))


def test_another_class_changes_nothing_in_the_rest() -> None:
    test = stratified_split(LABELS, CLASSES, test_fraction=0.2, seed=0)[1]
    more = np.append(LABELS, [3] * 20)
    with_more = stratified_split(more, (*CLASSES, "d"), test_fraction=0.2, seed=0)[1]
    assert with_more[with_more < len(LABELS)].tolist() == test.tolist()


def test_the_sentence_gives_the_numbers() -> None:
    sentence = stratified_split(LABELS, CLASSES, test_fraction=0.2, seed=7)[2]
    assert "20 % of each class" in sentence and "seed 7" in sentence
    assert "73 training and 18 test images" in sentence


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(SenetError, match=r"test_fraction must be .*number between 0 and 1, not"):
        stratified_split(LABELS, CLASSES, test_fraction=fraction, seed=0)


def test_a_class_too_small_to_split_is_named() -> None:
    with pytest.raises(SenetError, match="Class 'b' has only 1 image, but"):
        stratified_split(np.array([0, 0, 1]), ("a", "b"), test_fraction=0.2, seed=0)


def test_classes_without_test_images_are_named() -> None:
    assert without_test_images(np.array([0, 2]), CLASSES) == " There are no test images of 'b'."
    assert without_test_images(LABELS, CLASSES) == ""


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(number) for number in range(12)]) == "'0', '1', '2', '3', '4' and 7 more"


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (
            "train",
            "train Train TRAINING trn training_set train_set train_images images_train TrainingData "
            "train-data dataset_train seg_train train2017 my_train_data split=train trainset traindata "
            "X_train trainval "
            "train-00000-of-00002 imagenet-train-00 TrainSet trainingSet imgTrain 01_train train.final "
            "Train(1) Trainingsdaten entrenamiento "
            "entrai\u0302nement treino addestramento eğitim обучение 训练集 訓練データ",
        ),
        (
            "val",
            "val Valid validation Dev dev_set val_images ValidationData eval evaluation_images valset "
            "val2017 Validierungsdaten validac\u0327a\u0303o validazione валидация 验证集 検証 development",
        ),
        (
            "test",
            "test Testing test_set TEST my_test_data holdout testset imagesTest split=test cats_test "
            "tst Testbilder teste тест тестовая_выборка 测试集 テストデータ",
        ),
        (
            None,
            "trains contest testament latest retrain training_and_test train_test_split trainer device devil "
            "evaluated invalid valley bus 犬 0 attest protest greatest medieval trainee testimony",
        ),
    ],
)
def test_the_part_a_name_tells(part: str | None, names: str) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)
