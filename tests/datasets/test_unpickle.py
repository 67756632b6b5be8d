"""Pickles of arrays: malicious and broken ones are refused and run nothing, good ones come back."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackime import datasets
from trackime.datasets._unpickle import load_pickle
from trackime.errors import FormatError


def save(path, data, protocol=4):
    path.write_bytes(pickle.dumps(data, protocol))
    return path


class Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        Evil(os.system, "touch HACKED"),
        Evil(eval, "open('HACKED', 'w')"),
        Evil(getattr, "x", "format"),
        {"video": np.array([Evil(os.system, "touch HACKED")], dtype=object)},
        Evil(np.load, "x"),
        Evil(np.ctypeslib.load_library, "x", "."),
    ],
    ids=["system", "eval", "getattr", "in an array", "numpy", "ctypes"],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_runs_nothing(attack, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "evil.pkl", {"clip": attack}, protocol)
    with pytest.raises(FormatError, match="expected a pickle of numpy arrays"):
        list(datasets.read("tapvid", tmp_path / "evil.pkl"))
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pkl"]


def opcode(name):
    return next(op.code.encode("latin-1") for op in pickletools.opcodes if op.name == name)


def array_state(dtype, shape, raw):
    """The bytes of a pickle that reconstructs an ndarray from a state of the attacker's choice."""

    def pushed(value):
        return pickle.dumps(value, 3)[2:-1]

    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + pushed((0,)) + pushed(b"b") + b"tR("
        + pushed(1) + pushed(shape) + b"cnumpy\ndtype\n" + pushed((dtype, False, True)) + b"R" + pushed(False)
        + pushed(raw) + b"tb."
    )  # fmt: skip


def test_arrays_are_not_taken_at_their_word(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(array_state("u1", (2, 3), bytes(range(6))))
    np.testing.assert_array_equal(load_pickle(path), np.arange(6).reshape(2, 3))
    for dtype, shape, raw in [
        ("u1", (2, 3), bytes(5)),  # would read past the end
        ("u1", (10**12,), b""),
        ("u1", (-1,), b""),
        ("O", (1,), bytes(8)),  # bytes taken for a pointer
        ("O", (2,), [b"x"]),
        ("V8", (1,), bytes(8)),
        ("i4,O", (1,), bytes(12)),
        (["i4"], (1,), bytes(4)),
    ]:
        path.write_bytes(array_state(dtype, shape, raw))
        with pytest.raises(FormatError, match="expected a pickle of numpy arrays"):
            load_pickle(path)


@pytest.mark.parametrize(
    "program",
    [
        b"cnumpy\ndtype\n}b.",  # write to a function of ours
        b"cnumpy\nndarray\n.",  # a function as data
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"c_codecs\nencode\n(Vabc\nVzlib\ntR.",
        b"(lp0\ng0\na.",  # a list within itself
        b"P0\n.",  # a persistent id
        b"Nr\xff\xff\xff\x7f.",  # a memo of 16 GB
        b"Np2000000000\n.",
        b"",
        b"hello",
        b"N",
        b".",
    ],
)
def test_hostile_pickles_are_refused(program, tmp_path):
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(FormatError, match="expected a pickle of numpy arrays"):
        load_pickle(tmp_path / "a.pkl")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_one_kind_of_error(tmp_path_factory, data):
    raw = bytearray(pickle.dumps({"a": np.arange(6.0), "b": [b"xyz", 2.5, "t"], "c": np.float32(1)}, 4))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(FormatError):
        load_pickle(path)


def test_a_small_pickle_does_not_take_forever(tmp_path):
    data = []
    for _ in range(100):
        data = [data, data]
    assert len(load_pickle(save(tmp_path / "a.pkl", data))) == 2


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("module", [b"numpy._core", b"numpy.core"], ids=["numpy 2", "numpy 1"])
def test_pickles_of_either_numpy(protocol, module, tmp_path):
    data = {
        "c": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "t": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
        "big": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3), np.float32),
        "flag": np.array([[True, False]]),
        "scalar": np.float32(1.5),
        "rest": [1, 2.5, "text", b"\x00\xff", (None, True), bytearray(b"ab")],
    }
    raw = pickle.dumps(data, protocol)
    if protocol < 4:  # names with a length before them do not survive being replaced
        raw = raw.replace(b"numpy._core", module)
    elif module == b"numpy.core":
        raw = raw.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        raw = raw.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
        raw = strip_frames(raw)
    (tmp_path / "a.pkl").write_bytes(raw)
    got = load_pickle(tmp_path / "a.pkl")
    assert got.keys() == data.keys() and got["rest"] == data["rest"]
    for key in data.keys() - {"rest"}:
        np.testing.assert_array_equal(got[key], data[key])
        assert got[key].dtype == data[key].dtype


def strip_frames(raw):
    """A pickle without its FRAME opcodes, whose lengths no longer hold."""
    out, frame = io.BytesIO(), opcode("FRAME")
    out.write(raw[:2])
    position = 2
    while position < len(raw):
        if raw[position : position + 1] == frame:
            position += 9  # the opcode and its length
        out.write(raw[position : position + 1])
        position += 1
    return out.getvalue()
