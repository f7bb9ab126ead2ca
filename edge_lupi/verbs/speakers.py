"""The verbs enroll and speakers list, show, rename, merge, remove, export, import, re-embed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edge_lupi.errors import InputError
from edge_lupi.terminal import note, say, say_done, say_json
from edge_lupi.verbs.options import (
    BundleArgument,
    BundleToHearArgument,
    DeviceOption,
    GalleryOption,
    JsonOption,
    examples,
    finite,
)
from edge_lupi.words import printable

if TYPE_CHECKING:
    from edge_lupi.runtime.speakers.gallery import Gallery

ENROLL_EXAMPLES = examples(
    ("edge-lupi enroll ann", "from the microphone"),
    ("edge-lupi enroll ann --input a.wav --input b.wav", "from recordings"),
    ("edge-lupi enroll ann --replace", "as if for the first time"),
)
speakers = typer.Typer(
    epilog=examples(
        ("edge-lupi speakers list", "who is known"),
        ("edge-lupi speakers rename ann anna", "she is called anna from now on"),
        ("edge-lupi speakers merge al ann", "two names are one person"),
        ("edge-lupi speakers remove ann", "she is forgotten"),
        ("edge-lupi speakers export people.json", "to take along; speakers import there"),
    ),
    help="The known speakers: who they are, forgetting them, and taking them to another device.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who, as speakers list has it.")]


def enroll(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who speaks.")],
    bundle: BundleToHearArgument = None,
    recordings: Annotated[
        Optional[list[str]],
        typer.Option(
            "--input",
            metavar="FILE",
            help="A recording of them alone; may be repeated.",
            show_default="the microphone",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=3, max=300, help="Seconds of speech to gather from the microphone.", callback=finite)
    ] = 10.0,
    device: DeviceOption = None,
    gallery: GalleryOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Forget their earlier recordings.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take speech that would be refused, unless too short.")
    ] = False,
    keep_audio: Annotated[
        bool, typer.Option("--keep-audio", help="Keep the sound too, for speakers re-embed; otherwise none is kept.")
    ] = False,
    emotion: Annotated[
        Optional[Path],
        typer.Option(
            metavar="BUNDLE",
            help="To this bundle, how they usually sound is kept, if it asks for that.",
            show_default="the one that comes with edge-lupi",
        ),
    ] = None,
) -> None:
    """Learn a voice, from recordings or from the microphone, so that listen calls it by name."""
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.enrolment.enrolment import enroll as enroll_voice
    from edge_lupi.runtime.enrolment.usual import voice_task
    from edge_lupi.runtime.sources.open import open_source
    from edge_lupi.runtime.speakers.gallery import default_gallery_path

    _check_name_is_one_word(name, bundle)
    student, moods = Bundle.load(bundle or shipped_bundle("speaker")), Bundle.load(emotion or shipped_bundle("emotion"))
    sources = [open_source(path) for path in recordings] if recordings else [open_source("mic", device=device)]
    found = enroll_voice(
        name,
        student,
        gallery or default_gallery_path(),
        sources,
        None if recordings else seconds,
        replace=replace,
        force=force,
        keep_audio=keep_audio,
        emotion=moods if voice_task(moods) else None,
    )
    say_done(
        f"{found.name}: heard {found.speech_seconds:.1f} s of speech, {_exemplars(found.exemplars)} in {found.path}"
    )
    if found.resembles:
        other, cosine = found.resembles
        merge = shlex.join(["edge-lupi", "speakers", "merge", found.name, other])
        note(
            f"{found.name} sounds like {other} (cosine {cosine:.2f}): they may be taken for each other; if they are one, {merge}"
        )


def _check_name_is_one_word(name: str, bundle: Path | None) -> None:
    """What follows the name is a bundle; where none is there, it is mostly the second word of the name."""
    from edge_lupi.disk import kind_of

    if bundle is not None and not bundle.suffix and kind_of(bundle) == "nothing":
        whole = shlex.quote(f"{name} {bundle}")
        raise InputError(
            f"expected a bundle (a .lupi folder) or none after the name, got {printable(str(bundle))!r}: "
            f"a name of two words goes into quotes, {printable(whole)}"
        )


@speakers.command("list")
def list_speakers(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Who is known."""
    known = _gallery(gallery)
    if as_json:
        say_json({"gallery": str(known.path), "student": known.fingerprint, "speakers": known.names})
        return
    for name in known.names:
        say(f"{name:<24} {_exemplars(len(known.exemplars(name)))}")
    if not known.names:
        note(f"nobody is known in {known.path}: edge-lupi enroll NAME")


@speakers.command(short_help="How alike somebody's exemplars are, and who sounds like them.")
def show(name: NameArgument, gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """What is known of one speaker: how alike their exemplars are, and who else sounds like them."""
    known = _gallery(gallery)
    exemplars = known.exemplars(name)
    alike = float((exemplars @ exemplars.T).min())
    others = [found for exemplar in exemplars if (found := known.match(exemplar, leave_out=name))]
    nearest = max(others, key=lambda found: found[1], default=None)
    if as_json:
        near = nearest and {"name": nearest[0], "cosine": round(nearest[1], 4)}
        say_json(
            {
                "name": name,
                "exemplars": len(exemplars),
                "least_cosine": round(alike, 4),
                "nearest": near,
                "narrow_band": known.narrow_band(name),
            }
        )
        return
    say(
        f"name       {name}",
        f"exemplars  {len(exemplars)}, the least alike with a cosine of {alike:.2f}",
        f"nearest    {f'{nearest[0]}, cosine {nearest[1]:.2f}' if nearest else 'nobody else is known'}",
        f"student    {known.fingerprint[:16]}",
        *(
            ["band       narrow: learnt from telephone speech; enrol again from a microphone"]
            if known.narrow_band(name)
            else []
        ),
    )


@speakers.command(short_help="Forget a speaker, and all recordings of them.")
def remove(name: NameArgument, gallery: GalleryOption = None) -> None:
    """Forget a speaker: their voice, and the recordings of them if any were kept."""
    from edge_lupi.runtime.speakers.gallery import Gallery
    from edge_lupi.words import composed

    with Gallery.changed(_path(gallery)) as known:
        known.remove(name)
    say_done(f"{composed(name)} is forgotten; {len(known.names)} speakers are left in {known.path}")


@speakers.command(short_help="Call a speaker by another name.")
def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name from now on.")],
    gallery: GalleryOption = None,
) -> None:
    """Call a speaker by another name: their voice, and their recordings if any were kept."""
    from edge_lupi.runtime.speakers.gallery import Gallery
    from edge_lupi.words import composed

    with Gallery.changed(_path(gallery)) as known:
        called = known.rename(name, new)
    say_done(f"{composed(name)} is called {called} from now on, in {known.path}")


@speakers.command(short_help="Two names are one person.")
def merge(
    name: NameArgument,
    into: Annotated[str, typer.Argument(metavar="INTO", help="Who they are as well; this name stays.")],
    force: Annotated[bool, typer.Option("--force", help="Also where the voices are unlike.")] = False,
    gallery: GalleryOption = None,
) -> None:
    """Two names are one person: all that is known of the one is known of the other."""
    from edge_lupi.runtime.speakers.gallery import Gallery
    from edge_lupi.words import composed

    with Gallery.changed(_path(gallery)) as known:
        likeness = known.merge(name, into, force=force)
    count = _exemplars(len(known.exemplars(into)))
    say_done(f"{composed(name)} is {composed(into)} (cosine {likeness:.2f}): {count} in {known.path}")


@speakers.command(short_help="Write speakers to a file, for another device.")
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to.")],
    name: Annotated[Optional[list[str]], typer.Option(help="Only this speaker; may be repeated.")] = None,
    gallery: GalleryOption = None,
) -> None:
    """Write speakers to a file of their own, for another device with the same student. It holds no sound."""
    from edge_lupi.disk import kind_of
    from edge_lupi.errors import InputError

    known = _gallery(gallery)
    if kind_of(out) != "nothing":
        raise InputError(f"expected a file that is not there yet, got {out}: choose another name")
    chosen = known.only(name or known.names, out)
    if not chosen.names:
        raise InputError(f"expected speakers in {known.path}, got nobody: edge-lupi enroll NAME")
    chosen.save()
    say_done(f"{', '.join(chosen.names)}: written to {out}")


@speakers.command("import")
def import_speakers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote.")],
    rename: Annotated[
        Optional[list[str]], typer.Option(metavar="OLD=NEW", help="Take a speaker by another name; may be repeated.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Speakers of the same name give way.")] = False,
    gallery: GalleryOption = None,
) -> None:
    """Add the speakers of a file to those that are known. All of them or none."""
    from edge_lupi.disk import kind_of
    from edge_lupi.errors import InputError
    from edge_lupi.runtime.speakers.gallery import Gallery

    if kind_of(file) == "nothing":
        raise InputError(f"expected a file of speakers at {file}, got none: check the path")
    pairs = [pair.partition("=") for pair in rename or []]
    if not all(old and new for old, _, new in pairs):
        raise InputError(f"expected --rename OLD=NEW, got {' '.join(rename or [])!r}")
    with Gallery.changed(_path(gallery)) as known:
        names = known.take(Gallery.load(file), renamed={old: new for old, _, new in pairs}, replace=replace)
    say_done(f"{', '.join(names)}: added to {known.path}")


@speakers.command("re-embed", short_help="Learn all voices again, for another student.")
def re_embed(bundle: BundleArgument = None, gallery: GalleryOption = None) -> None:
    """Learn everybody's voice again for another student, from the recordings that enroll --keep-audio kept."""
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.enrolment.enrolment import re_embed as embed_again

    known = embed_again(Bundle.load(bundle or shipped_bundle("speaker")), _path(gallery))
    say_done(f"{', '.join(known.names)}: learnt again in {known.path}")


def _exemplars(count: int) -> str:
    return f"{count} exemplar{'s' * (count != 1)}"


def _path(gallery: Path | None) -> Path:
    from edge_lupi.runtime.speakers.gallery import default_gallery_path

    return gallery or default_gallery_path()


def _gallery(gallery: Path | None) -> Gallery:
    from edge_lupi.runtime.speakers.gallery import Gallery

    return Gallery.load(_path(gallery))
