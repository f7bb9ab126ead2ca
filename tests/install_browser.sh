#!/bin/sh
# Chromium, and what the example of a page needs, for the tests that open pages. Installs what is missing where it may,
# says what to install where it may not, and always exits 0: the tests that need them tell the rest.
set -u
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
    fi
    command -v chromium >/dev/null || echo "for the tests of pages install: chromium (sudo apt-get install chromium)"
fi
lock=examples/browser/package-lock.json installed=examples/browser/node_modules/.package-lock.json
if ! command -v npm >/dev/null; then
    echo "for the test of examples/browser install: nodejs and npm"
elif [ ! -e "$installed" ] || [ "$lock" -nt "$installed" ]; then  # a file that is not there is older to some shells only
    npm ci --prefix examples/browser --ignore-scripts --no-audit --no-fund --silent && touch "$installed" ||
        echo "for the test of examples/browser run: npm ci --prefix examples/browser"
fi
exit 0
