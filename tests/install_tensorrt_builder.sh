#!/usr/bin/env bash
# A real TensorRT builder for the tests, on a machine without a GPU: NVIDIA's Python bindings of TensorRT 11.4 over the
# parser and compiler of TensorRT-RTX, all from pinned wheels, in .tensorrt_builder/ (11/ and lib/); building works,
# running does not. 10/ holds the bindings of 10.3, JetPack 6's version, to look names up, and lean/ NVIDIA's lean runtime
# of 11.4, to see what starts it. Takes seconds, once. Where the
# platform does not allow it, it says why and exits 0: the tests that need it tell the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD/tests target=$PWD/.tensorrt_builder python=${PYTHON:-.venv/bin/python}

stamp=$(cat "$0" "$here/tensorrt_forward.c" | sha256sum | cut -c1-16)-$("$python" -c 'import sys; print(sys.version_info[:2])')
[ -f "$target/installed" ] && [ "$(cat "$target/installed")" = "$stamp" ] && exit 0

refuse() { echo "no TensorRT builder for the tests: $1"; exit 0; }
[ "$(uname -sm)" = "Linux x86_64" ] || refuse "its wheels are for Linux on x86-64, this is $(uname -sm)"
command -v gcc >/dev/null || refuse "gcc is missing (sudo apt-get install gcc)"
"$python" -c 'import sys; sys.exit(not ((3, 10) <= sys.version_info < (3, 13)))' \
    || refuse "its wheels are for Python 3.10 to 3.12, this is $("$python" --version)"

work=$(mktemp -d "$PWD/.tensorrt_builder.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/compiler.txt" <<PINS
onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0 \
  --hash=sha256:32f575c633d171b4edf4b53d3bb22b72a6c9c0a850d2982ce9a788a5d40d3298
tensorrt-cu13-bindings==11.4.0.106 \
  --hash=sha256:1d17853da33a186c4d4d39995c1186bb59f643689aabac9c3e33ae5f0ba402f5 \
  --hash=sha256:d072ac2a095e2be749fefc847adfb25d5ebe70303401df62ede8fe67a59f27fc \
  --hash=sha256:5fc7a6c412881f7212030893bd5531b1a0ff415c72c7678dfe4ead7a7765b38d
PINS
cat >"$work/older.txt" <<PINS
tensorrt-cu12-bindings==10.3.0 \
  --hash=sha256:1d6e4cf08ef1f54f6fd44a33cf6b253050af2fc6e9a1d92e40e1436a1d858eb0 \
  --hash=sha256:59ace22d7f2ca1e9dcde2cb0cb5916912cb3cd5a9d72dd7852be0160d9b3a0ee \
  --hash=sha256:f5c2582aeaa7f5628d2c4d4148a701ebe97be78f7ff3b46a617f0ee0cb5460f2
PINS
cat >"$work/lean.txt" <<PINS
tensorrt-lean-cu13-libs==11.4.0.106 \
  --hash=sha256:e022b8d0e21f19258657aec6760e1de8b454ed176f76217e3f7ec2036c5a9410
tensorrt-lean-cu13-bindings==11.4.0.106 \
  --hash=sha256:9c5828a52253d80c67366b428eb037a779a4d17b47e8276631d1c9862c199b42 \
  --hash=sha256:539faf8524d7e8c5d893857d97d170ef3636f3e71262aafa670797f740e9086a \
  --hash=sha256:c6b70743ca9de8314c7bea75ca2d6221ba9cbc6aadeb0703ed313363f8396071
PINS
for pins in compiler older lean; do
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --dest "$work/wheels" --requirement "$work/$pins.txt" 2>"$work/said" || refuse "$(tail -n 1 "$work/said")"
done

"$python" - "$work" <<'PYTHON'
import sys, zipfile
from pathlib import Path

work = Path(sys.argv[1])
(work / "lib").mkdir()
for wheel in (work / "wheels").glob("*.whl"):
    with zipfile.ZipFile(wheel) as content:
        if "lean" in wheel.name:
            content.extractall(work / "lean")
            (work / "lean" / "tensorrt").mkdir(exist_ok=True)
            source = "from tensorrt_lean_bindings import *\nfrom tensorrt_lean_bindings import __version__\n"
            (work / "lean" / "tensorrt" / "__init__.py").write_text(source)
            continue
        if "bindings" in wheel.name:
            folder = work / ("11" if "cu13" in wheel.name else "10")
            content.extractall(folder)
            (folder / "tensorrt").mkdir()
            source = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
            (folder / "tensorrt" / "__init__.py").write_text(source)
            continue
        for name in content.namelist():
            file = Path(name).name
            if file.startswith(("libtensorrt_rtx.so.", "libtensorrt_onnxparser_rtx.so.")):
                (work / "lib" / file).write_bytes(content.read(name))
                stem = file.split(".so.")[0]
                for alias in (f"{stem}.so", f"{stem}.so.1"):
                    (work / "lib" / alias).symlink_to(file)
PYTHON
for name in nvinfer nvonnxparser nvinfer_plugin; do
    for major in 10 11; do
        gcc -shared -fPIC -O1 -Wall -o "$work/lib/lib$name.so.$major" -Wl,-soname,"lib$name.so.$major" \
            "$here/tensorrt_forward.c" -ldl
    done
done
rm -rf "$work/wheels" "$work"/*.txt "$work/said" "$target"
echo "$stamp" >"$work/installed"
chmod 755 "$work"
mv "$work" "$target"
