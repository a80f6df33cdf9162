"""Behaviour mixed into the class of one module."""

import copy
import pickle

import torch
from torch import nn

from smoothiou.detectors.mixin import Mixin, mix_in, unmix


class Doubled(Mixin):
    def forward(self, x):
        return 2 * super().forward(x)


def _layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_the_methods_of_the_mixin_come_first_and_the_parameters_stay():
    plain, layer, x = _layer(), _layer(), torch.randn(4, 3)
    mix_in(layer, Doubled)
    mix_in(layer, Doubled)
    assert torch.equal(layer(x), 2 * plain(x)), "mixed in twice is mixed in once"
    assert isinstance(layer, nn.Linear)
    assert layer.state_dict().keys() == plain.state_dict().keys()
    unmix(layer)
    assert type(layer) is nn.Linear
    assert torch.equal(layer(x), plain(x))


def test_a_mixed_module_can_be_copied_and_pickled():
    layer, x = _layer(), torch.randn(4, 3)
    mix_in(layer, Doubled)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other) is type(layer)
        assert torch.equal(other(x), layer(x))
