#!/bin/sh
# Set up, build the embedded default for this machine and for browsers, and generate text with it.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh build
.venv/bin/chimerac build home --target x86_64-avx2 --target wasm --out dist
echo
echo '$ chimerac run dist/home.x86_64-avx2 "turn off the lights in the bedroom"'
.venv/bin/chimerac run dist/home.x86_64-avx2 "turn off the lights in the bedroom"
echo
echo "For the browser: .venv/bin/chimerac serve dist/home.wasm"
