"""For 128 channels, a 3x3 convolution costs as much as attention at k = 19: under which ways of counting?"""

import pytest

from sasa_cli.counting.equal_cost import TERMS, attention_at, convolution_at, equal_extent

CONVOLUTION = 2 * 9 * 128**2
PROJECTIONS = 2 * 3 * 128**2


@pytest.mark.parametrize("k", [1, 3, 7, 19])
def test_costs_by_hand(k: int):
    assert 2 * convolution_at(3).macs == CONVOLUTION
    assert {terms.name: terms.flops(k) for terms in TERMS} == {
        "q.k + a.v": PROJECTIONS + 4 * k**2 * 128,
        "q.k + q.r factored + a.v": PROJECTIONS + 4 * k**2 * 128 + 2 * k * 128,
        "q.(k + r) + a.v": PROJECTIONS + 5 * k**2 * 128,
        "q.k + q.r + a.v": PROJECTIONS + 6 * k**2 * 128,
    }
    assert convolution_at(k).params == k**2 * 128**2
    assert attention_at(k).params == 3 * 128**2 + k * 128 // 8


def test_ratios_at_the_claimed_extent():
    assert [round(terms.flops(19) / CONVOLUTION, 2) for terms in TERMS] == [0.96, 0.98, 1.12, 1.27]


def test_where_attention_costs_as_much():
    equal = {terms.name: equal_extent(terms) for terms in TERMS}
    assert equal["q.k + q.r + a.v"] == pytest.approx(16)
    assert equal["q.k + a.v"] == pytest.approx(384**0.5)
    assert equal["q.(k + r) + a.v"] == pytest.approx(307.2**0.5)
    factored = equal["q.k + q.r factored + a.v"]
    assert PROJECTIONS + 4 * factored**2 * 128 + 2 * factored * 128 == pytest.approx(CONVOLUTION)
