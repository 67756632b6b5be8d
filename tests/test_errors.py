"""Errors carry their data, also between processes."""

import pickle

import pytest

from trackime.errors import DeviceError, MissingExtraError, ShapeError, TrackimeError, UnknownNameError


@pytest.mark.parametrize(
    "error",
    [
        DeviceError("no such device"),
        ShapeError("xy", "[N, 2]", (3, 4)),
        UnknownNameError("tracker", "nope", ["lk", "correlation"]),
        MissingExtraError("rerun", "rerun"),
    ],
)
def test_pickle(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and isinstance(again, TrackimeError)
    assert str(again) == str(error) and again.__dict__ == error.__dict__


def test_messages_say_expected_and_got():
    assert str(ShapeError("xy", "[N, 2]", (3, 4))) == "xy: expected shape [N, 2], got [3, 4]"
    assert str(UnknownNameError("tracker", "x", ["lk"])) == "unknown tracker 'x': expected one of lk"
    assert "pip install 'trackime[rerun]'" in str(MissingExtraError("rerun", "rerun"))
