"""Reads pickles of numbers, lists, tuples and NumPy arrays, and nothing else.

A pickle is a program that may call anything by name. Here the few names that NumPy's numbers and arrays need stand for
own functions that check what they are given; every other name is refused before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 64 << 20
_MAX_ITEMS = 2_000_000  # of the whole, also where one list is mentioned many times
_MAX_DEPTH = 16
_KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class PickleRefused(Exception):
    """The file is no pickle of plain numbers; str() says why."""


def load(path: Path) -> Any:
    """The file's content: int, float, list, tuple and ndarray (of numbers), nested. Raises PickleRefused, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise PickleRefused(f"{path}: larger than {MAX_BYTES >> 20} MB")
    try:
        return _plain(_Unpickler(io.BytesIO(data)).load())
    except PickleRefused as error:
        raise PickleRefused(f"{path}: {error}") from None
    except Exception as error:  # a program that was made to fail can fail in any way
        raise PickleRefused(f"{path}: damaged ({type(error).__name__}: {error})") from error


class _Kind:
    """Stands for a numpy.dtype while it is read."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise PickleRefused("it holds a type of numbers that cannot be read")
        self.order = state[1]

    def read(self, data: Any, count: int) -> Any:
        """(count,) numbers out of bytes."""
        kind = np.dtype(self.order + self.name)
        if not isinstance(data, bytes | bytearray) or len(data) != count * kind.itemsize:
            raise PickleRefused("it holds an array whose data do not fit it")
        return np.frombuffer(data, kind).astype(kind.newbyteorder("="))


class _Array:
    """Stands for a numpy.ndarray while it is read."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleRefused("it holds an array that cannot be read")
        self.fill(*state[1:])

    def fill(self, shape: Any, kind: Any, fortran: Any, data: Any) -> None:
        sizes = isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
        if not sizes or not isinstance(kind, _Kind):
            raise PickleRefused("it holds an array that cannot be read")
        self.value = kind.read(data, math.prod(shape)).reshape(shape, order="F" if fortran else "C")


class _Call:
    """A callable without attributes that a pickle could change."""

    __slots__ = ()


class _MakeKind(_Call):
    __slots__ = ()

    def __call__(self, name: Any, *_: Any) -> _Kind:
        if name not in _KINDS:
            raise PickleRefused(f"it holds values of the type {name!r}; only numbers are read")
        return _Kind(name)


class _MakeNumber(_Call):
    __slots__ = ()

    def __call__(self, kind: Any, data: Any) -> Any:
        if not isinstance(kind, _Kind):
            raise PickleRefused("it holds a number that cannot be read")
        return kind.read(data, 1)[0].item()


class _MakeArray(_Call):
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _FillArray(_Call):
    """Protocol 5's way to an array."""

    __slots__ = ()

    def __call__(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.fill(shape, kind, order == "F", data)
        return array


class _ArrayType(_Call):
    """numpy.ndarray itself, which is only ever named as an argument."""

    __slots__ = ()


class _Encode(_Call):
    """_codecs.encode and bytes, by which protocols 0 to 2 write bytes."""

    __slots__ = ()

    def __call__(self, text: Any = "", encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise PickleRefused("it holds text")
        return text.encode("latin1")


_NAMES: dict[tuple[str, str], type[_Call]] = {
    **{
        (f"numpy.{core}.multiarray", name): make
        for core in ("core", "_core")
        for name, make in (("scalar", _MakeNumber), ("_reconstruct", _MakeArray))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FillArray for core in ("core", "_core")},
    ("numpy", "dtype"): _MakeKind,
    ("numpy", "ndarray"): _ArrayType,
    ("_codecs", "encode"): _Encode,
    ("__builtin__", "bytes"): _Encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        make = _NAMES.get((module, name))
        if make is None:
            raise PickleRefused(f"it asks for {module}.{name}; only numbers, lists, tuples and arrays are read")
        return make()

    def persistent_load(self, pid: Any) -> Any:
        raise PickleRefused("it refers to things outside of it")


def _plain(value: Any) -> Any:
    """The value with arrays in the place of their stand-ins; refuses all other kinds of things."""
    left = _MAX_ITEMS

    def walk(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _MAX_DEPTH:
            raise PickleRefused("it is nested too deep or holds too much")
        if type(item) in (int, float):
            return item
        if type(item) is list:
            return [walk(one, depth + 1) for one in item]
        if type(item) is tuple:
            return tuple(walk(one, depth + 1) for one in item)
        if type(item) is _Array:
            return item.value
        raise PickleRefused(
            f"it holds a {type(item).__name__.strip('_')}; only numbers, lists, tuples and arrays are read"
        )

    return walk(value, 0)
