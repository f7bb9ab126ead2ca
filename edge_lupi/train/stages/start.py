"""Transfer learning: a student begins with a trained student's weights, parts of them frozen. student.pt -> weights.

The encoder is taken always; an aggregator where task and setting are the same, a header's rows for the labels that both
know. A student on the int8 grid has its batch norms folded into its convolutions: they are put back, with the means and
deviations that the new training speech has there, so it computes what it did and learns as one that never was folded.
Where the whole encoder is frozen it stays as it is, to the bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_lupi.bundle.provenance import Provenance
from edge_lupi.data.digest import file_digest
from edge_lupi.data.utterance import Utterance
from edge_lupi.errors import InputError
from edge_lupi.models.encoder import AnyEncoder
from edge_lupi.models.files import TrainedStudent, load_student
from edge_lupi.models.header import ClassHeader
from edge_lupi.models.rounding import convolutions
from edge_lupi.models.student import Student
from edge_lupi.models.unit import adds_alone
from edge_lupi.words import printable

__all__ = ["Start", "freeze", "open_start", "put_norms_back", "take_weights"]

SHOWN_DEPTH = 3  # of names, in a message
KEPT = (
    "corpus",
    "licence",
    "training_speakers",
    "training_names",
    "training_utterances",
    "speaker_dependent",
    "distilled",
)


@dataclass(frozen=True)
class Start:
    """The student that another begins from, and the sha256 of its file."""

    path: Path
    trained: TrainedStudent
    digest: str

    @property
    def trainings(self) -> tuple[Provenance, ...]:
        """Where its weights come from, the latest training first: what a student that began here has heard, too."""
        provenance = self.trained.provenance
        own = {key: getattr(provenance, key) for key in KEPT}
        begun = {key: value for key, value in provenance.more.items() if key == "begun_from"}
        return (Provenance(**own, sha256=self.digest, more=begun), *(provenance.started_from or ()))

    def licences(self, own: str) -> str:
        """Of all corpora that a student has heard which began here."""
        every = [own, *(training.licence or "unknown" for training in self.trainings)]
        parts = dict.fromkeys(part for licence in every for part in licence.split("; "))
        return "; ".join(one for one in parts if not any(other.endswith(f": {one}") for other in parts))

    def refuse_heard(self, corpus: str, tested: Sequence[Utterance]) -> None:
        """Raise where it has heard a voice of this corpus that the new student is to be tested on."""
        for training in self.trainings:
            heard = set(training.training_speakers or ()) if training.corpus == corpus else set()
            known = sorted(heard & {u.speaker for u in tested if u.speaker})
            if known:
                raise InputError(
                    f"expected a student to start from that has not heard the test speakers of {corpus}, got {self.path}, which knows {len(known)} ({', '.join(known[:5])}): choose another, or another data.test"
                )


def open_start(path: str | Path, size: str) -> Start:
    """A student.pt to begin from. Raises InputError where its encoder is of another size."""
    trained = load_student(path)
    found = trained.student.config.size
    if found != size:
        raise InputError(
            f'expected student.size = "{found}", as {path} is that it starts from, got "{size}": change the recipe'
        )
    return Start(Path(path), trained, file_digest(Path(path)))


def take_weights(student: Student, start: Start, frozen: Sequence[str], log_mels: Iterable[Tensor]) -> str:
    """Take a trained student's weights, in place, and freeze what is named; says for people what was taken, and what is new.

    `log_mels` [B, 80, 1, F] are of the speech that is to be learnt from; they are looked at only where norms are put back.
    """
    source = start.trained.student
    if "encoder" in frozen:
        student.encoder = copy.deepcopy(source.encoder)
    elif any(isinstance(module, nn.BatchNorm2d) for module in source.encoder.modules()):
        student.encoder.load_state_dict(source.encoder.state_dict())
    else:
        put_norms_back(student.encoder, source.encoder, log_mels)
    summary: dict[str, list[str]] = {"taken": ["encoder"], "new": [], "frozen": list(frozen)}
    for task in student.config.tasks:
        known = next((other for other in source.config.tasks if other.name == task.name), None)
        branch = student.branch(task.name)
        if known is None or student.config.setting != source.config.setting:
            summary["new"] += [f"{name} of {task.name}" for name, part in branch.named_children() if _learns(part)]
            continue
        theirs = source.branch(task.name)
        branch.aggregator.load_state_dict(theirs.aggregator.state_dict())
        summary["taken"] += [f"aggregator of {task.name}"] if _learns(branch.aggregator) else []
        if branch.voice is not None and theirs.voice is not None:
            branch.voice.load_state_dict(theirs.voice.state_dict())
        if branch.header is not None:
            shared = _take_rows(branch.header, task.labels, theirs.header, known.labels)
            if branch.voice is None and theirs.voice is not None:
                _hear_whole(branch.header, [task.labels.index(label) for label in shared], theirs.voice.population)
            summary["taken"] += [f"{len(shared)} of {len(task.labels)} labels of {task.name}"] if shared else []
            summary["new"] += [printable(label) for label in task.labels if label not in shared]
    freeze(student, frozen)
    return f"from {start.path}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in summary.items() if names)


def _learns(part: nn.Module) -> bool:
    return any(True for _ in part.parameters())


@torch.no_grad()
def _hear_whole(header: ClassHeader, rows: Sequence[int], population: Tensor) -> None:
    """Rows that were learnt of utterances less a mean [D] give the same scores for utterances as they are, in place."""
    header.linear.bias[rows] -= header.linear.weight[rows] @ population


def _take_rows(
    header: ClassHeader, labels: Sequence[str], other: ClassHeader | None, known: Sequence[str]
) -> list[str]:
    """Copy the weights of every label that both headers know, in place; which these are."""
    shared = [label for label in labels if label in known and other is not None]
    to, of = [labels.index(label) for label in shared], [known.index(label) for label in shared]
    if other is not None:
        with torch.no_grad():
            header.linear.weight[to], header.linear.bias[to] = other.linear.weight[of], other.linear.bias[of]
    return shared


def freeze(student: Student, names: Sequence[str]) -> None:
    """Parts by their names, as "encoder" or "encoder.blocks.0": their weights stay. Raises InputError for unknown ones."""
    modules = {name: module for name, module in student.named_modules() if name and _learns(module)}
    unknown = [name for name in names if name not in modules]
    if unknown:
        known = ", ".join(name for name in modules if name.count(".") < SHOWN_DEPTH)
        raise InputError(
            f"expected student.frozen to name parts of the student, got {printable(', '.join(unknown))[:80]}: known are {known}, and parts of these"
        )
    for name in names:
        modules[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise InputError(
            f"expected student.frozen to leave something to learn, got {', '.join(names)}: name fewer parts"
        )


@torch.no_grad()
def put_norms_back(encoder: AnyEncoder, folded: AnyEncoder, log_mels: Iterable[Tensor]) -> None:
    """Make an unfolded encoder of a folded one that computes the same; its norms have the statistics of log_mels [B, 80, 1, F]."""
    before, norms = dict(convolutions(folded)), _norms_by_convolution(encoder)
    state = encoder.state_dict()
    for name, value in folded.state_dict().items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)
    moments = _moments(folded, log_mels)
    for name, conv in convolutions(encoder):
        squares = before[name].kernel_size[0] // conv.kernel_size[0]
        conv.weight.copy_(F.pixel_unshuffle(before[name].weight, squares) if squares > 1 else before[name].weight)
        bias = before[name].bias
        if name in norms and bias is not None:
            adds_alone(norms[name], bias, *moments[name])
            if conv.bias is not None:
                conv.bias.zero_()


def _norms_by_convolution(encoder: AnyEncoder) -> dict[str, nn.BatchNorm2d]:
    """The norm that takes a convolution's result, by the convolution's name: seen by what flows where."""
    made: list[tuple[str, Tensor]] = []
    found: dict[str, nn.BatchNorm2d] = {}

    def note_made(name: str, result: Tensor) -> None:
        made.append((name, result))

    def note_taken(norm: nn.BatchNorm2d, given: Tensor) -> None:
        found.update({name: norm for name, result in made if result is given})

    hooks = [
        conv.register_forward_hook(lambda _, __, result, name=name: note_made(name, result))
        for name, conv in convolutions(encoder)
    ]
    hooks += [
        norm.register_forward_pre_hook(lambda norm, given: note_taken(norm, given[0]))
        for norm in encoder.modules()
        if isinstance(norm, nn.BatchNorm2d)
    ]
    training = encoder.training
    encoder.eval()(torch.zeros(1, 80, 1, 100))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return found


def _moments(folded: AnyEncoder, log_mels: Iterable[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance [C] of what every convolution gives, without its bias."""
    sums: dict[str, list[Tensor]] = {}

    def add(name: str, conv: nn.Conv2d, result: Tensor) -> None:
        values = result.double() - (0 if conv.bias is None else conv.bias.double()[:, None, None])
        rows = values.transpose(0, 1).flatten(1)
        parts = torch.tensor(float(rows.shape[1])), rows.sum(1), rows.square().sum(1)
        sums[name] = [a + b for a, b in zip(sums[name], parts, strict=True)] if name in sums else list(parts)

    hooks = [
        conv.register_forward_hook(lambda conv, _, result, name=name: add(name, conv, result))
        for name, conv in convolutions(folded)
    ]
    for frames in log_mels:
        folded.eval()(frames)
    for hook in hooks:
        hook.remove()
    means = {name: (first / count, second / count) for name, (count, first, second) in sums.items()}
    return {
        name: (mean.float(), (square - mean.square()).clamp_min(0).float()) for name, (mean, square) in means.items()
    }
