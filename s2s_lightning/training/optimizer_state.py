"""State of an optimizer, which goes to the parameters of the same names when a run resumes.

Weight decay, a frozen part or another option may group the parameters otherwise than before, or leave some out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from s2s_lightning.errors import UserError

State = dict[str, Any]
"""A state dictionary of torch's: ``state`` by the numbers of the parameters, and ``param_groups``."""

NAMES = "names"
"""Key of such a dictionary -> the names of its parameters, in groups."""

RATES = ("params", "lr", "initial_lr", "weight_decay")
"""Settings of a group that need nothing else in the state."""


def keep_names(optimizer: Optimizer, module: nn.Module, make: Callable[[Iterable[Any]], Optimizer]) -> None:
    """Have the state of the optimizer hold the names of its parameters, and be loaded by them.

    Args:
        optimizer: of parameters of the module.
        module: which names them.
        make: builds such an optimizer with the settings that are asked for.
    """
    names = {parameter: name for name, parameter in module.named_parameters()}

    def with_names(optimizer: Optimizer, state: State) -> State:
        return {**state, NAMES: names_of_groups(optimizer, names)}

    def by_name(optimizer: Optimizer, state: State) -> State:
        return fitted(state, optimizer, names, make)

    optimizer.register_state_dict_post_hook(with_names)
    optimizer.register_load_state_dict_pre_hook(by_name)


def names_of_groups(optimizer: Optimizer, names: Mapping[Any, str]) -> list[list[str]]:
    """The names of the optimizer's parameters, group by group."""
    return [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]


def fitted(
    state: State, optimizer: Optimizer, names: Mapping[Any, str], make: Callable[[Iterable[Any]], Optimizer]
) -> State:
    """Return the state for the parameters and the groups that the optimizer has now.

    A group keeps the settings that its parameters had, but for its weight decay. A parameter that the state does not
    know begins anew, and so does what an option needs and the state lacks (AMSGrad's maximum, say).

    Raises:
        UserError: the state has no names, and other parameters than the optimizer.
    """
    own = names_of_groups(optimizer, names)
    stored = state.get(NAMES) or _guessed(state, own, optimizer)
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    gathered = {name: state["state"].get(number) for number, name in zip(numbers, _flat(stored), strict=True)}
    groups = [dict(group) for group in state["param_groups"]]
    if stored != own:
        _say_difference(list(_flat(stored)), list(_flat(own)))
        groups = [
            _settings(group, each, groups, stored) for group, each in zip(optimizer.param_groups, own, strict=True)
        ]
    if any(_differ(now, then) for now, then in zip(optimizer.param_groups, groups, strict=True)):
        parameters = {name: parameter for parameter, name in names.items()}
        _complete(gathered, {name: parameters[name] for name in _flat(own)}, make)
    place = {name: number for number, name in enumerate(_flat(own))}
    return {
        "state": {place[name]: values for name, values in gathered.items() if name in place and values is not None},
        "param_groups": [
            {**group, "params": [place[name] for name in each]} for group, each in zip(groups, own, strict=True)
        ],
    }


def _guessed(state: State, own: list[list[str]], optimizer: Optimizer) -> list[list[str]]:
    """The names of a state that was saved without them: matrices before vectors where there are two groups."""
    parameters = {name: p for names, g in zip(own, optimizer.param_groups, strict=True)
                  for name, p in zip(names, g["params"], strict=True)}  # fmt: skip
    sizes = [len(group["params"]) for group in state["param_groups"]]
    if sizes == [len(group) for group in own]:
        return own
    matrices = [name for name, parameter in parameters.items() if parameter.ndim >= 2]
    guess = [matrices, [name for name in parameters if name not in set(matrices)]]
    if sizes != [len(group) for group in guess]:
        raise UserError(
            "the checkpoint was written by an earlier version, whose optimizer does not name its parameters, and other "
            "ones are trained now: resume with the callbacks (Freeze) and the weight decay that it was trained with"
        )
    return guess


def _settings(now: State, names: list[str], groups: list[State], stored: list[list[str]]) -> State:
    """Return a group's settings: those of the stored group of its first known parameter, with today's weight decay."""
    known = (old for name in names for old, each in zip(groups, stored, strict=True) if name in each)
    kept = next(known, groups[0])
    return {**kept, **{name: now[name] for name in ("weight_decay",) if name in now}}


def _differ(now: State, then: State) -> bool:
    return any(value != then.get(name) for name, value in now.items() if name not in RATES)


def _complete(gathered: dict[str, Any], parameters: Mapping[str, Tensor], make: Callable[[Any], Optimizer]) -> None:
    """Add, as a first step from zero makes it, what the optimizer of today keeps of a parameter and the state lacks."""
    for name, parameter in parameters.items():
        values = gathered.get(name)
        if not values:
            continue
        probe = nn.Parameter(torch.zeros(parameter.shape, dtype=parameter.dtype))
        probe.grad = torch.zeros_like(probe)
        optimizer = make([probe])
        optimizer.step()
        missing = {key: value for key, value in optimizer.state[probe].items() if key not in values}
        if not missing:
            return
        gathered[name] = {**values, **missing}


def _say_difference(stored: list[str], own: list[str]) -> None:
    for what, found in (
        ("begins anew for", [name for name in own if name not in set(stored)]),
        ("forgets", [name for name in stored if name not in set(own)]),
    ):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            rank_zero_info(f"changed: the optimizer {what} {len(found)} tensors: {', '.join(found[:3])}{more}")


def _flat(groups: Iterable[Iterable[str]]) -> Iterator[str]:
    return (name for group in groups for name in group)
