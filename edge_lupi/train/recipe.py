"""A recipe is one TOML file, read into frozen dataclasses. A wrong key or value is one sentence; nothing is guessed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edge_lupi.data.pattern import Pattern
from edge_lupi.data.video import REGIONS
from edge_lupi.errors import InputError
from edge_lupi.frames import FRAMES_PER_SECOND, Segmentation
from edge_lupi.train.also import AlsoRecipe
from edge_lupi.train.settings import make, read_toml, shown, within
from edge_lupi.train.teachers.lesson import LessonRecipe
from edge_lupi.train.voice import VoiceRecipe
from edge_lupi.words import folder_word

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "AugmentRecipe",
    "Course",
    "DataRecipe",
    "DistilRecipe",
    "QatRecipe",
    "Recipe",
    "SegmentRecipe",
    "StudentRecipe",
    "TeacherRecipe",
    "load_recipe",
    "recipe_from_plain",
]

MOST_SPEEDS = 16
SOUNDS = ("log-mel", "samples")
KEPT = ("last", "best")
ON_SAMPLES = ("free_speeds", "rooms", "babble", "noises", "levels", "constants", "clipping", "codecs", "wires")


@dataclass(frozen=True)
class DataRecipe:
    """Where the corpus lies (`root`: here, or inside $EDGE_LUPI_DATA), what is learnt, who is held out.

    Of a folder of one's own `pattern` says how its files are called ("{speaker}/{label}/*", see `edge_lupi.data.pattern`), and
    `licence` what may be done with what is learnt from it.

    `test` is a fold or split of the corpus, a share of its speakers or their names; `validation_speakers` a share of the
    training speakers. Of the rest a share of `labelled_speakers` are learnt from with their labels: what the others say and
    show, a student learns from its teacher alone; so of whole corpora named in `unlabelled`, whose voices nobody knows: none
    of them may be one that is tested. Those in `also` train by their labels, and hold nobody out.
    Nothing is learnt of those in `strange` but how sure to be of people and languages that training has not heard.

    `sound` is kept as "log-mel", disturbed as such, or as "samples": then every crop begins at any sample, at a speed of its
    own, is disturbed on the waveform, and teachers hear that very crop. An epoch hears as many crops of an utterance as fit
    into it, `rounds` times.
    """

    root: str
    task: str
    test: str | float | tuple[str, ...]
    validation_speakers: float = 0.0
    labelled_speakers: float = 1.0
    speaker_dependent: bool = False
    unlabelled: tuple[str, ...] = ()
    sound: str = "log-mel"
    rounds: int = 1
    also: tuple[AlsoRecipe, ...] = ()
    strange: tuple[str, ...] = ()
    pattern: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.pattern:
            Pattern(self.pattern)  # checks it
        if self.sound not in SOUNDS:
            raise InputError(f"expected data.sound {' or '.join(SOUNDS)}, got {self.sound!r}")
        within(self, "data", rounds=(1, 10_000))
        if not 0 < self.labelled_speakers <= 1:
            raise InputError(f"expected data.labelled_speakers above 0 and at most 1, got {self.labelled_speakers}")
        within(self, "data", validation_speakers=(0, 1))


@dataclass(frozen=True)
class SegmentRecipe:
    """How sound is cut; `crop_seconds` of every utterance are heard in a training step (non-sequential: one segment).

    With `trim_db` silence before and after the speech is left out: all that is so much below the loudest 50 ms (0: none
    is). With `every` = 2 a training step hears every second segment of a crop: where segments overlap by half, each sound once.
    """

    setting: str = "sequential"
    seconds: float = 1.0
    hop_seconds: float = 0.5
    crop_seconds: float = 2.0
    every: int = 1
    trim_db: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"expected segments.every of at least 1, got {self.every}")
        if self.setting not in ("sequential", "non-sequential"):
            raise InputError(f"expected segments.setting sequential or non-sequential, got {self.setting!r}")
        if self.setting == "non-sequential" and self.crop_seconds != self.seconds:
            raise InputError(
                "expected segments.crop_seconds equal to segments.seconds in the non-sequential setting, where the input is one segment"
            )
        if self.crop_seconds < self.seconds:
            raise InputError(
                f"expected segments.crop_seconds of at least one segment ({self.seconds} s), got {self.crop_seconds}"
            )
        within(self, "segments", crop_seconds=(0.1, 600), every=(1, 1000), trim_db=(0, 200))
        _ = self.segmentation  # checks length and hop

    @property
    def segmentation(self) -> Segmentation:
        """Length and hop as the runtime knows them."""
        return Segmentation(self.seconds, self.hop_seconds)

    @property
    def crop_frames(self) -> int:
        """Frames of a crop."""
        return round(self.crop_seconds * FRAMES_PER_SECOND)


@dataclass(frozen=True)
class Course:
    """How long and how fast to learn: AdamW, linear warm-up over the first tenth, then a cosine to zero."""

    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    weight_decay: float = 0.02

    FEWEST: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.epochs < self.FEWEST or self.batch < 2 or not 0 < self.rate <= 1:
            raise InputError(
                f"expected epochs >= {self.FEWEST}, batch >= 2 and 0 < rate <= 1, got {self.epochs}, {self.batch}, {self.rate}"
            )
        name = type(self).__name__.removesuffix("Recipe").lower()
        within(self, name, epochs=(self.FEWEST, 1_000_000), batch=(2, 1_000_000), weight_decay=(0, 1))


@dataclass(frozen=True)
class TeacherRecipe(Course):
    """The network that hears and sees. `video`: none, features, face or frames; of raw frames `region`: mouth, or whole for a face track.

    With "face" features come from the faces in raw video; with `region` "face" frames are crops of them, the eyes level.
    `face_model` is the .task file that finds them, where it is not that of $EDGE_LUPI_FACE_MODEL. With `shuffle_video` every clip is shown the video of another: the control that must not help.
    """

    size: str = "nano"
    video: str = "none"
    shuffle_video: bool = False
    frame_size: int = 48
    frames_per_second: int = 25
    region: str = "mouth"
    face_model: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.region not in (*REGIONS, "face"):
            raise InputError(f"expected teacher.region among {', '.join(REGIONS)}, face, got {self.region!r}")
        within(self, "teacher", frame_size=(8, 512), frames_per_second=(1, 120))

    def finds_faces(self, video: str) -> bool:
        """Whether faces are looked for where an eye is shown this kind of video."""
        return video == "face" or (video == "frames" and self.region == "face")


@dataclass(frozen=True)
class StudentRecipe(Course):
    """The network that only hears. `margin` holds for verification tasks, `smoothing` of the labels for classes.

    `labels` weighs them beside the teachers; with 0 only those tell. `keep` is the "last" epoch's student, or the "best" one's
    on the validation speakers: nearest to teachers that are asked anew or, without, of the least EER. `start_from` names the
    student.pt whose weights it begins with, `frozen` parts of it that stay as they are, as "encoder" or "encoder.stem". With
    `keep_tasks` it goes on telling what that student tells: one of all tasks, with one encoder, which must be frozen.
    """

    size: str = "nano"
    margin: float = 0.2
    smoothing: float = 0.1
    labels: float = 1.0
    keep: str = "last"
    start_from: str = ""
    frozen: tuple[str, ...] = ()
    keep_tasks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in KEPT:
            raise InputError(f"expected student.keep {' or '.join(KEPT)}, got {self.keep!r}")
        within(self, "student", margin=(0, 3), smoothing=(0, 1), labels=(0, 1000))


@dataclass(frozen=True)
class DistilRecipe:
    """How the student leans on its teachers: on embeddings by `distance`, on `soft` labels at `temperature`; weight 0 is not at all.

    `outputs` = "file.npz:array" names one more teacher by what it says of the training clips: `clip` [N], `classes` [C] and an array
    [N, C], or [folds, N, C] where `data.test` is fold0, fold1 ..., of log-odds or probabilities. It has no embeddings.

    With `part` "audible" or "beyond" the second of two teachers only hears, and of the first's embeddings is taught what it
    can tell, or what it cannot: see `edge_lupi.train.distil.parts`. `fast` weighs what differs between the segments of a crop against
    what they share (Fourier-decoupled distillation, arXiv 2511.19887); 0 leaves it out.
    """

    distance: str = "mse"
    encoder: float = 1.0
    aggregator: float = 1.0
    soft: float = 0.0
    temperature: float = 2.0
    outputs: str = ""
    part: str = "all"
    fast: float = 1.0

    def __post_init__(self) -> None:
        if self.part not in ("all", "audible", "beyond"):
            raise InputError(f"expected distil.part all, audible or beyond, got {self.part!r}")
        if self.fast != 1 and self.distance != "mse":
            raise InputError(f'expected distil.distance = "mse" beside distil.fast, got {self.distance!r}')
        if min(self.encoder, self.aggregator, self.soft) < 0 or self.temperature <= 0:
            raise InputError("expected distil weights of at least 0 and a temperature above 0")
        within(self, "distil", encoder=(0, 1e6), aggregator=(0, 1e6), soft=(0, 1e6), temperature=(1e-3, 1e3))
        within(self, "distil", fast=(0, 1e6))


@dataclass(frozen=True)
class QatRecipe(Course):
    """Fine-tuning on the int8 grid, held to the float student's embeddings (and the teacher's, where there is one).

    With 0 epochs ranges are found and nothing is tuned. A range is `headroom` times the largest magnitude that was heard: a
    grid beyond which nothing goes tells the same however a target writes it (where a tensor cannot be negative, unsigned
    targets clip twice as high as signed ones), and a narrow one rounds less. Ranges that cut off the highest 0.005 % were
    nearer to the float student on average (cosine .9996 against .9994 on unheard voices), and far off where they clipped
    (worst .971 against .997).
    """

    epochs: int = 4
    rate: float = 2e-4
    hold: float = 10.0
    headroom: float = 1.15

    FEWEST: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.headroom <= 10:
            raise InputError(f"expected qat.headroom between 0.1 and 10, got {self.headroom}")
        within(self, "qat", hold=(0, 1e6))


@dataclass(frozen=True)
class AugmentRecipe:
    """What happens to sound on its way to the network in training. `speeds` of a voice count as other voices.

    `reverb_share` of the crops get a decay time drawn from `reverb_seconds` (RT60); `warp` is the largest share by which
    all frequencies of a voice rise or fall, `tempo` the largest by which speech is faster or slower at the same frequencies,
    `equaliser_db` the largest gain of a smooth filter; `mixup` is the parameter of its beta distribution. 0 is off.

    On samples (data.sound), each a share of the crops: `free_speeds` are at any speed of `speed_range`, a voice of nobody's
    name; `rooms` in simulated rooms of `room_seconds` (RT60); `babble` of the batch's other voices and `noises` (hiss, hum,
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
        bounds = {"speed_range": (0.5, 2), "room_seconds": (0.1, 3), "levels_db": (-90, 0)}
        for key in ("speed_range", "room_seconds", "babble_db", "noises_db", "levels_db"):
            found = getattr(self, key)
            if len(found) != 2 or found[0] > found[1]:
                raise InputError(f"expected augment.{key} = [lowest, highest], got {list(found)}")
            within(self, "augment", **{key: bounds.get(key, (-100, 200))})


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on, besides the data."""

    name: str
    data: DataRecipe
    seed: int = 0
    segments: SegmentRecipe = field(default_factory=SegmentRecipe)
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    distil: DistilRecipe = field(default_factory=DistilRecipe)
    qat: QatRecipe = field(default_factory=QatRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    teachers: tuple[LessonRecipe, ...] = ()
    voice: VoiceRecipe = field(default_factory=VoiceRecipe)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"expected a seed of 0 to {(1 << 31) - 1}, got {self.seed}")
        on = [key for key in ON_SAMPLES if getattr(self.augment, key)]
        if on and self.data.sound != "samples":
            raise InputError(f'expected data.sound = "samples" for augment.{on[0]}, got {self.data.sound!r}: set it')
        if self.data.sound == "samples" and self.augment.mixup:
            raise InputError(
                f'expected augment.mixup = 0 where data.sound = "samples", got {self.augment.mixup}: leave one out'
            )
        if self.voice.prior and self.augment.mixup:
            raise InputError("expected augment.mixup = 0 beside voice.prior, as two voices mixed are none")

    def plain(self) -> dict[str, Any]:
        """Dicts, lists, strings and numbers only."""
        return _plain(asdict(self))

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults, as plain content: what a key that is new in edge-lupi leaves as it was."""
        return _differing(self.plain(), _plain(asdict(Recipe(self.name, DataRecipe("", "", "")))))


def _differing(content: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in content.items() if value != usual[key]}
    return {key: _differing(value, usual[key]) if isinstance(value, dict) else value for key, value in found.items()}


def load_recipe(path: str | Path, changes: Sequence[str] | None = None) -> Recipe:
    """Read a recipe; `changes` such as "student.epochs=3" come on top, their values written as in TOML."""
    content = read_toml(path)
    for key in ("sweep", "arms"):  # see edge_lupi.train.sweep.plan
        content.pop(key, None)
    for change in changes or []:
        _apply(content, change)
    found = make(Recipe, content, str(path), "")
    folder_word(found.name, "a recipe's name")  # it becomes a folder
    return found


def recipe_from_plain(content: dict[str, Any]) -> Recipe:
    """A recipe from what `Recipe.plain` gave, as a trained file carries it."""
    return make(Recipe, content, "the trained file", "")


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise InputError(f"expected a change as section.key=value, got {shown(change)}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise InputError(f"expected a change of a section's key, got {shown(change)}")
    content[last] = value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
