"""Perturbed clips are what their settings say, the same from the same seed, and everything else stays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.audio import EncodedAudio, SampledAudio, encode_wav
from harness.data.augment import Augmenter
from harness.errors import DataError, MediaError
from harness.spec.training import Augment
from harness.types import Audio, Input, Sample

RATE_HZ = 16_000
ALL: dict[str, Any] = {"speed": [0.9, 1.1], "gain_db": [-6, 6], "noise": {"probability": 1}}
Wave = NDArray[np.float32]


def tone(hz: float = 440.0, seconds: float = 1.0, level: float = 0.1) -> Wave:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def sample(wave: Wave) -> Sample:
    inputs: dict[str, Input] = {"audio": SampledAudio(wave, RATE_HZ), "question": "what is said?"}
    return Sample("7", inputs, "hello", "speaker", {"language": "en"})


def augmenter(base: Path = Path(), **settings: Any) -> Augmenter:
    return Augmenter(Augment.model_validate(settings), base)


def audio(perturbed: Sample) -> Audio:
    found = perturbed.inputs["audio"]
    assert isinstance(found, Audio)
    return found


def heard(wave: Wave, seed: int = 0, base: Path = Path(), **settings: Any) -> Wave:
    perturb = augmenter(base, **settings)
    return audio(perturb(sample(wave), np.random.default_rng(seed))).load(RATE_HZ)


def power_db(wave: Any) -> float:
    return float(10 * np.log10(np.square(wave, dtype=np.float64).mean()))


def loudest_hz(wave: Wave) -> float:
    return float(np.abs(np.fft.rfft(wave)).argmax() * RATE_HZ / len(wave))


@pytest.fixture
def noises(tmp_path: Path) -> Callable[..., Path]:
    """Writes recordings of noise, file name to waveform, into noise/ beside the task file."""

    def write(**waves: Wave) -> Path:
        for name, wave in waves.items():
            file = tmp_path / "noise" / f"{name}.wav"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(encode_wav(wave, RATE_HZ))
        return tmp_path

    return write


def noise(snr_db: float = 10.0, **settings: Any) -> dict[str, Any]:
    return {"snr_db": [snr_db, snr_db], "probability": 1, **settings}


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 17.5])
def test_white_noise_has_the_ratio_asked_for(snr_db: float) -> None:
    clean = tone()
    added = heard(clean, noise=noise(snr_db)).astype(np.float64) - clean
    assert power_db(clean) - power_db(added) == pytest.approx(snr_db, abs=0.1)
    halves = power_db(added[: len(added) // 2]), power_db(added[len(added) // 2 :])
    assert halves[0] == pytest.approx(halves[1], abs=0.5), "the noise is everywhere"


@pytest.mark.parametrize("seconds", [0.05, 1.0, 3.0], ids=["repeated", "whole", "cut"])
def test_recorded_noise_has_the_ratio_asked_for(noises: Callable[..., Path], seconds: float) -> None:
    base = noises(hum=tone(1000, seconds))
    clean = tone(level=0.05)
    added = heard(clean, base=base, noise=noise(6.0, folder="./noise")).astype(np.float64) - clean
    assert power_db(clean) - power_db(added) == pytest.approx(6.0, abs=0.1)
    assert loudest_hz(added.astype(np.float32)) == pytest.approx(1000, abs=5)


def test_recorded_noise_starts_anywhere_and_comes_from_any_file(noises: Callable[..., Path]) -> None:
    ramp = np.linspace(0.1, 0.9, 3 * RATE_HZ, dtype=np.float32)
    base = noises(up=ramp, down=-ramp)
    clean = tone(seconds=0.5, level=0.01)
    starts = [(heard(clean, seed, base, noise=noise(0.0, folder="./noise")) - clean)[0] for seed in range(20)]
    assert {bool(start > 0) for start in starts} == {True, False}
    assert len({round(float(start), 5) for start in starts}) > 10


def test_noise_is_as_frequent_as_asked_for() -> None:
    clean = tone(seconds=0.01)
    touched = [
        not np.array_equal(heard(clean, seed, noise={"probability": 0.3}), clean) for seed in range(300)
    ]
    assert 60 < sum(touched) < 120
    assert np.array_equal(heard(clean, noise={"probability": 0}), clean)


def test_ratio_lies_in_its_range() -> None:
    clean = tone(seconds=0.1)
    noise = {"snr_db": [5, 15], "probability": 1}
    ratios = [power_db(clean) - power_db(heard(clean, seed, noise=noise) - clean) for seed in range(50)]
    assert 4.9 < min(ratios) < 7
    assert 13 < max(ratios) < 15.1


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    perturbed = audio(augmenter(speed=[factor])(sample(tone()), np.random.default_rng(0)))
    wave = perturbed.load(RATE_HZ)
    assert len(wave) == pytest.approx(RATE_HZ / factor, abs=1)
    assert perturbed.seconds() == pytest.approx(1 / factor)
    assert loudest_hz(wave) == pytest.approx(440 * factor, abs=1)
    assert power_db(wave) == pytest.approx(power_db(tone()), abs=0.1)


def test_every_speed_is_drawn() -> None:
    perturb, random = augmenter(speed=[0.5, 1.0, 2.0]), np.random.default_rng(0)
    assert {audio(perturb(sample(tone()), random)).seconds() for _ in range(30)} == {2.0, 1.0, 0.5}


@pytest.mark.parametrize("gain_db", [-12.0, 6.0])
def test_gain_changes_the_level(gain_db: float) -> None:
    louder = heard(tone(), gain_db=[gain_db, gain_db])
    assert power_db(louder) - power_db(tone()) == pytest.approx(gain_db, abs=0.01)


def test_nothing_is_clipped() -> None:
    loud = tone(level=0.9)
    louder = heard(loud, gain_db=[20, 20])
    assert np.abs(louder).max() == pytest.approx(1.0)
    np.testing.assert_allclose(louder, loud / np.abs(loud).max(), atol=1e-6)
    assert np.abs(heard(loud, noise=noise(-10.0))).max() <= 1.0


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_stays_silent(noises: Callable[..., Path], level: float) -> None:
    """Neither a silent clip nor a silent recording has a power to measure against."""
    base = noises(silence=np.zeros(100, np.float32))
    assert not heard(np.zeros(RATE_HZ, np.float32), **ALL).any()
    wave = tone(level=level)
    assert np.array_equal(heard(wave, base=base, noise=noise(folder="./noise")), wave)


def test_same_seed_same_bytes(noises: Callable[..., Path]) -> None:
    base = noises(a=tone(300), b=tone(500))
    settings = ALL | {"noise": noise(folder="./noise")}
    assert heard(tone(), 5, base, **settings).tobytes() == heard(tone(), 5, base, **settings).tobytes()
    assert len({heard(tone(), seed, base, **settings).tobytes() for seed in range(5)}) == 5


def test_loading_twice_or_in_another_thread_gives_the_same() -> None:
    random = np.random.default_rng(3)
    perturbed = audio(augmenter(**ALL)(sample(tone()), random))
    first = perturbed.load(RATE_HZ).tobytes()
    random.random(100)
    with ThreadPoolExecutor(2) as pool:
        assert {wave.tobytes() for wave in pool.map(perturbed.load, [RATE_HZ] * 4)} == {first}


def test_clips_in_one_stream_of_numbers_differ() -> None:
    random = np.random.default_rng(0)
    perturb = augmenter(**ALL)
    assert len({audio(perturb(sample(tone()), random)).digest() for _ in range(5)}) == 5


def test_digest_is_of_what_is_heard() -> None:
    def digest(seed: int, **settings: Any) -> str:
        return audio(augmenter(**settings)(sample(tone()), np.random.default_rng(seed))).digest()

    assert digest(0, **ALL) == digest(0, **ALL)
    assert digest(0, **ALL) != digest(1, **ALL)
    assert digest(0, speed=[2.0]) != digest(0, gain_db=[2.0, 2.0])
    assert digest(0) == sample(tone()).inputs["audio"].digest()  # type: ignore[union-attr]


def test_only_the_audio_changes() -> None:
    before = sample(tone())
    after = augmenter(**ALL)(before, np.random.default_rng(0))
    assert (after.id, after.target, after.group, after.meta) == ("7", "hello", "speaker", {"language": "en"})
    assert after.inputs["question"] == "what is said?"
    assert np.array_equal(audio(before).load(RATE_HZ), tone()), "the sample itself is as it was"


def test_sample_without_audio_stays() -> None:
    text = Sample("7", {"question": "what?"}, "hello", "7")
    assert augmenter(**ALL)(text, np.random.default_rng(0)) == text


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    missing = Sample("7", {"audio": EncodedAudio(tmp_path / "none.wav")}, "hello", "7")
    perturbed = audio(augmenter(**ALL)(missing, np.random.default_rng(0)))
    for ask in (perturbed.seconds, perturbed.digest, lambda: perturbed.load(RATE_HZ)):
        with pytest.raises(MediaError, match=r"none\.wav: there is no such file"):
            ask()


def test_clip_that_is_gone_at_its_speed() -> None:
    with pytest.raises(MediaError, match="nothing is left of the clip at 9 times its speed"):
        heard(np.ones(1, np.float32), speed=[9.0])


def test_noise_recording_that_cannot_be_read_is_named(noises: Callable[..., Path]) -> None:
    base = noises(a=tone())
    (base / "noise" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"noise.a\.wav"):
        heard(tone(), base=base, noise=noise(folder="./noise"))
    with pytest.raises(DataError, match=r"recording of noise.*noise.a\.wav"):
        augmenter(base, noise=noise(folder="./noise")).fingerprint()


def test_folder_without_noise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"'\./empty' holds no audio \(train\.augment\.noise\.folder\)"):
        augmenter(tmp_path, noise={"folder": "./empty"})
    with pytest.raises(DataError, match=r"there is no folder '\./none'"):
        augmenter(tmp_path, noise={"folder": "./none"})


def test_fingerprint_is_of_the_recordings(noises: Callable[..., Path]) -> None:
    settings = {"noise": {"folder": "./noise"}}
    before = augmenter(noises(a=tone()), **settings).fingerprint()
    assert before == augmenter(noises(a=tone()), **settings).fingerprint()
    assert before != augmenter(noises(a=tone(300)), **settings).fingerprint()
    assert augmenter(**ALL).fingerprint() == ""
