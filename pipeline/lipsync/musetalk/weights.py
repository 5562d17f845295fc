"""Reads what torch saved: tensors, and nothing else."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch


class WeightsRefused(Exception):
    """The file holds no tensors, or more than those, or is damaged; str() says what, in words for people."""


def read(path: Path, *, mmap: bool = False) -> Any:
    """Tensors, nested in tables, lists and tuples; on the CPU. mmap: left in the file until they are used."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles that are refused then
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:  # torch's own words advise to load it regardless
        raise WeightsRefused("it holds other things than tensors, or is damaged") from error
    except Exception as error:  # torch raises whatever its reader met
        raise WeightsRefused(f"{type(error).__name__}: {str(error)[:300]}") from error
