"""Install hints: the command that adds an extra to this very installation, as it was made.

install_command("media") -> "pip install 'av>=14'", or from a checkout "pip install -e '/home/ann/edge-lupi[media]'"

The package lies on no index, so a hint names what pip can find: the checkout, the wheel or the repository that it came
from, as pip has noted it (PEP 610), or else the extra's own requirements, which do lie on the index.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["SIZES", "install_command"]

DISTRIBUTION = "edge-lupi"
SIZES = {
    "train": "5.3 GB",
    "media": "0.1 GB",
}  # on the disk, of what takes long to fetch; `serve` and `sign` have some MB


def install_command(extra: str) -> str:
    """What to type for an extra, with the pip of this environment."""
    return f"{_pip()} install {_target(extra)}"


def _target(extra: str) -> str:
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"-e {shlex.quote(f'{_short(checkout)}[{extra}]')}"
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:  # copied to where it is
        return shlex.quote(f"{DISTRIBUTION}[{extra}]")
    return _source(installed, extra) or " ".join(map(shlex.quote, _requirements(installed, extra)))


def _source(installed: Distribution, extra: str) -> str:
    """Where pip had it from, if that is still there; empty where it is not, or came from an index."""
    with suppress(ValueError, KeyError, OSError):
        noted = json.loads(installed.read_text("direct_url.json") or "{}")
        if "vcs_info" in noted:
            return shlex.quote(f"{DISTRIBUTION}[{extra}] @ {noted['vcs_info']['vcs']}+{noted['url']}")
        parts = urlsplit(noted.get("url", ""))
        path = Path(unquote(parts.path))
        if parts.scheme == "file" and path.exists():
            return shlex.quote(f"{_short(path)}[{extra}]")
    return ""


def _requirements(installed: Distribution, extra: str) -> list[str]:
    """What an extra asks for here, as `av>=14`; that of another machine is left out."""
    asked = [re.split(r"\s*;\s*", each, maxsplit=1) for each in installed.requires or ()]
    wanted = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
    return [name for name, *marker in asked if marker and wanted.search(marker[0])] or [f"{DISTRIBUTION}[{extra}]"]


def _short(path: Path) -> str:
    """`.` for the present folder, and otherwise the whole path, which pip takes for no name of a package."""
    with suppress(OSError):
        if path.samefile(os.getcwd()):
            return "."
    return str(path)


def _pip() -> str:
    """`pip` where that is this environment's, which a system's is not (and on Debian refuses, PEP 668)."""
    own = Path(sys.executable).parent / "pip"
    found = shutil.which("pip")
    if found and own.exists() and os.path.samefile(found, own):
        return "pip"
    return shlex.quote(str(own)) if own.exists() else f"{shlex.quote(sys.executable)} -m pip"
