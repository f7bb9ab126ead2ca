"""Signature of a bundle: an Ed25519 signature (RFC 8032) over manifest.json, which holds the sha256 of every other file.

A hash in the same folder finds damage, not a forger, who writes both anew. A signature finds the forger, if the listener
has the maker's public key from elsewhere. Keys are PEM files, as `openssl genpkey -algorithm ed25519` writes them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_lupi.disk import locked, read_bounded, write_at_once, writing
from edge_lupi.errors import BundleError, InputError, MissingExtra

__all__ = ["SIGNATURE", "check_signature", "sign_manifest", "signature_of"]

SIGNATURE = "manifest.sig"
PURPOSE = b"edge-lupi bundle 1\n"  # in front of what is signed: a signature of something else is none of a bundle
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 1 << 14


def sign_manifest(folder: Path, manifest: bytes, private_key: Path) -> Path:
    """Write the signature into the bundle's folder, at once or not at all; gives its file."""
    signature = _loaded(private_key, "private", "sign").sign(PURPOSE + manifest)
    file = folder / SIGNATURE
    with writing(file, "nothing was changed; sign where you may write"), locked(folder):
        write_at_once(file, signature.hex().encode() + b"\n")
    return file


def check_signature(folder: Path, manifest: bytes, public_key: Path) -> None:
    """Raise BundleError unless the holder of this key has signed these bytes."""
    key = _loaded(public_key, "public", "with signatures")
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(bytes.fromhex(_read(folder).decode("ascii")), PURPOSE + manifest)
    except InputError as error:
        raise BundleError(
            f"{folder} is not signed ({error}): ask its maker for edge-lupi sign, or do not require it"
        ) from error
    except (InvalidSignature, ValueError) as error:
        raise BundleError(
            f"{folder} was not signed by the holder of {public_key}, or was changed since: do not use this bundle"
        ) from error


def signature_of(folder: Path) -> dict[str, bytes]:
    """The signature's file, unchecked, by its name; none where there is none that can be read."""
    with suppress(InputError):
        return {SIGNATURE: _read(folder)}
    return {}


def _read(folder: Path) -> bytes:
    return read_bounded(folder / SIGNATURE, 2 * SIGNATURE_BYTES + 1, "a signature", follow_links=False)


def _loaded(file: Path, kind: str, verb: str) -> Any:
    """An Ed25519 key of this kind, public or private, from a PEM file."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtra(verb, "cryptography", "sign") from error
    data = read_bounded(file, MAX_KEY_BYTES, f"a {kind} key")
    try:
        if kind == "public":
            key: Any = serialization.load_pem_public_key(data)
            right = isinstance(key, ed25519.Ed25519PublicKey)
        else:
            key = serialization.load_pem_private_key(data, None)
            right = isinstance(key, ed25519.Ed25519PrivateKey)
    except Exception as error:  # a password, no PEM, another curve: several families
        raise InputError(_wanted(file, kind)) from error
    if not right:
        raise InputError(_wanted(file, kind))
    return key


def _wanted(file: Path, kind: str) -> str:
    made = "openssl genpkey -algorithm ed25519" if kind == "private" else "openssl pkey -in KEY -pubout"
    return (
        f"expected a {kind} Ed25519 key in PEM without a password in {file}, got something else: make one with {made}"
    )
