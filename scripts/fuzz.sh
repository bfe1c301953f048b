#!/bin/sh
# Try what reads files on mutated inputs for a long time:
#   scripts/fuzz.sh [INPUTS of each reader] [SEED]                 the readers in Python
#   scripts/fuzz.sh c [TARGET|all] [EXECUTIONS of each] [SEED]     the C runtime, under sanitizers
# What the C targets find is written to the current folder; keep it in tests/hostile/corpus/TARGET.
set -eu
here="$(cd "$(dirname "$0")/.." && pwd)"
PYTHONPATH="$here/tests/support:$here/src"
export PYTHONPATH
case "${1:-}" in
c) exec "$here/.venv/bin/python" -m c_fuzzing "${2:-all}" "${3:-10000000}" "${4:-1}" ;;
*) exec "$here/.venv/bin/python" -m fuzzing "${1:-200000}" "${2:-1}" ;;
esac
