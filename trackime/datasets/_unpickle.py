"""Safe reading of pickles of numpy arrays: nothing in them is executed.

TAP-Vid is published as pickles, and normal unpickling executes whatever the file contains. Here the result is plain
containers, numbers, text and numpy arrays only: every global that a file may name is replaced by an inert stand-in, and
arrays are built from their bytes by `np.frombuffer` after a check of their sizes, so that no internal state of numpy is
taken from the file.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np

from trackime.errors import FormatError

_DTYPES = re.compile(r"[biuf]\d{1,2}|S\d{1,9}|O8?")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and 2
_DATA = (bool, int, float, str, bytes, bytearray, np.ndarray, np.generic)
_OPEN = object()  # marks a container whose items are being replaced
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")


class _Stub:
    """A callable a pickle may call but not change: BUILD would otherwise write to its attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("a state for a function")


class _Dtype:
    """Stands for numpy.dtype: a code and a byte order, no fields."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPES.fullmatch(code):
            raise pickle.UnpicklingError(f"dtype {str(code)[:40]!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a dtype with fields")
        self.order = ">" if state[1] == ">" else "<"

    def build(self, raw: Any, shape: Any, fortran: Any) -> Any:
        """The array of these bytes; for objects, the list of them in C order, flat."""
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array shape")
        if self.code.startswith("O"):
            if not isinstance(raw, list) or len(raw) != math.prod(shape):
                raise pickle.UnpicklingError("an array of objects without its objects")
            return raw
        dtype = np.dtype(self.order + self.code)
        if not isinstance(raw, bytes | bytearray) or len(raw) != math.prod(shape) * dtype.itemsize:
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        array = np.frombuffer(raw, dtype) if dtype.itemsize and len(raw) else np.zeros(0, dtype)
        return array.reshape(shape, order="F" if fortran else "C")


class _Array:
    """Stands for numpy.ndarray while the pickle is read; `value` is the array (a list for arrays of objects)."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise pickle.UnpicklingError("an array state")
        _, shape, dtype, fortran, raw = state
        self.value = dtype.build(raw, shape, fortran)


def _from_buffer(raw: Any, dtype: _Dtype, shape: Any, order: str = "C", axes: Any = None) -> _Array:
    # Order K (numpy 2.3 on): the bytes as they lay, then the axes put back.
    array = dtype.build(raw, shape, order == "F")
    return _Array(array.transpose(axes) if order == "K" and axes is not None else array)


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return dtype.build(raw, (), False)[()]


def _encode(text: str, encoding: str = "latin1", *_: Any) -> bytes:
    # How protocols 0 to 2 spell bytes.
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding[:40]!r}")
    return text.encode("latin-1")


def _globals() -> dict[tuple[str, str], _Stub]:
    out = {
        ("numpy", "ndarray"): _Stub(lambda *_: _Array()),
        ("numpy", "dtype"): _Stub(_Dtype),
        ("_codecs", "encode"): _Stub(_encode),
    }
    for module in _MULTIARRAY:
        out[module, "_reconstruct"] = _Stub(lambda *_: _Array())
        out[module, "scalar"] = _Stub(_scalar)
    for module in _NUMERIC:
        out[module, "_frombuffer"] = _Stub(_from_buffer)
    for module in ("builtins", "__builtin__"):
        out[module, "bytes"] = out[module, "bytearray"] = _Stub(_bytearray)
    return out


def _bytearray(value: Any = b"", encoding: str = "latin1") -> bytes:
    if isinstance(value, str):
        return _encode(value, encoding)
    if not isinstance(value, bytes):  # bytearray(10**12) would reserve a terabyte
        raise pickle.UnpicklingError("a bytearray of something else")
    return value


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")
        self._allowed = _globals()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module[:60]}.{name[:60]}, which is not an array") from None


def _check_memo(file: BinaryIO) -> None:
    """Refuse memo numbers that no genuine pickle has: the interpreter's table grows to the largest, up to gigabytes."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and (not isinstance(argument, int) or argument > count):
            raise pickle.UnpicklingError(f"memo entry {argument}")
    file.seek(0)


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """The dicts, lists, numbers, text and arrays of a pickle; nothing in the file is run.

    Arrays come back as numpy arrays (read-only where the bytes were), arrays of objects as flat lists.

    Raises:
        FormatError: no such file, not a whole pickle, or one that names anything but numpy arrays.
    """
    try:
        with open(path, "rb") as file:
            _check_memo(file)
            return _plain(_Unpickler(file).load(), {})
    except FileNotFoundError:
        raise FormatError(f"{os.fspath(path)}: no such file") from None
    except (
        *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError),
        *(MemoryError, OverflowError, RecursionError, OSError, struct.error),
    ) as error:
        raise FormatError(f"{os.fspath(path)}: expected a pickle of numpy arrays, got: {error}") from None


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The same with stand-ins replaced by what they stand for; `done` are the containers already replaced, by id.

    Each container is visited once however often it is referred to, or a small file could take forever.
    """
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, dict | list | tuple):
        if id(value) not in done:
            done[id(value)] = _OPEN
            if isinstance(value, dict):
                done[id(value)] = {_plain(key, done): _plain(item, done) for key, item in value.items()}
            else:
                done[id(value)] = type(value)(_plain(item, done) for item in value)
        if done[id(value)] is _OPEN:
            raise pickle.UnpicklingError("a container within itself")
        return done[id(value)]
    if value is None or isinstance(value, _DATA):
        return value
    raise pickle.UnpicklingError(f"{type(value).__name__.strip('_').lower()} where data belongs")
