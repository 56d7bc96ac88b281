#!/usr/bin/env bash
# Refresh requirements-cpu.lock from pyproject.toml, requirements.in and requirements-excludes.txt.
#
#   TORCH_WHEELS=DIR launch/lock.sh [options of `uv pip compile`, such as --upgrade]
#
# DIR is a folder (or the address of a page) that holds the CPU wheel of the torch version named
# in requirements.in; without it the resolver would take the CUDA build and its 3 GB of libraries.
# Pins stay as they are unless --upgrade or --upgrade-package NAME is given.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${TORCH_WHEELS:-}" ]; then
    echo "lock: set TORCH_WHEELS to a folder that holds the CPU wheel of torch" >&2
    exit 1
fi

lock=requirements-cpu.lock
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

[ -f "$lock" ] && grep -v '^#' "$lock" >"$scratch/resolved" # the pins to keep
"$scratch/venv/bin/uv" pip compile pyproject.toml requirements.in --extra dev \
    --excludes requirements-excludes.txt --find-links "$TORCH_WHEELS" \
    --python-version 3.11 --no-header --no-emit-package torch --quiet \
    --output-file "$scratch/resolved" "$@" >/dev/null

{
    echo "# Written by launch/lock.sh; installed by launch/setup.sh, without a resolver."
    echo "# torch comes before this file, by itself; requirements-excludes.txt stays out."
    sed -e '/^# The following packages were excluded/,$d' -e '/^$/d' -e "s|$PWD/||" "$scratch/resolved"
} >"$scratch/lock"
if grep -nE '^[^#]*(://|\+cpu|^nvidia|^torch==)' "$scratch/lock" >&2; then
    echo "lock: the lines above tie the lock to one machine; $lock is unchanged" >&2
    exit 1
fi
cp "$scratch/lock" "$lock"
echo "lock: $(grep -c '==' "$lock") packages in $lock" >&2
