#!/usr/bin/env bash
# The pretended driver, built into a folder: LD_LIBRARY_PATH=FOLDER PYTHONPATH=tests/gpu/pretended edge-lupi ... has a GPU.
set -euo pipefail
exec "${CC:-cc}" -shared -fPIC -O1 -Wall -Wextra -Werror -pthread -Wl,-soname,libcuda.so.1 \
    -o "${1:?the folder to build into}/libcuda.so.1" "$(dirname "$0")/driver.c"
