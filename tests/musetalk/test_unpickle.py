"""Pickles of numbers are read; every other pickle is refused without being run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.lipsync.musetalk import unpickle
from pipeline.lipsync.musetalk.unpickle import PickleRefused, load


def _read(path: Path, data: bytes) -> Any:
    file = path / "some.pkl"
    file.write_bytes(data)
    return load(file)


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_lists_tuples_and_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    coordinates = [(np.int32(3), 4, np.int64(-5), np.float32(6.5)), [1, 2.5, 3, 4], (0.0, 0.0, 0.0, 0.0), 1 << 70]
    assert _read(tmp_path, pickle.dumps(coordinates, protocol)) == [
        (3, 4, -5, 6.5),
        [1, 2.5, 3, 4],
        (0.0, 0.0, 0.0, 0.0),
        1 << 70,
    ]
    arrays = [np.arange(6, dtype=">i4").reshape(2, 3), np.asfortranarray(np.eye(2, 3)), np.zeros((0, 4), np.uint8)]
    for array, back in zip(arrays, _read(tmp_path, pickle.dumps(arrays, protocol)), strict=True):
        assert np.array_equal(array, back)
        assert array.shape == back.shape


def test_a_pickle_of_an_older_numpy_comes_back(tmp_path: Path) -> None:
    data = pickle.dumps([np.int32(7), np.arange(3)], 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    number, array = _read(tmp_path, data)
    assert (number, array.tolist()) == (7, [0, 1, 2])


class _Runs:
    """Pickles as a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self._reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "it-ran"
    for evil in (
        _Runs(os.system, f"touch {witness}"),
        _Runs(eval, f"open({str(witness)!r}, 'w')"),
        _Runs(os.mkdir, str(witness)),
        [(1, 2, 3, 4), _Runs(os.system, f"touch {witness}")],
    ):
        with pytest.raises(PickleRefused, match="it asks for"):
            _read(tmp_path, pickle.dumps(evil, protocol))
    assert not witness.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        "text",
        b"bytes",
        None,
        True,
        {1},
        1j,
        [[["text"]]],
        OrderedDict(),
        Path("a"),
        np.dtype("i4"),
        np.array(["text"]),
        np.array([object], object),
        np.array([b"abc"]),
        np.zeros(2, [("a", "i4")]),
        np.datetime64("2026-01-01"),
    ],
    ids=repr,
)
def test_whatever_else_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(PickleRefused):
        _read(tmp_path, pickle.dumps(value))


FIRST_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2, 3])[:-4],
        b"Pme\n.",  # a persistent reference
        b"\x82\x01.",  # an extension from copyreg
        b"cnumpy.core.multiarray\nscalar\n}(U\x04evilI1\nub.",  # state set on the function itself
        b"cnumpy.core.multiarray\n_reconstruct\n(N}(U\x08__code__I1\nutb.",
        b"cnumpy\nndarray\n(tR.",  # the type itself, called
        b"cnumpy\nndarray\n)\x81.",  # NEWOBJ on it
        b"cnumpy\nndarray\n.",
        FIRST_ARRAY + b"(I1\n(I1000000000\nI1000000000\ntcnumpy\ndtype\n(U\x02i4tRI00\nU\x04abcdtb.",
        FIRST_ARRAY + b"(I1\n(I-1\ntcnumpy\ndtype\n(U\x02i4tRI00\nU\x04abcdtb.",
        FIRST_ARRAY + b"(I1\n(I1\ntI5\nI00\nU\x04abcdtb.",
        FIRST_ARRAY + b"I5\nb.",
        b"cnumpy\ndtype\n(U\x02O8tR.",
        b"cnumpy\ndtype\n(U\x02i4tR(I3\nU\x01?tb.",
        b"cnumpy.core.multiarray\nscalar\n(I1\nU\x04abcdtR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.",
        b"cnumpy.core.multiarray\nscalar.__class__\n.",
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x10scalar.__class__\x93.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.",
    ],
)
def test_handmade_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(PickleRefused):
        _read(tmp_path, data)
    assert _read(tmp_path, pickle.dumps([np.int32(7)])) == [7]  # and nothing of it stays behind


def test_a_small_pickle_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    bomb: list[Any] = [0] * 10
    for _ in range(9):
        bomb = [bomb] * 10
    with pytest.raises(PickleRefused, match="too much"):
        _read(tmp_path, pickle.dumps(bomb))
    nest: list[Any] = []
    for _ in range(200):
        nest = [nest]
    with pytest.raises(PickleRefused, match="too deep"):
        _read(tmp_path, pickle.dumps(nest))
    own: list[Any] = []
    own.append(own)
    with pytest.raises(PickleRefused, match="too deep"):
        _read(tmp_path, pickle.dumps(own))


def test_a_file_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_BYTES", 100)
    with pytest.raises(PickleRefused, match="larger than"):
        _read(tmp_path, pickle.dumps(list(range(1000))))
