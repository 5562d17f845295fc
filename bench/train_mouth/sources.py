"""Synthetic voices that tell their phonemes' times: hibari, piper, espeak-ng. No real speech is trained on."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.lipsync.warp.speech_phonemes import LABEL_LEAD
from pipeline.media import PhonemeMark

F32 = NDArray[np.float32]

PIPER_LEAD, ESPEAK_LEAD = 0.040, 0.015
"""How late these labels run against their sound (s); hibari's is LABEL_LEAD, which `phones` takes away from all."""


class Spoken(NamedTuple):
    """A sentence: mono float sound in ±1 at `rate`, and its marks with LABEL_LEAD as the built-in voice has it."""

    sound: F32
    rate: int
    marks: list[PhonemeMark]


def with_output(model: bytes, name: str, kind: int) -> bytes:
    """An ONNX file with one more output: an inner value. Appended to the graph as protobuf merges repeated fields.

    kind: its element type in ONNX's numbers (1 float32, 7 int64).
    """

    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    value = field(1, name.encode()) + field(2, field(1, bytes([8, kind])))
    return model + field(7, field(12, value))


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _marks(symbols: list[str], seconds: NDArray[np.float64], lead: float) -> list[PhonemeMark]:
    ends = np.cumsum(seconds) + LABEL_LEAD - lead
    return [PhonemeMark(s, float(e - d), float(e)) for s, d, e in zip(symbols, seconds, ends, strict=True) if d > 0]


class Hibari:
    """The built-in voice, with its pitch moved apart from everything else."""

    def __init__(self) -> None:
        from hibari import Hibari as Model
        from hibari.voices import voice_path

        self._model: Any = Model()
        self._session = _session(with_output(Path(voice_path("heart")).read_bytes(), "/Clip_output_0", 1))

    def say(self, text: str, speed: float, pitch: float, rng: np.random.Generator) -> Spoken:
        from hibari import dsp

        letters = [c for c in self._model.phonemize(text)[0] if c in self._model.vocab]
        ids = np.asarray([self._model.ids(letters)], np.int64)
        out = self._session.run(None, {"ids": ids, "speed": np.asarray([speed], np.float32)})
        lh, th, ln, lr, phi, f0 = (o[0] for o in out[:6])
        sound = dsp.synth(lh, th, ln, lr, phi, f0 * np.float32(pitch), rng)
        seconds = out[6].reshape(-1).astype(np.float64) * 0.025
        return Spoken(sound, 24_000, _marks(["", *letters, ""], seconds, LABEL_LEAD))


class Espeak:
    """espeak-ng's formant voices in many languages, through its C library."""

    _EVENT_LIST_END, _EVENT_PHONEME = 0, 7

    class _Event(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("unique", ctypes.c_uint),
            ("text_position", ctypes.c_int),
            ("length", ctypes.c_int),
            ("audio_position", ctypes.c_int),
            ("sample", ctypes.c_int),
            ("user_data", ctypes.c_void_p),
            ("string", ctypes.c_char * 8),
        )

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        self.rate = int(self._lib.espeak_Initialize(2, 0, None, 3))  # synchronous, phoneme events in IPA
        self._pieces: list[F32] = []
        self._events: list[tuple[str, float]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(self._Event))
        self._callback = kind(self._hear)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _hear(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._pieces.append(np.ctypeslib.as_array(wave, (count,)).astype(np.float32) * np.float32(1 / 32768))
        i = 0
        while events[i].type != self._EVENT_LIST_END:
            if events[i].type == self._EVENT_PHONEME:
                self._events.append((events[i].string.decode("utf-8", "ignore"), events[i].audio_position / 1000))
            i += 1
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int) -> Spoken:
        """voice: a language with an optional variant, "de+f2". pitch: 0..99."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._lib.espeak_SetParameter(1, words_per_minute, 0)
        self._lib.espeak_SetParameter(3, pitch, 0)
        self._pieces, self._events = [], []
        data = text.encode() + b"\0"
        self._lib.espeak_Synth(data, len(data), 0, 0, 0, 1, None, None)
        sound = np.concatenate([np.zeros(1, np.float32), *self._pieces])
        starts = [t for _, t in self._events] + [len(sound) / self.rate]
        symbols = ["" if s.strip(" _:") == "" else s for s, _ in self._events]
        lead = LABEL_LEAD - ESPEAK_LEAD
        marks = [
            PhonemeMark(s, a + lead, b + lead) for s, a, b in zip(symbols, starts, starts[1:], strict=False) if b > a
        ]
        return Spoken(sound, self.rate, marks)


class Piper:
    """A piper voice file (VITS); its durations are an inner value of the graph, in hops of 256 samples."""

    def __init__(self, model: Path) -> None:
        config = json.loads(model.with_name(model.name + ".json").read_text())
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._rate = int(config["audio"]["sample_rate"])
        self._session = _session(with_output(model.read_bytes(), "/Ceil_output_0", 1))
        from piper.phonemize_espeak import EspeakPhonemizer  # training only: pip install piper-tts

        self._phonemizer: Any = EspeakPhonemizer()

    def say(self, text: str, speed: float, noise: float) -> Spoken:
        letters = [c for s in self._phonemizer.phonemize("en-us", text) for c in s if c in self._ids]
        ids, symbols = [*self._ids["^"], *self._ids["_"]], ["", ""]
        for letter in letters:
            ids += [*self._ids[letter], *self._ids["_"]]
            symbols += [letter, "+"]  # the pad after a letter belongs to it
        ids += self._ids["$"]
        symbols.append("")
        sound, durations = self._session.run(
            None,
            {
                "input": np.asarray([ids], np.int64),
                "input_lengths": np.asarray([len(ids)], np.int64),
                "scales": np.asarray([noise, 1 / speed, 0.8], np.float32),
            },
        )
        seconds = durations.reshape(-1).astype(np.float64) * 256 / self._rate
        joined: list[str] = []
        lengths: list[float] = []
        for symbol, length in zip(symbols, seconds, strict=True):
            if symbol == "+":
                lengths[-1] += length
            else:
                joined.append(symbol)
                lengths.append(length)
        return Spoken(sound.reshape(-1), self._rate, _marks(joined, np.array(lengths), PIPER_LEAD))
