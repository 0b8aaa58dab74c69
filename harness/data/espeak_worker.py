"""The process in which eSpeak NG speaks. Run by espeak.py; needs nothing but the standard library.

The library keeps its oscillators, its flutter and its voice in globals that no call resets, so what
it says depends on what it has said before in the same process. A process of its own makes the same
list of utterances the same bytes, each time. Names are those of the library's header, speak_lib.h.

Standard input: {"library": file, "data": folder, "utterances": [[text, voice, speed, pitch], ...]}.
Standard output: one line of JSON, {"rate_hz", "lengths"} or {"unknown", "known"} or {"failed"}, and
after the line the samples of all utterances, 16-bit in the machine's byte order.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come through the callback, before Synth returns
UTF8 = 1  # espeakCHARS_UTF8
RATE, VOLUME, PITCH = 1, 2, 3  # espeak_PARAMETER

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Voice(ctypes.Structure):
    """espeak_VOICE. `languages` starts with a byte of priority."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


class FailedError(Exception):
    """The answer to give instead of speech."""

    def __init__(self, **answer: Any) -> None:
        super().__init__(answer)
        self.answer = answer


def start(library: str, data: str) -> tuple[Any, int]:
    """The library and its rate in Hz."""
    espeak = ctypes.CDLL(library)
    espeak.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(Voice))
    espeak.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    rate_hz = espeak.espeak_Initialize(SYNCHRONOUS, 0, str(Path(data).parent).encode(), 0)
    if rate_hz <= 0:
        raise FailedError(failed=f"eSpeak NG could not be started from {data}")
    espeak.espeak_ng_SetRandSeed(1)  # its own seed is the time of day
    return espeak, rate_hz


def identifiers(espeak: Any) -> dict[str, str]:
    """Language code to the library's own name of the voice; only the latter finds every voice."""
    found: dict[str, str] = {}
    for pointer in espeak.espeak_ListVoices(None):
        if not pointer:
            break
        found.setdefault(pointer.contents.languages[1:].decode(), pointer.contents.identifier.decode())
    return found


def resolve(voices: set[str], known: dict[str, str], data: str) -> dict[str, str]:
    """Each voice as the library names it; it would silently ignore an unknown variant."""
    variants = sorted(file.name for file in (Path(data) / "voices" / "!v").iterdir())
    names = {}
    for voice in sorted(voices):
        language, plus, variant = voice.partition("+")
        if language not in known:
            raise FailedError(unknown=language, known=sorted(known))
        if plus and variant not in variants:
            raise FailedError(unknown=variant, known=variants)
        names[voice] = known[language] + plus + variant
    return names


def speak(espeak: Any, text: str, name: str, words_per_minute: int, pitch: int, heard: list[bytes]) -> bytes:
    heard.clear()
    encoded = text.encode() + b"\0"
    status = (
        espeak.espeak_SetVoiceByName(name.encode()),
        espeak.espeak_SetParameter(RATE, words_per_minute, 0),
        espeak.espeak_SetParameter(VOLUME, 100, 0),
        espeak.espeak_SetParameter(PITCH, pitch, 0),
        espeak.espeak_Synth(encoded, len(encoded), 0, 0, 0, UTF8, None, None),
    )
    if any(status) or not heard:
        raise FailedError(failed=f"eSpeak NG could not speak '{text}' as {name} (status {status})")
    return b"".join(heard)


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    espeak, rate_hz = start(request["library"], request["data"])
    heard: list[bytes] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = Callback(collect)  # a name of its own: the library keeps no reference
    espeak.espeak_SetSynthCallback(callback)
    utterances = request["utterances"]
    names = resolve({voice for _, voice, _, _ in utterances}, identifiers(espeak), request["data"])
    spoken = [
        speak(espeak, text, names[voice], words_per_minute, pitch, heard)
        for text, voice, words_per_minute, pitch in utterances
    ]
    return {"rate_hz": rate_hz, "lengths": [len(samples) // 2 for samples in spoken]}, spoken


def main() -> None:
    try:
        head, samples = answer(json.load(sys.stdin))
    except FailedError as failed:
        head, samples = failed.answer, []
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    sys.stdout.buffer.writelines(samples)


if __name__ == "__main__":
    main()
