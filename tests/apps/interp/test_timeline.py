"""Exact times: how many frames, when, and between which."""

from __future__ import annotations

import math
from fractions import Fraction as F
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import InputError
from trackime_apps.interp import parse_rate
from trackime_apps.interp.timeline import Marks, SourceTimes, Target, Timeline, by_factor, by_rate, slowed

NTSC = F(24000, 1001)


def regular(count: int, rate: F = F(24), first: F = F(0)) -> SourceTimes:
    return SourceTimes([float(first + k / rate) for k in range(count)])


@st.composite
def any_times(draw: Any) -> SourceTimes:
    """Regular and not, of one frame and more, in the ticks containers have."""
    unit = draw(st.sampled_from([F(1, 1000), F(1, 90000), F(1, 600), F(1001, 30000)]))
    steps = draw(st.lists(st.integers(1, int(F(3, 10) / unit)), max_size=12))  # up to 0.3 s
    ticks = np.cumsum([draw(st.integers(0, 10_000)), *steps])
    return SourceTimes([float(int(k) * unit) for k in ticks])


rates = st.sampled_from([F(24), NTSC, F(25), F(30000, 1001), F(60), F(60000, 1001), F(17, 3), F(1, 2)])


def check(timeline: Timeline) -> None:
    """What holds for every timeline."""
    times = timeline.times.pts
    assert all(a < b for a, b in pairwise(timeline.pts))
    before = (0, 0, F(0))
    for target in timeline.targets:
        assert 0 <= target.i <= target.j < len(times)
        assert (0 < target.tau < 1) if target.i < target.j else target.tau == 0
        assert (target.i, target.tau) >= (before[0], before[2]) or target.i > before[0]
        before = (target.i, target.j, target.tau)


class TestSourceTimes:
    @pytest.mark.parametrize("rate", [F(24), NTSC, F(30000, 1001), F(60), F(25, 2)])
    def test_exact_again_from_floats(self, rate: F) -> None:
        times = regular(5000, rate)
        assert times.rate == rate and times.pts[-1] == 4999 / rate and times.duration == 5000 / rate

    @pytest.mark.parametrize("rate", [F(24), NTSC, F(30000, 1001), F(30), F(60)])
    @pytest.mark.parametrize("digits", [3, 4])
    def test_rounded_to_milliseconds(self, rate: F, digits: int) -> None:
        times = SourceTimes([round(float(k / rate), digits) for k in range(2000)])
        assert times.rate == rate and times.pts[1234] == 1234 / rate

    def test_a_late_start_is_kept(self) -> None:
        times = SourceTimes([0.021 + round(k / 24, 3) for k in range(100)])
        assert times.rate == 24 and abs(times.pts[0] - F(21, 1000)) <= F(1, 2000)

    def test_variable_rates_stay(self) -> None:
        times = SourceTimes([0, 0.04, 0.1, 0.14, 0.18])
        assert times.rate is None and times.interval == F(4, 100)
        assert times.pts == [F(0), F(1, 25), F(1, 10), F(7, 50), F(9, 50)]
        assert times.end == F(22, 100) and times.at(F(3, 2)) == F(7, 100)

    def test_one_frame(self) -> None:
        assert SourceTimes([2.0]).duration == F(1, 25)

    @pytest.mark.parametrize("pts", [[], [0, 0], [1, 0.5]])
    def test_bad(self, pts: list[float]) -> None:
        with pytest.raises(InputError, match="times"):
            SourceTimes(pts)


class TestFactor:
    @given(any_times(), st.integers(1, 9))
    @settings(max_examples=60, deadline=None)
    def test_counts_and_times(self, times: SourceTimes, factor: int) -> None:
        timeline = by_factor(times, factor)
        check(timeline)
        assert len(timeline) == factor * len(times) and timeline.duration == times.duration
        for k, target in enumerate(timeline.targets):
            i, part = divmod(k, factor)
            after = times.pts[i + 1] if i + 1 < len(times) else times.end
            assert target.pts == times.pts[i] + F(part, factor) * (after - times.pts[i])
            held = i == len(times) - 1
            assert target == Target(target.pts, i, i if held or not part else i + 1, F(0) if held else F(part, factor))
        short = by_factor(times, factor, tail=False)
        assert short.targets == timeline.targets[: 1 + (len(times) - 1) * factor]

    def test_regular(self) -> None:
        assert by_factor(regular(10, NTSC), 3).rate == 3 * NTSC

    def test_bad(self) -> None:
        with pytest.raises(InputError, match="factor"):
            by_factor(regular(2), 0)


class TestRate:
    @given(any_times(), rates)
    @settings(max_examples=60, deadline=None)
    def test_counts_and_times(self, times: SourceTimes, rate: F) -> None:
        timeline = by_rate(times, rate)
        check(timeline)
        assert len(timeline) == math.ceil(times.duration * rate)
        assert 0 <= timeline.duration - times.duration < 1 / rate
        for k, target in enumerate(timeline.targets):
            assert target.pts == times.pts[0] + k / rate
            if not target.is_source:
                a, b = times.pts[target.i], times.pts[target.j]
                assert target.j == target.i + 1 and a + target.tau * (b - a) == target.pts
            else:
                held = target.i == len(times) - 1 and target.pts > times.pts[-1]
                assert held or abs(times.pts[target.i] - target.pts) <= F(1, 1_000_000)

    @pytest.mark.parametrize(
        ("rate", "new", "frames", "count"),
        [
            (F(24), F(60), 24, 60),
            (NTSC, F(60), 24, math.ceil(F(1001, 1000) * 60)),
            (F(30), F(30000, 1001), 300, 300),
            (F(24), F(24), 10, 10),
            (F(60), F(24), 60, 24),
            (F(25), F(60), 1, 3),
            (F(25), F(60), 2, 5),
        ],
    )
    def test_known(self, rate: F, new: F, frames: int, count: int) -> None:
        timeline = by_rate(regular(frames, rate), new)
        assert len(timeline) == count

    def test_24_to_60_takes_every_second_frame_as_it_is(self) -> None:
        timeline = by_rate(regular(24), F(60))
        assert [t.i for t in timeline.targets if t.is_source][:4] == [0, 2, 4, 6]
        assert [t.tau for t in timeline.targets[:5]] == [F(0), F(2, 5), F(4, 5), F(1, 5), F(3, 5)]

    def test_the_same_rate_makes_nothing(self) -> None:
        rounded = SourceTimes([round(k / 24, 3) for k in range(50)])
        assert by_rate(rounded, F(24)).made == 0 and by_rate(regular(50, NTSC), NTSC).made == 0

    def test_without_tail(self) -> None:
        assert by_rate(regular(2, F(25)), F(50), tail=False).pts == [F(0), F(1, 50), F(1, 25)]


class TestSlow:
    @given(any_times(), st.sampled_from([F(1), F(2), F(3), F(5, 2), F(12, 5), F(21, 20)]))
    @settings(max_examples=60, deadline=None)
    def test_counts_and_times(self, times: SourceTimes, slow: F) -> None:
        timeline = slowed(times, slow)
        check(timeline)
        assert len(timeline) == math.ceil(len(times) * slow)
        assert timeline.duration == slow * times.duration and timeline.pts[0] == times.pts[0]
        assert timeline.interval > 0
        if slow.denominator == 1:
            assert [(t.i, t.j, t.tau) for t in timeline.targets] == [
                (t.i, t.j, t.tau) for t in by_factor(times, int(slow)).targets
            ]

    @given(any_times(), rates, st.sampled_from([F(2), F(5, 2)]))
    @settings(max_examples=30, deadline=None)
    def test_at_a_rate(self, times: SourceTimes, rate: F, slow: F) -> None:
        timeline = by_rate(times, rate, slow=slow)
        check(timeline)
        assert len(timeline) == math.ceil(times.duration * slow * rate)
        for target in timeline.targets:
            at = times.pts[0] + (target.pts - times.pts[0]) / slow
            if not target.is_source:
                assert times.pts[target.i] < at < times.pts[target.j]

    def test_keeps_the_rate(self) -> None:
        assert slowed(regular(10, NTSC), F(3)).rate == NTSC

    def test_bad(self) -> None:
        with pytest.raises(InputError, match="slow"):
            slowed(regular(2), F(1, 2))


class TestMarks:
    def test_the_nearest_frame_across_a_cut(self) -> None:
        timeline = by_factor(regular(4), 4, marks=Marks(cuts=(2,)))
        assert [(t.i, t.j) for t in timeline.targets[4:8]] == [(1, 1), (1, 1), (1, 1), (2, 2)]
        assert [(t.i, t.j) for t in timeline.targets[8:12]] == [(2, 2), (2, 3), (2, 3), (2, 3)]

    def test_duplicates_are_replaced(self) -> None:
        timeline = by_factor(regular(5), 1, marks=Marks(duplicates=(1, 3)))
        assert [(t.i, t.j, t.tau) for t in timeline.targets] == [
            (0, 0, 0), (0, 2, F(1, 2)), (2, 2, 0), (2, 4, F(1, 2)), (4, 4, 0),
        ]  # fmt: skip

    def test_duplicates_at_the_end_are_held(self) -> None:
        assert [t.i for t in by_factor(regular(3), 1, marks=Marks(duplicates=(2,))).targets] == [0, 1, 1]

    @given(any_times(), st.data())
    @settings(max_examples=40, deadline=None)
    def test_no_pair_spans_a_cut_or_ends_in_a_duplicate(self, times: SourceTimes, data: Any) -> None:
        later = st.lists(st.integers(1, max(1, len(times) - 1)), max_size=4)
        cuts, gone = data.draw(later), set(data.draw(later))
        timeline = by_rate(times, F(60), marks=Marks(tuple(cuts), tuple(gone)))
        check(timeline)
        for target in timeline.targets:
            assert not {target.i, target.j} & gone
            assert not any(target.i < cut <= target.j for cut in cuts)

    def test_within_a_microsecond_a_frame_is_itself(self) -> None:
        times = SourceTimes([0, 0.05, 0.2])
        near, far = F(5, 100) + F(1, 1_000_000), F(5, 100) + F(2, 1_000_000)
        timeline = Timeline(times, [(near, near), (far, far)], F(1), None)
        assert timeline[0] == Target(near, 1, 1) and not timeline[1].is_source


@given(any_times(), st.integers(1, 6), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_segments_part_no_pair(times: SourceTimes, factor: int, size: int) -> None:
    timeline = by_factor(times, factor)
    ranges = timeline.segments(size)
    assert ranges[0][0] == 0 and ranges[-1][1] == len(timeline)
    for (_, stop), (start, _) in pairwise(ranges):
        a, b = timeline[stop - 1], timeline[start]
        assert stop == start and (a.is_source or b.is_source or (a.i, a.j) != (b.i, b.j))
    assert all(stop - start >= size for start, stop in ranges[:-1])


@pytest.mark.parametrize(
    ("text", "rate"), [("60", F(60)), ("23.976", NTSC), ("60000/1001", F(60000, 1001)), (25, F(25))]
)
def test_rates_as_typed(text: Any, rate: F) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "60/0", "0", "-3", "nan", "1/0/2", "5000"])
def test_no_rates(text: str) -> None:
    with pytest.raises(InputError, match="fps"):
        parse_rate(text)
