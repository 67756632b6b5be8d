"""Prompts: what `X,Y[,T[,ID]][,+|-]` means, and what is said of anything else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime.errors import FormatError, InputError
from trackime_apps.run import Prompt, to_queries
from trackime_apps.run.prompts import _parse_prompt, read_prompts


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "5", "5,", "a,b", "1,2,3,4,5", "1,2,x", "1,2,1.5", "1,2,-1", "1,2,0,0", "1,2,0,255", "nan,3",
        "inf,3", "1;2", "1,2,+,-", "+", "1,+", "1,2,,3", "1,2,3,*", "0x10,3",
    ],
)  # fmt: skip
def test_anything_else_is_one_line_that_shows_what_was_typed(text: str) -> None:
    with pytest.raises(InputError) as caught:
        _parse_prompt(text)
    message = str(caught.value)
    assert repr(text) in message and "expected" in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100,200", Prompt(100.5, 200.5)),
        ("100.0,200", Prompt(100.0, 200.5)),
        ("0,0", Prompt(0.5, 0.5)),
        ("1.25,7e1", Prompt(1.25, 70.0)),
        ("3,4,7", Prompt(3.5, 4.5, 7)),
        ("3,4,7,2", Prompt(3.5, 4.5, 7, 2)),
        ("3,4,-", Prompt(3.5, 4.5, positive=False)),
        ("3,4,7,+", Prompt(3.5, 4.5, 7)),
        ("3,4,7,254,-", Prompt(3.5, 4.5, 7, 254, False)),
        (" 3 , 4 ", Prompt(3.5, 4.5)),
        ("-3,4", Prompt(-2.5, 4.5)),
    ],
)
def test_what_is_typed_is_what_is_meant(text: str, expected: Prompt) -> None:
    got = _parse_prompt(text)
    assert (got.x, got.y, got.t, got.id, got.positive) == (
        expected.x, expected.y, expected.t, expected.id, expected.positive,
    )  # fmt: skip
    assert got.text == text


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.integers(0, 10**6), st.none() | st.integers(1, 254), st.booleans()
)
def test_a_prompt_that_is_spelled_reads_back(x: float, y: float, t: int, identity: int | None, on: bool) -> None:
    parts = [repr(x), repr(y), str(t), *([] if identity is None else [str(identity)]), "+" if on else "-"]
    got = _parse_prompt(",".join(parts))
    assert (got.x, got.y, got.t, got.id, got.positive) == (x, y, t, identity, on)


def test_no_prompts_are_no_queries() -> None:
    queries, labels = to_queries([])
    assert len(queries) == 0 and labels.shape == (0,)


def test_ids_become_instances_and_signs_labels() -> None:
    queries, labels = to_queries([_parse_prompt("1,2"), _parse_prompt("3,4,5,6,-")], default_id=1)
    np.testing.assert_array_equal(queries.xyt, [[1.5, 2.5, 0], [3.5, 4.5, 5]])
    assert queries.instance.tolist() == [1, 6] and labels.tolist() == [1, 0]


def test_a_file_holds_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("\ufeffx,y,t\n# corner\n0,0,0\n\n 10.25, 20.5, 3\r\n5,5,1,2\n", encoding="utf-8")
    assert [(p.x, p.y, p.t, p.id) for p in read_prompts(path)] == [
        (0.5, 0.5, 0, None), (10.25, 20.5, 3, None), (5.5, 5.5, 1, 2),
    ]  # fmt: skip


def test_an_empty_file_holds_none(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("x,y,t\n")
    assert read_prompts(tmp_path / "q.csv") == []


@pytest.mark.parametrize("content", [b"1,2,0\n3;4\n", b"\xff\xfe\x00"])
def test_a_bad_file_says_where(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"q\.csv"):
        read_prompts(path)
    if b";" in content:
        with pytest.raises(FormatError, match="line 2"):
            read_prompts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.csv"):
        read_prompts(tmp_path / "gone.csv")
