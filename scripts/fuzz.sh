#!/bin/sh
# Try the readers in Python on mutated inputs for a long time: scripts/fuzz.sh [INPUTS of each reader] [SEED].
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=tests/support exec .venv/bin/python -m fuzzing "${1:-200000}" "${2:-1}"
