"""The laws of a network, as checks of anybody's class: for pytest, for the command ``check``, and for this package.

@pytest.mark.parametrize("law", LAWS, ids=str)
def test_my_network_keeps(law):
law.check(MyNetwork(17, 13).double())
"""

from s2s_lightning.testing.batches import SRC_VOCAB, TGT_VOCAB, batch_of, random_pairs
from s2s_lightning.testing.law import BrokenLaw, Law, NotApplicable, Result
from s2s_lightning.testing.laws import LAWS, check_network

__all__ = [
    "LAWS",
    "SRC_VOCAB",
    "TGT_VOCAB",
    "BrokenLaw",
    "Law",
    "NotApplicable",
    "Result",
    "batch_of",
    "check_network",
    "random_pairs",
]
