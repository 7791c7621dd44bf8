"""What an atom is to a network at first: the vector of its element, and what its properties add."""

import numpy as np
import pytest
import torch

from dglframer.common.element_properties import property_table
from dglframer.common.elements import MAX_Z, atomic_number
from dglframer.config.networks import CrystalFramerConfig, Se3TransformerConfig
from dglframer.networks.build import build
from dglframer.networks.element_embedding import ElementEmbedding

SETTINGS = {
    "crystalframer": CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16),
    "se3_transformer": Se3TransformerConfig(channels=8, layers=1, heads=2),
}


def index(*symbols: str) -> torch.Tensor:
    return torch.tensor([atomic_number(symbol) for symbol in symbols]) - 1


def test_every_element_has_its_own_properties():
    table_ZP = property_table()
    assert table_ZP.shape == (MAX_Z, 34) and np.isfinite(table_ZP).all()
    assert len(np.unique(table_ZP, axis=0)) == MAX_Z
    np.testing.assert_allclose(table_ZP[:, :9].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(table_ZP[:, :9].std(0), 1)
    period_Z, group_Z = table_ZP[:, 9:16].argmax(1) + 1, table_ZP[:, 16:].argmax(1) + 1
    assert (table_ZP[:, 9:16].sum(1) == 1).all() and (table_ZP[:, 16:].sum(1) == 1).all()
    for symbol, period, group in [("He", 1, 18), ("Na", 3, 1), ("Fe", 4, 8), ("Te", 5, 16)]:
        assert (period_Z[index(symbol)[0]], group_Z[index(symbol)[0]]) == (period, group)


def test_the_vector_is_that_of_the_element_and_of_its_properties():
    embedding = ElementEmbedding(8, True).double()
    found_2W = embedding(index("Na", "Te"))
    table_ZP = torch.tensor(property_table(), dtype=torch.float32).double()
    rows = index("Na", "Te")
    expected_2W = embedding.weight[rows] + table_ZP[rows] @ embedding.property_weight_PW
    torch.testing.assert_close(found_2W, expected_2W)


def test_training_on_one_element_moves_another_of_its_group():
    """Without properties potassium stays where it was drawn when only sodium is seen."""
    for with_properties in (False, True):
        embedding = ElementEmbedding(8, with_properties)
        before_2W = embedding(index("K", "Cl")).detach()
        embedding(index("Na")).sum().backward()
        with torch.no_grad():
            for parameter in embedding.parameters():
                parameter -= parameter.grad
        moved_2 = (embedding(index("K", "Cl")) - before_2W).detach().mean(1)
        if with_properties:
            assert moved_2[0] < -1  # towards sodium's target; chlorine less
            assert moved_2[0] < moved_2[1]
        else:
            assert (moved_2 == 0).all()


@pytest.mark.parametrize("encoder", SETTINGS)
def test_without_properties_nothing_is_added(encoder):
    settings = SETTINGS[encoder].model_copy(update={"element_properties": False})
    names = build(settings, 1).state_dict().keys()
    added = build(SETTINGS[encoder], 1).state_dict().keys() - names
    assert added == {"embedding.properties_ZP", "embedding.property_weight_PW"}


def test_a_seed_draws_the_same_other_parameters_with_and_without():
    settings = SETTINGS["crystalframer"]
    plain = build(settings.model_copy(update={"element_properties": False}), 1).draw(3)
    other = build(settings, 1).draw(3)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert other.embedding.property_weight_PW.std() > 0
