"""Markets in which something was published once that must not be."""

import pytest
from hostile_markets import Life


@pytest.mark.parametrize("number", [1, 14, 22, 30])
def test_a_certificate_reaches_as_far_as_promised_of_what_a_projection_made(number):
    life = Life(number, batches=25)
    life.live()
    assert life.smiles > 5 and not life.wrong
