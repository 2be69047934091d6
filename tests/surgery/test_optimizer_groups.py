"""New parameters in the optimizer that trains a model already."""

from __future__ import annotations

import copy

import torch
from torch import nn

import senet
from tests.surgery.networks import resnet


def groups_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(each)] for each in group["params"]} for group in optimizer.param_groups]


def new_names(model: nn.Module, ending: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if ".se." in name and name.endswith(ending)}


def test_matrices_decay_and_vectors_do_not() -> None:
    model = resnet()
    vectors = [each for each in model.parameters() if each.dim() <= 1]
    matrices = [each for each in model.parameters() if each.dim() > 1]
    optimizer = torch.optim.AdamW(
        [{"params": vectors, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.05}]
    )
    report = senet.squeeze_excite(model, optimizer=optimizer)
    no_decay, decay = groups_of(optimizer, model)
    assert new_names(model, "bias") < no_decay and not new_names(model, "bias") & decay
    assert new_names(model, "weight") < decay and not new_names(model, "weight") & no_decay
    assert report.optimizer == "Added to the optimizer: 12 tensors, 6 to group 0, 6 to group 1."
    assert report.optimizer in str(report)
    assert len(decay | no_decay) == len(list(model.parameters()))


def test_each_unit_joins_its_own_learning_rate() -> None:
    model = resnet()
    optimizer = torch.optim.SGD(
        [{"params": list(model[index].parameters()), "lr": 0.1 / (index + 1)} for index in (0, 1, 2, 3, 6)]
    )
    senet.squeeze_excite(model, optimizer=optimizer)
    for index, group in zip((1, 2, 3), groups_of(optimizer, model)[1:4], strict=True):
        assert {name for name in group if ".se." in name} == {
            f"{index}.bn2.se.{each}" for each in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
        }


def test_units_whose_own_parameters_are_frozen_join_those_that_train() -> None:
    model = resnet()
    optimizer = torch.optim.SGD(model[6].parameters(), 0.1)
    senet.squeeze_excite(model, optimizer=optimizer, where="1")
    assert new_names(model, "") < groups_of(optimizer, model)[0]


def test_training_goes_on_and_removal_forgets() -> None:
    torch.manual_seed(0)
    model = resnet()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x, labels = torch.randn(8, 3, 12, 12), torch.arange(8) % 5
    step(model, optimizer, x, labels)
    senet.squeeze_excite(model, optimizer=optimizer)
    before = copy.deepcopy({name: each for name, each in model.named_parameters() if ".se." in name})
    step(model, optimizer, x, labels)
    step(model, optimizer, x, labels)
    moved = dict(model.named_parameters())
    assert all(not torch.equal(value, moved[name]) for name, value in before.items())
    senet.remove(model, optimizer=optimizer)
    assert groups_of(optimizer, model) == [{name for name, _ in model.named_parameters()}]
    assert set(optimizer.state) == set(model.parameters())


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, labels: torch.Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model.train()(x), labels).backward()
    optimizer.step()


def test_a_refusal_leaves_the_optimizer_alone() -> None:
    model = resnet()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = groups_of(optimizer, model)
    report = senet.squeeze_excite(model, optimizer=optimizer, dry_run=True)
    assert groups_of(optimizer, model) == before and report.optimizer == ""
