"""Points that come back after long gaps."""

from __future__ import annotations

import numpy as np
import pytest

from trackime.arrays import BoolArray, FloatArray
from trackime.errors import ShapeError
from trackime.metrics import found_again
from trackime.metrics.reappearance import _FOUND_PX, _LONG

FRAMES = np.arange(24)
AT = np.array([12])


def again(seen: BoolArray, told: BoolArray, error: FloatArray, known: BoolArray | None = None) -> list[bool]:
    return found_again(AT, seen[None], told[None], error[None], None if known is None else known[None])


@pytest.fixture
def seen() -> BoolArray:
    """Eight hidden frames before the query's, nine after it."""
    seen = np.ones(24, bool)
    seen[2:10] = seen[14:23] = False
    return seen


def test_both_directions(seen: BoolArray) -> None:
    right, told = np.zeros(24), np.ones(24, bool)
    assert again(seen, told, right) == [True, True]
    assert again(seen, told & (FRAMES < 23), right) == [False, True]
    assert again(seen, told, np.where(FRAMES < 2, _FOUND_PX, 0.0)) == [True, False]
    seen[5] = True  # the gap is too short now
    assert again(seen, told, right) == [True]


def test_late_is_not_found() -> None:
    seen = FRAMES < 3
    seen[3 + _LONG :] = True
    told = ~((FRAMES >= 3 + _LONG) & (FRAMES < 6 + _LONG))  # three frames too late
    assert found_again(np.array([0]), seen[None], told[None], np.zeros((1, 24))) == [False]
    told[5 + _LONG] = True
    assert found_again(np.array([0]), seen[None], told[None], np.zeros((1, 24))) == [True]


def test_what_is_not_known_does_not_count(seen: BoolArray) -> None:
    right, told = np.zeros(24), np.ones(24, bool)
    assert again(seen, told, right, FRAMES != 4) == [True]  # the gap before may have had an end
    assert again(seen, told, right, FRAMES != 23) == [True]  # nor is it known that the point came back at the end
    assert again(seen, told, right, FRAMES != 12) == [True, True]


def test_arrays_that_do_not_agree(seen: BoolArray) -> None:
    with pytest.raises(ShapeError, match="error"):
        again(seen, seen, np.zeros(23))
    with pytest.raises(ShapeError, match="query_t"):
        found_again(np.zeros(2, int), seen[None], seen[None], np.zeros((1, 24)))
