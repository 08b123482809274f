"""Settings that cannot work are said in one line, whatever the family."""

import inspect

import pytest

import s2s_lightning.families as families
from s2s_lightning.errors import UserError
from s2s_lightning.training.module import Seq2SeqModule

FAMILIES = [family for name in families.__all__ if issubclass(family := getattr(families, name), Seq2SeqModule)]
WITHOUT_EFFECT = {"window_radius", "max_positions"}
"""Read by other kinds of windows, scores and positions than the default ones alone."""


def settings(family: type[Seq2SeqModule], kind: type) -> list[str]:
    """The names of a family's settings whose defaults are of a type."""
    bases = [base for base in family.__mro__ if issubclass(base, Seq2SeqModule) and "__init__" in vars(base)]
    parameters = [p for base in bases for p in inspect.signature(base.__init__).parameters.values()]
    return sorted({p.name for p in parameters if type(p.default) is kind})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(family: type[Seq2SeqModule], size: int) -> None:
    if family is families.Hybrid:
        pytest.skip("its parts check their own")
    for name in set(settings(family, int)) - WITHOUT_EFFECT:
        with pytest.raises(UserError, match=r"it must be 1 or more|kernel of|no multiple"):
            family(9, **{name: size})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_dropout_that_is_no_probability_is_refused(family: type[Seq2SeqModule], rate: float) -> None:
    for name in settings(family, float):
        if name.endswith(("dropout", "drop")):
            with pytest.raises(UserError, match=str(rate)):
                family(9, **{name: rate})
