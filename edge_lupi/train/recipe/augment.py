"""The [augment] section: data augmentation, on log-mel frames and on the waveform."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lupi.errors import InputError
from edge_lupi.settings import within

__all__ = ["ON_SAMPLES", "AugmentRecipe"]

MOST_SPEEDS = 16
ON_SAMPLES = ("free_speeds", "rooms", "babble", "noises", "levels", "constants", "clipping", "codecs", "wires")


@dataclass(frozen=True)
class AugmentRecipe:
    """What happens to sound on its way to the network in training. `speeds` of a voice count as other voices.

    `reverb_share` of the crops get a decay time drawn from `reverb_seconds` (RT60); `warp` is the largest share by which
    all frequencies of a voice rise or fall, `tempo` the largest by which speech is faster or slower at the same frequencies,
    `equaliser_db` the largest gain of a smooth filter; `mixup` is the parameter of its beta distribution. 0 is off.

    On samples (data.sound), each a share of the crops: `free_speeds` are at any speed of `speed_range`, and their formants are
    moved by any further factor of `formant_range`, a voice of nobody's name; `rooms` in simulated rooms of `room_seconds` (RT60); `babble` of the batch's other voices and `noises` (hiss, hum,
    music) at a ratio; `levels` at so many dB of full scale; `constants` are added and `clipping` cuts; `codecs` (MP3, Opus,
    AMR) and `wires` (8 kHz, A-law or mu-law) lie between.
    """

    gain_db: float = 6.0
    noise_share: float = 0.5
    snr_db: tuple[float, ...] = (5.0, 30.0)
    reverb_share: float = 0.0
    reverb_seconds: tuple[float, ...] = (0.1, 0.6)
    time_mask_frames: int = 15
    mel_mask: int = 10
    shift_frames: int = 0
    warp: float = 0.0
    tempo: float = 0.0
    equaliser_db: float = 0.0
    speeds: tuple[float, ...] = (1.0,)
    mixup: float = 0.0
    free_speeds: float = 0.0
    speed_range: tuple[float, ...] = (0.8, 1.25)
    formant_range: tuple[float, ...] = (1.0, 1.0)
    rooms: float = 0.0
    room_seconds: tuple[float, ...] = (0.2, 1.0)
    babble: float = 0.0
    babble_db: tuple[float, ...] = (0.0, 20.0)
    noises: float = 0.0
    noises_db: tuple[float, ...] = (0.0, 30.0)
    levels: float = 0.0
    levels_db: tuple[float, ...] = (-50.0, -20.0)
    constants: float = 0.0
    clipping: float = 0.0
    codecs: float = 0.0
    wires: float = 0.0

    def __post_init__(self) -> None:
        self._check_samples()
        if len(self.reverb_seconds) != 2 or not 0 < self.reverb_seconds[0] <= self.reverb_seconds[1]:
            raise InputError(f"expected augment.reverb_seconds = [shortest, longest], got {list(self.reverb_seconds)}")
        if not (0 <= self.noise_share <= 1 and 0 <= self.reverb_share <= 1 and self.mixup >= 0):
            raise InputError("expected augment shares between 0 and 1 and mixup of at least 0")
        if not (0 <= self.warp <= 0.5 and 0 <= self.tempo <= 0.5):
            raise InputError(
                f"expected augment.warp and augment.tempo between 0 and 0.5, got {self.warp} and {self.tempo}"
            )
        if not 0 <= self.equaliser_db <= 30:
            raise InputError(f"expected augment.equaliser_db between 0 and 30, got {self.equaliser_db}")
        if len(self.snr_db) != 2 or self.snr_db[0] > self.snr_db[1]:
            raise InputError(f"expected augment.snr_db = [lowest, highest], got {list(self.snr_db)}")
        if 1.0 not in self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise InputError(f"expected augment.speeds between 0.5 and 2 with 1.0 among them, got {list(self.speeds)}")
        within(self, "augment", gain_db=(0, 100), snr_db=(-100, 200), reverb_seconds=(0, 10), mixup=(0, 1000))
        within(self, "augment", time_mask_frames=(0, 60_000), mel_mask=(0, 80), shift_frames=(0, 60_000))
        if len(self.speeds) > MOST_SPEEDS or len(set(self.speeds)) < len(self.speeds):
            raise InputError(f"expected at most {MOST_SPEEDS} augment.speeds, each once, got {list(self.speeds)[:99]}")

    def _check_samples(self) -> None:
        within(self, "augment", **dict.fromkeys(ON_SAMPLES, (0, 1)))
        bounds = {"speed_range": (0.5, 2), "formant_range": (0.5, 2), "room_seconds": (0.1, 3), "levels_db": (-90, 0)}
        for key in ("speed_range", "formant_range", "room_seconds", "babble_db", "noises_db", "levels_db"):
            found = getattr(self, key)
            if len(found) != 2 or found[0] > found[1]:
                raise InputError(f"expected augment.{key} = [lowest, highest], got {list(found)}")
            within(self, "augment", **{key: bounds.get(key, (-100, 200))})
