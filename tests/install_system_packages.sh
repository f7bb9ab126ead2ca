#!/bin/sh
# System packages that the tests of microphones and brokers and the examples need. Installs what is missing where it may (root, apt),
# says what to install where it may not, and always exits 0: the tests that need them tell the rest.
set -u
packages="libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils espeak-ng mosquitto"

missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word per package
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "for the tests of microphones and brokers install:$missing (sudo apt-get install$missing)"
exit 0
