"""A stranger's walk: a bare Debian 12, a new user, and the README's first commands as they are printed, with times.

sudo python3 tests/dist/walk.py /tmp/bare [RECORDING SOUND]

/tmp/bare is made by debootstrap where it is not there (300 MB). RECORDING is of one person, who is enrolled; SOUND is then listened to.
What is checked out is the commit of this repository. Needs root, debootstrap, and a way to Debian's and Python's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.docs.blocks import Block, blocks  # noqa: E402

USER = "stranger"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def main(bare: Path, sounds: list[Path]) -> None:
    """Walk, and say after each step how long it took."""
    if not (bare / "usr").is_dir():
        step("a bare Debian 12", ["debootstrap", "--variant=minbase", "bookworm", str(bare)])
    mount(bare)
    try:
        first = [
            block for block in blocks("README.md") if not block.needs or block.needs.startswith(("root", "a package"))
        ][:3]
        apt = (
            first[0]
            .text.replace("sudo apt-get", "apt-get update -qq && apt-get")
            .replace("install", "install -y -qq", 1)
        )
        step("system packages", inside(bare, "root", apt))
        fetch(bare, sounds)
        begun = time.monotonic()
        step("clone", inside(bare, USER, "cd ~ && rm -rf copy .cache .local && git clone -q /tmp/copy.bundle copy"))
        for block in first[1:]:
            step(block.commands[0], inside(bare, USER, typed(block)))
        for command in named(sounds):
            step(command, inside(bare, USER, f"cd ~/copy && . .venv-edge/bin/activate && {command}"))
        print(f"from clone to here {time.monotonic() - begun:.0f} s", flush=True)
    finally:
        for part in ("proc", "dev"):
            subprocess.run(["umount", bare / part], check=True)


def named(sounds: list[Path]) -> list[str]:
    """Somebody is enrolled from the first, and heard in the second."""
    return (
        [f"edge-lupi enroll alice --input ~/{sounds[0].name}", f"edge-lupi listen --input ~/{sounds[1].name}"]
        if sounds
        else []
    )


def typed(block: Block) -> str:
    """In the copy, in the environment once it is there."""
    return f"cd ~/copy; [ ! -e .venv-edge ] || . .venv-edge/bin/activate; set -e\n{block.text}"


def mount(bare: Path) -> None:
    for part, how in (("proc", ["-t", "proc", "proc"]), ("dev", ["--bind", "/dev"])):
        if not os.path.ismount(bare / part):
            subprocess.run(["mount", *how, bare / part], check=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, bare / "etc" / name)


def fetch(bare: Path, sounds: list[Path]) -> None:
    """The user, the commit as a git bundle, the recordings, and this machine's certificates for pip."""
    subprocess.run(["chroot", bare, "/usr/sbin/useradd", "-m", "-s", "/bin/bash", USER], stderr=subprocess.DEVNULL)
    subprocess.run(["git", "-C", ROOT, "bundle", "create", "-q", bare / "tmp" / "copy.bundle", "HEAD"], check=True)
    for sound in sounds:
        shutil.copy(sound, bare / "home" / USER / sound.name)
    shutil.copy(CERTIFICATES, bare / "tmp" / "certificates.crt")
    for path in (bare / "tmp" / "copy.bundle", bare / "tmp" / "certificates.crt"):
        path.chmod(0o644)


def inside(bare: Path, user: str, text: str) -> list[str]:
    """As typed by this user, who has nothing set but what a login sets."""
    home = "/root" if user == "root" else f"/home/{user}"
    clean = [
        "env",
        "-i",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        f"HOME={home}",
    ]
    clean += ["DEBIAN_FRONTEND=noninteractive", "PIP_CERT=/tmp/certificates.crt"]
    return ["chroot", f"--userspec={user}:{user}", str(bare), *clean, "bash", "-c", text]


def step(name: str, command: list[str]) -> None:
    begun = time.monotonic()
    print(f"\n== {name}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("\n".join(done.stdout.splitlines()[-8:]))
    print(f"-- {time.monotonic() - begun:.0f} s", flush=True)
    if done.returncode:
        sys.exit(f"{name}: exit code {done.returncode}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:4]])
