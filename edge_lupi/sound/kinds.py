"""What kind of sound file begins with these bytes, as people call it; nothing where they may be raw samples."""

from __future__ import annotations

__all__ = ["HEAD_BYTES", "sound_kind"]

HEAD_BYTES = 4096  # two frames of an MP3 are the longest that is needed
MAGIC = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "OGG"),
    (0, b"ID3", "MP3"),
    (0, b"RIFX", "WAV"),
    (0, b"RF64", "WAV"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (4, b"ftyp", "MP4"),
)
MPEG_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
LAYER_3_KBPS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def sound_kind(head: bytes) -> str:
    """The kind, or an empty word. Four letters are no proof against raw samples, but as good as one: 1 in 4 billion."""
    if head[:4] == b"RIFF":
        return "AVI" if head[8:12] == b"AVI " else "WAV"
    for offset, magic, kind in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    length = _mp3_frame(head)
    return "MP3" if length and _mp3_frame(head[length:]) else ""


def _mp3_frame(head: bytes) -> int:
    """Bytes of the MPEG layer III frame that begins here; 0 where none does. Two in a row are no chance."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bitrate = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or bitrate in (0, 15):
        return 0
    kbps = LAYER_3_KBPS[version == 3][bitrate]
    return (144 if version == 3 else 72) * kbps * 1000 // MPEG_RATES_HZ[version][rate] + (head[2] >> 1 & 1)
