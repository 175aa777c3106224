"""Intervals and paired differences, beside SciPy and by counting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel

from minimaxopt.errors import ArgumentError
from minimaxopt_adversarial import Errors, wilson
from minimaxopt_adversarial.evaluation.error_rates import paired_difference

ROUNDING = 1e-12


@given(count=st.integers(1, 20_000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_is_scipys(count: int, share: float, confidence: float) -> None:
    errors = round(share * count)
    expected = binomtest(errors, count).proportion_ci(confidence, method="wilson")
    assert wilson(errors, count, confidence=confidence) == pytest.approx((expected.low, expected.high), abs=ROUNDING)


def test_wilson_holds_the_rate_and_has_width_where_nothing_or_everything_errs() -> None:
    for errors, count in [(0, 1), (1, 1), (0, 200), (200, 200), (37, 200)]:
        low, high = wilson(errors, count)
        assert 0 <= low <= errors / count <= high <= 1
        assert high - low > 0.5 / count
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0


@pytest.mark.parametrize(
    ("errors", "count", "confidence", "message"),
    [
        (1, 0, 0.95, "count: it is 0"),
        (-1, 5, 0.95, "errors: it is -1 of 5"),
        (6, 5, 0.95, "errors: it is 6 of 5"),
        (0.5, 5, 0.95, "errors: it is 0.5 of 5"),
        (1, 5, 1.0, "confidence: it is 1.0"),
        (1, 5, 95, "confidence: it is 95"),
    ],
)
def test_wilson_refuses_what_is_no_count(errors: int, count: int, confidence: float, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        wilson(errors, count, confidence=confidence)


@given(wrong=st.lists(st.booleans(), min_size=1, max_size=50))
def test_errors_count_and_survive_a_record(wrong: list[bool]) -> None:
    errors = Errors(torch.tensor(wrong))
    assert (errors.errors, errors.count, errors.rate) == (sum(wrong), len(wrong), sum(wrong) / len(wrong))
    assert errors.interval == wilson(sum(wrong), len(wrong))
    assert torch.equal(Errors.from_dict(errors.to_dict()).wrong, errors.wrong)
    assert errors.first(1).wrong.tolist() == wrong[:1]


def test_errors_refuse_what_is_no_mask() -> None:
    for mask in (torch.zeros(0, dtype=torch.bool), torch.zeros(3), torch.zeros(2, 2, dtype=torch.bool)):
        with pytest.raises(ArgumentError, match="wrong: it has shape"):
            Errors(mask)
    with pytest.raises(ArgumentError, match="count: it is 4 of 3 images"):
        Errors(torch.zeros(3, dtype=torch.bool)).first(4)


def test_paired_difference_is_the_paired_tests() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(300, generator=generator) < rate for rate in (0.4, 0.3))
    difference, error = paired_difference(Errors(first), Errors(second))
    # The t-test divides by n - 1 where this divides by n.
    statistic = ttest_rel(first.double().numpy(), second.double().numpy()).statistic
    assert difference / error * math.sqrt(299 / 300) == pytest.approx(statistic)
    assert paired_difference(Errors(first), Errors(first)) == (0, 0)
    with pytest.raises(ArgumentError, match="second: it has 2 images beside 300"):
        paired_difference(Errors(first), Errors(first[:2]))
