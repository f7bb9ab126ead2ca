"""A signature says who made a bundle: not its hashes, which a forger writes anew."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from edge_lupi.bundle.bundle import Bundle, shipped_bundle
from edge_lupi.bundle.signature import SIGNATURE, sign_manifest
from edge_lupi.bundle.write import write_bundle
from edge_lupi.errors import BundleError, InputError
from edge_lupi.installed import install_command

Cli = Callable[..., CompletedProcess[str]]
Keys = tuple[Path, Path]


def key_pair(folder: Path) -> Keys:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    key = ed25519.Ed25519PrivateKey.generate()
    folder.mkdir()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    (folder / "private.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "private.pem", folder / "public.pem"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return key_pair(tmp_path / "keys")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(shipped_bundle("speaker"), tmp_path / "x.lupi")


def signed(bundle: Path, private: Path) -> Path:
    found = Bundle.load(bundle)
    return sign_manifest(bundle, found.papers["manifest.json"], private)


def test_signed_and_required(bundle: Path, keys: Keys) -> None:
    assert signed(bundle, keys[0]).read_bytes().strip().isalnum()
    assert Bundle.load(bundle, keys[1]).files == Bundle.load(bundle).files


def test_a_forger_writes_hashes_anew_and_no_signature(bundle: Path, keys: Keys) -> None:
    signed(bundle, keys[0])
    kept = (bundle / SIGNATURE).read_bytes()
    found = Bundle.load(bundle)
    write_bundle(bundle, {**found.manifest, "licence": "mine"}, found.files, found.tasks)
    Bundle.load(bundle)
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.load(bundle, keys[1])
    (bundle / SIGNATURE).write_bytes(kept)
    with pytest.raises(BundleError, match="was not signed by the holder of"):
        Bundle.load(bundle, keys[1])


@pytest.mark.parametrize("content", [b"", b"\xff" * 128, b"0" * 128, b"0" * 127, b"0" * 4000])
def test_what_is_no_signature(bundle: Path, keys: Keys, content: bytes) -> None:
    (bundle / SIGNATURE).write_bytes(content)
    with pytest.raises(BundleError, match="not signed"):
        Bundle.load(bundle, keys[1])


def test_another_makers_key(bundle: Path, keys: Keys, tmp_path: Path) -> None:
    signed(bundle, keys[0])
    with pytest.raises(BundleError, match="was not signed by the holder of"):
        Bundle.load(bundle, key_pair(tmp_path / "others")[1])


def test_what_is_no_key(bundle: Path, keys: Keys) -> None:
    signed(bundle, keys[0])
    with pytest.raises(InputError, match="expected a public Ed25519 key in PEM"):
        Bundle.load(bundle, keys[0])
    with pytest.raises(InputError, match="expected a private Ed25519 key in PEM"):
        signed(bundle, keys[1])
    with pytest.raises(InputError, match=r"expected a public key at .*, got no such file"):
        Bundle.load(bundle, keys[1].with_name("none.pem"))


def test_engines_that_nobody_signed_do_not_run(bundle: Path, keys: Keys) -> None:
    signed(bundle, keys[0])
    (bundle / "engines").mkdir()
    (bundle / "engines" / "engines.json").write_text("7")
    assert Bundle.load(bundle, keys[1]).engines == ()


def test_on_the_command_line(
    bundle: Path, keys: Keys, cli: Cli, sound_file: Callable[..., Path], voice: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("listen", bundle, "--input", sound_file("a.wav", voice(1, 3.0)), "--gallery", tmp_path / "none.json")
    refused = cli(*words, "--require-signature", keys[1])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"edge-lupi: {bundle} is not signed")
    done = cli("sign", bundle, "--key", keys[0])
    assert (done.returncode, done.stdout) == (0, f"signed: {bundle / SIGNATURE}\n"), done.stderr
    assert cli(*words, "--require-signature", keys[1]).returncode == 0


def test_without_the_extra_one_sentence(bundle: Path) -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None; from pathlib import Path\n"
        "from edge_lupi.bundle.bundle import Bundle; from edge_lupi.errors import MissingExtra\n"
        f"try: Bundle.load({str(bundle)!r}, Path('key.pem'))\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"edge-lupi with signatures needs cryptography: {install_command('sign')}\n"
