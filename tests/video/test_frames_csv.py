"""frames.csv, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trackime.errors import FormatError
from trackime.types import VideoInfo
from trackime.video import read_frame_names, write_frames


@pytest.mark.parametrize("text", ["", "index,name\n0,a\n", "index,name,pts\n0\n"])
def test_another_table_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "frames.csv").write_text(text)
    with pytest.raises(FormatError, match=r"frames\.csv"):
        read_frame_names(tmp_path / "frames.csv")


def test_frames_are_listed_with_exact_times(tmp_path: Path) -> None:
    info = VideoInfo(8, 6, np.array([0.0, 1 / 3, 0.7]), ("a", "b,c", "d"))
    write_frames(tmp_path / "frames.csv", info)
    assert (tmp_path / "frames.csv").read_text() == (f'index,name,pts\n0,a,0.0\n1,"b,c",{1 / 3!r}\n2,d,0.7\n')
    assert read_frame_names(tmp_path / "frames.csv") == info.names
