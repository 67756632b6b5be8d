"""The frames of a result and when they are shown, exactly: every time is a fraction.

Input frame i covers [pts_i, pts_{i+1}), the last one the median interval. A frame of the result is an input frame, or
lies between two of them that belong to one shot.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt

from trackime.errors import InputError
from trackime.video import exact_rate

_SAME_TIME = Fraction(1, 1_000_000)
"""Seconds within which a frame of the result is an input frame, untouched."""

_HALF_MS = Fraction(501, 1_000_000)  # Matroska rounds to milliseconds: half of one, and the rounding of float64
_LARGEST_DENOMINATOR = 1_000_000  # denominators that can be recovered from float64
_SINGLE_INTERVAL = Fraction(1, 25)  # the interval of a video of one frame


@dataclass(frozen=True)
class Marks:
    """Frames of the input that are treated differently.

    Attributes:
        cuts: frames that begin a shot.
        duplicates: frames that only repeat the one before, and are replaced.
    """

    cuts: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()


NO_MARKS = Marks()


@dataclass(frozen=True)
class Target:
    """A frame of the result.

    Attributes:
        pts: when it is shown, in seconds.
        i, j: the input frames it lies between; equal where it is that input frame, untouched.
        tau: its time between them, 0 < tau < 1; 0 where i = j.
    """

    pts: Fraction
    i: int
    j: int
    tau: Fraction = Fraction(0)

    @property
    def is_source(self) -> bool:
        """Whether it is an input frame."""
        return self.i == self.j


class SourceTimes:
    """Exact times of a video's frames.

    Args:
        pts: seconds, increasing. Where all are within half a millisecond of a regular rate, whole or n * 1000 / 1001,
            they are replaced by those of that rate: containers round times to milliseconds or 90,000ths.

    Attributes:
        pts: fractions, one per frame.
        interval: how long the last frame is shown: the median interval.
        rate: frames per second, None where times are not regular.
    """

    def __init__(self, pts: npt.ArrayLike) -> None:
        given = [Fraction(float(t)).limit_denominator(_LARGEST_DENOMINATOR) for t in np.asarray(pts, np.float64)]
        if not given:
            raise InputError("times: expected at least one frame, got none")
        if any(b <= a for a, b in pairwise(given)):
            raise InputError("times: expected increasing seconds")
        self.pts, self.rate = _regular(given)
        steps = [b - a for a, b in pairwise(self.pts)]
        self.interval: Fraction = median(steps) if steps else _SINGLE_INTERVAL

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def end(self) -> Fraction:
        """When the last frame ends."""
        return self.pts[-1] + self.interval

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's time to `end`."""
        return self.end - self.pts[0]

    def at(self, place: Fraction) -> Fraction:
        """The time at a fractional frame index: 2.5 is in the middle of frame 2's interval."""
        i = min(int(place), len(self.pts) - 1)
        after = self.pts[i + 1] if i + 1 < len(self.pts) else self.end
        return self.pts[i] + (place - i) * (after - self.pts[i])


def _regular(given: list[Fraction]) -> tuple[list[Fraction], Fraction | None]:
    """The times without rounding, and their rate; None where they have no regular one."""
    if len(given) < 2:
        return given, None
    steps = {b - a for a, b in pairwise(given)}
    if len(steps) == 1:
        return given, 1 / steps.pop()
    mean = (len(given) - 1) / (given[-1] - given[0])
    whole, ntsc = Fraction(round(mean)), Fraction(round(mean * Fraction(1001, 1000)) * 1000, 1001)
    for rate in sorted({whole, ntsc} - {Fraction(0)}, key=lambda r: abs(r - mean)):
        offsets = [t - k / rate for k, t in enumerate(given)]
        low, high = max(offsets) - _HALF_MS, min(offsets) + _HALF_MS
        if low <= high:
            first = min(max(given[0], low), high)
            return [first + k / rate for k in range(len(given))], rate
    return given, None


class Timeline:
    """The frames of a result, in order; `by_factor`, `by_rate` and `slowed` make one.

    Attributes:
        times: of the input frames.
        targets: what is shown.
        interval: how long the last frame is shown, in seconds.
        rate: frames per second, None where they are not regular.
    """

    def __init__(
        self,
        times: SourceTimes,
        wanted: Sequence[tuple[Fraction, Fraction]],
        interval: Fraction,
        rate: Fraction | None,
        marks: Marks = NO_MARKS,
    ) -> None:
        """From increasing pairs (time in the input, time shown).

        Args:
            times: of the input frames.
            wanted: the frames.
            interval: how long the last one is shown.
            rate: of the frames, None where they are not regular.
            marks: cuts, and duplicates, which are replaced from the frames around them.
        """
        self.times, self.interval, self.rate = times, interval, rate
        self._cuts = sorted(marks.cuts)
        gone = set(marks.duplicates)
        self._kept = [i for i in range(len(times)) if i not in gone]
        if not self._kept or self._kept[0] != 0:
            raise InputError("duplicates: expected none at frame 0")
        self._at = [times.pts[i] for i in self._kept]
        self.targets = [self._target(t, shown) for t, shown in wanted]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, k: int) -> Target:
        return self.targets[k]

    @cached_property
    def pts(self) -> list[Fraction]:
        """When each frame is shown."""
        return [target.pts for target in self.targets]

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's time to the end of the last one."""
        return self.targets[-1].pts + self.interval - self.targets[0].pts

    @property
    def made(self) -> int:
        """How many frames are new, not input frames."""
        return sum(not target.is_source for target in self.targets)

    def _target(self, t: Fraction, shown: Fraction) -> Target:
        place = bisect_right(self._at, t) - 1
        for near in (place, place + 1):
            if 0 <= near < len(self._at) and abs(self._at[near] - t) <= _SAME_TIME:
                return Target(shown, self._kept[near], self._kept[near])
        if place < 0:
            return Target(shown, 0, 0)
        i = self._kept[place]
        if place + 1 == len(self._kept):
            # The last frame is held, and duplicates at the end show the frame that they repeat.
            return Target(shown, i, i)
        j, start, stop = self._kept[place + 1], self._at[place], self._at[place + 1]
        tau = (t - start) / (stop - start)
        if bisect_right(self._cuts, j) > bisect_right(self._cuts, i):
            nearest = i if tau <= Fraction(1, 2) else j
            return Target(shown, nearest, nearest)
        return Target(shown, i, j, tau)

    def segments(self, size: int) -> list[tuple[int, int]]:
        """Ranges of at least `size` frames (the last may be shorter) that keep the new frames of a pair together."""
        if size < 1:
            raise InputError(f"segment: expected at least 1 frame, got {size}")
        ranges, start = [], 0
        while start < len(self):
            stop = min(start + size, len(self))
            while stop < len(self) and not self._begins(stop):
                stop += 1
            ranges.append((start, stop))
            start = stop
        return ranges

    def _begins(self, k: int) -> bool:
        before, here = self.targets[k - 1], self.targets[k]
        return here.is_source or before.is_source or (before.i, before.j) != (here.i, here.j)


def by_factor(times: SourceTimes, factor: int, tail: bool = True, marks: Marks = NO_MARKS) -> Timeline:
    """`factor` frames for each of the input, at pts_i + k / factor of the interval: N * factor of them.

    Args:
        times: of the input frames.
        factor: 1 or more.
        tail: hold the last frame, so that the duration is the input's; else end with it: 1 + (N - 1) * factor frames.
        marks: cuts and duplicates.

    Raises:
        InputError: factor below 1.
    """
    if factor < 1:
        raise InputError(f"factor: expected 1 or more, got {factor}")
    count = len(times) * factor if tail else 1 + (len(times) - 1) * factor
    at = [times.at(Fraction(k, factor)) for k in range(count)]
    last = times.interval / factor
    return Timeline(times, [(t, t) for t in at], last, times.rate and times.rate * factor, marks)


def by_rate(
    times: SourceTimes, rate: Fraction, tail: bool = True, slow: Fraction = Fraction(1), marks: Marks = NO_MARKS
) -> Timeline:
    """ceil(duration * rate) frames at k / rate from the first frame on.

    Args:
        times: of the input frames.
        rate: frames per second of the result.
        tail: as in `by_factor`.
        slow: how many times longer the result lasts.
        marks: cuts and duplicates.

    Raises:
        InputError: rate not above 0, slow below 1.
    """
    _check_slow(slow)
    if rate <= 0:
        raise InputError(f"fps: expected above 0, got {rate}")
    first, lasts = times.pts[0], (times.duration if tail else times.pts[-1] - times.pts[0]) * slow
    count = math.ceil(lasts * rate) if tail else math.floor(lasts * rate) + 1
    wanted = [(first + k / rate / slow, first + k / rate) for k in range(count)]
    return Timeline(times, wanted, 1 / rate, rate, marks)


def slowed(times: SourceTimes, slow: Fraction, tail: bool = True, marks: Marks = NO_MARKS) -> Timeline:
    """ceil(N * slow) frames at pts_i + k / slow of the interval, shown `slow` times later, at the rate of the input.

    Fractions carry over the intervals: 2.5 makes frames at 0, 0.4, 0.8, 1.2 ... of them.

    Args:
        times: of the input frames.
        slow: how many times longer the result lasts, 1 or more.
        tail: as in `by_factor`.
        marks: cuts and duplicates.

    Raises:
        InputError: slow below 1.
    """
    _check_slow(slow)
    count = math.ceil(len(times) * slow) if tail else math.floor((len(times) - 1) * slow) + 1
    at = [times.at(k / slow) for k in range(count)]
    first = times.pts[0]
    wanted = [(t, first + (t - first) * slow) for t in at]
    if not tail:
        return Timeline(times, wanted, times.interval, times.rate, marks)
    # Where `slow` is not whole, the last frame is shown for the rest of the duration.
    return Timeline(times, wanted, first + times.duration * slow - wanted[-1][1], times.rate, marks)


def _check_slow(slow: Fraction) -> None:
    if slow < 1:
        raise InputError(f"slow: expected 1 or more, got {float(slow):g}")


def parse_rate(value: str | float | Fraction) -> Fraction:
    """Frames per second as typed: 60, 23.976 (24000/1001) or 60000/1001.

    Raises:
        InputError: not a rate.
    """
    if not isinstance(value, str):
        return exact_rate(value)
    try:
        return exact_rate(Fraction(value) if "/" in value else float(value))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"fps: expected frames/s as 60, 23.976 or 60000/1001, got {value!r}") from None
