"""enroll."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edge_lupi.verbs.options import BundleArgument, DeviceOption, GalleryOption


def enroll(
    name: Annotated[str, typer.Argument(help="Who speaks.")],
    bundle: BundleArgument = None,
    input: Annotated[
        Optional[list[str]], typer.Option(metavar="FILE", help="A recording of them; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=3, max=300, help="Speech to gather from the microphone.")] = 10.0,
    device: DeviceOption = None,
    gallery: GalleryOption = None,
) -> None:
    """Learn a voice, from recordings or from the microphone, so that listen calls it by name."""
    from edge_lupi.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.enrolment import enroll as enroll_voice
    from edge_lupi.runtime.gallery import Gallery, default_gallery_path
    from edge_lupi.runtime.sources import open_source

    student = Bundle.load(bundle or shipped_bundle("speaker"))
    known = Gallery.load(gallery or default_gallery_path(), student.fingerprint)
    known.check_name(name)
    if input:
        sources, enough_seconds = [open_source(path) for path in input], None
    else:
        sources, enough_seconds = [open_source("mic", device=device)], seconds
    speech_seconds = enroll_voice(name, student, known, sources, enough_seconds)
    count = len(known.exemplars(name))
    print(f"{name}: heard {speech_seconds:.1f} s of speech, {count} exemplars in {known.path}")
