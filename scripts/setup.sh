#!/bin/sh
# Make .venv with chimerac in it: setup.sh [extra], extra being build (default) or test.
set -eu
cd "$(dirname "$0")/.."
extra=${1:-build}
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "chimerac needs Python 3.11 or newer; set PYTHON to one" >&2
  exit 1
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
# --no-compile: of thousands of files some hundreds are imported, and those are compiled then
# torch first and alone: a range in another package must not pull a build with GPU libraries
.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0
.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --editable ".[$extra]"
if [ "$extra" = test ]; then
  # a peer that tests compare with; without its requirements, which are large and not needed for that
  .venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --no-deps xgrammar==0.2.8
fi
