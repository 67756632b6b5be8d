"""Labelled frames of DeepLabCut projects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trackime.datasets import read
from trackime.errors import FormatError

HEAD = "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"


def project(folder: Path, rows: dict[int, str], size: dict[int, tuple[int, int]] | None = None) -> Path:
    """A project with a row of labels a frame number; frame t is grey t."""
    frames = folder / "labeled-data" / "video"
    frames.mkdir(parents=True)
    for t in rows:
        h, w = (size or {}).get(t, (20, 30))
        cv2.imwrite(str(frames / f"img{t:03d}.png"), np.full((h, w, 3), t, np.uint8))
    # The order of rows is not the video's.
    lines = [f"labeled-data/video/img{t:03d}.png,{text}\n" for t, text in reversed(rows.items())]
    (frames / "CollectedData_me.csv").write_text(HEAD + "".join(lines))
    return folder


def test_a_run_is_a_sample(tmp_path: Path) -> None:
    (sample,) = read("deeplabcut", project(tmp_path, {3: "1,2,,", 5: "2,3,9,9", 9: "4,5,8,9"}))
    assert sample.labels["joint_names"] == ("nose", "tail")
    assert sample.labels["frame_index"].tolist() == [3, 5, 9]
    assert sample.video.shape == (3, 20, 30, 3) and sample.video[:, 0, 0, 0].tolist() == [3, 5, 9]
    assert sample.tracks is not None and sample.known is not None
    assert sample.tracks.queries.xyt.tolist() == [[1.5, 2.5, 0], [9.5, 9.5, 1]]
    assert sample.tracks.xy[0].tolist() == [[1.5, 2.5], [2.5, 3.5], [4.5, 5.5]]
    assert sample.known.tolist() == [[True, True, True], [False, True, True]]
    assert sample.tracks.visible.tolist() == sample.known.tolist()


def test_runs_end_at_gaps_sizes_and_length(tmp_path: Path) -> None:
    rows = {t: "1,2,3,4" for t in (0, 1, 2, 30, 31, 40, 41, 42)}
    samples = list(read("deeplabcut", project(tmp_path, rows, {40: (10, 10), 41: (10, 10), 42: (10, 10)}), longest=2))
    assert [sample.labels["frame_index"].tolist() for sample in samples] == [[0, 1], [30, 31], [40, 41]]


def test_a_joint_labelled_once_is_left_out(tmp_path: Path) -> None:
    (sample,) = read("deeplabcut", project(tmp_path, {0: "1,2,3,4", 1: "1,2,,"}))
    assert sample.labels["joint_names"] == ("nose",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "labeled-data/video/img000.png,1,2,x,4\n", "row 4: expected 4 numbers"),
        (HEAD + "labeled-data/video/frame.png,1,2,3,4\n", "expected an image named by its frame number"),
        (HEAD + "labeled-data/video/img007.png,1,2,3,4\n", "img007.png: no such image"),
        ("a,b\n", "expected rows scorer, bodyparts, coords"),
    ],
)
def test_what_does_not_agree_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    folder = project(tmp_path, {0: "1,2,3,4"}) / "labeled-data" / "video"
    (folder / "CollectedData_me.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        list(read("deeplabcut", tmp_path))


def test_no_labels_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected labeled-data"):
        list(read("deeplabcut", tmp_path))
