#!/usr/bin/env bash
# Install everything into .venv: a machine with Python 3.11 and g++ is enough, no GPU is needed.
#
#   launch/setup.sh
#   TORCH_INDEX=URL launch/setup.sh    take torch from this package index
#   PYTHON=/path/to/python3.11 launch/setup.sh
#
# Recipes that run programs of a model (filter.code, eval.allow_code) want bubblewrap as well
# (apt-get install bubblewrap); `tsqa doctor` tells what there is.
#
# TORCH_INDEX is for machines whose pip finds the CUDA build of torch (pip's default on Linux):
# give the address of PyTorch's CPU wheel index, which pytorch.org/get-started shows under "CPU".
#
# A finished install is stamped with the hash of the lock and pyproject.toml, so a second call
# returns at once; an install that was interrupted is started afresh (pip's cache is kept).
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
lock=requirements-cpu.lock
torch=torch==2.13.0
free_gib=6
stamp=$venv/.tsqa-$(cat "$lock" pyproject.toml | sha256sum | cut -c1-64)
unfinished=$venv/.tsqa-unfinished
log=$venv/.tsqa-pip.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

say() { echo "setup: $*" >&2; }
die() {
    say "$1"
    echo "  fix: $2" >&2
    exit 1
}

[ -f "$stamp" ] && exit 0

torch_cuda() { # prints the CUDA version that the installed torch was built for, or None
    sed -n 's/^cuda.*= *//p' "$venv"/lib/python3*/site-packages/torch/version.py 2>/dev/null | tr -d "'\""
}

# An environment that somebody made for a GPU is not turned into a CPU one.
built_for=$(torch_cuda || true)
if [ ! -e "$unfinished" ] && [ "${built_for:-None}" != None ]; then
    say "$venv holds a CUDA build of torch, so it is yours (pip install -e .[gpu,dev]): left as it is"
    exit 0
fi

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

check_machine() {
    local free
    if ! python=$(find_python); then
        die "Python 3.11 not found (tried ${PYTHON:-python3.11, python3, python})" \
            "install it (apt-get install python3.11 python3.11-venv), or name it with PYTHON=/path"
    fi
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        die "$python has no venv module" "apt-get install python3.11-venv"
    command -v g++ >/dev/null ||
        die "no C++ compiler (g++); DeepSpeed compiles its optimizer at first use" \
            "apt-get install g++, or your system's equivalent"
    [ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] ||
        die "$python has no Python.h, which DeepSpeed compiles against" \
            "apt-get install python3.11-dev"
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$free_gib" ] ||
        die "$free GiB free in $PWD; the install and pip's downloads need $free_gib" \
            "free some space, or clone the repository onto a larger disk"
}

# Run pip; show a counter and real errors, keep the rest in the log.
pip_install() {
    local title=$1 total=$2 count=0 line
    shift 2
    : >"$log"
    "$venv/bin/python" -m pip install --no-deps --progress-bar off "$@" 2>&1 |
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$log"
            case $line in
            Collecting*) count=$((count + 1)) ;;
            "Installing collected"*) line="unpacking" ;;
            *) continue ;;
            esac
            if [ -t 2 ]; then
                [ "$line" = unpacking ] || line="$count of $total"
                printf '\r\033[K  %s: %s' "$title" "$line" >&2
            fi
        done || {
        say "pip could not install $title; its last lines:"
        grep -v '^WARNING: Location' "$log" | tail -n 15 | sed 's/^/  /' >&2
        die "the install did not finish" "see the lines above; then run it again"
    }
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

verify() {
    local reason
    reason=$("$venv/bin/python" - 2>&1 <<'PY'
import sys
import traceback

for name in ("torch", "vllm", "deepspeed"):
    try:
        __import__(name)
    except BaseException:
        print(f"`import {name}` fails:", traceback.format_exc(limit=-1), file=sys.stderr)
        sys.exit(1)
PY
    ) || {
        printf '%s\n' "$reason" | tail -n 12 | sed 's/^/  /' >&2
        die "the packages are installed, but an engine does not load" \
            "a missing lib*.so is a system library to install; otherwise run make setup again"
    }
}

check_machine
start=$SECONDS
say "[1/4] a virtual environment in $venv (5 s)"
if [ -e "$unfinished" ] || { [ -d "$venv" ] && ! "$venv/bin/python" -m pip --version; } \
    >/dev/null 2>&1; then
    say "an earlier install did not finish; starting afresh"
    rm -rf "$venv"
fi
[ -d "$venv" ] || "$python" -m venv "$venv"
touch "$unfinished"

say "[2/4] $torch, 190 MB (half a minute)"
pip_install torch 1 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
cuda=$(torch_cuda)
if [ "$cuda" != None ]; then
    die "pip took the CUDA $cuda build of torch, which does not load without CUDA's libraries" \
        "TORCH_INDEX=<PyTorch's CPU wheel index; pytorch.org/get-started shows it> make setup"
fi

total=$(grep -c '==' "$lock")
say "[3/4] $total pinned packages (2 to 3 minutes)"
pip_install packages "$total" -r "$lock"

say "[4/4] tsqa itself, and a check that the engines load (half a minute)"
pip_install tsqa 1 --no-build-isolation -e .
verify
rm -f "$unfinished" "$venv"/.tsqa-????????????????????????????????????????????????????????????????
touch "$stamp"
say "done in $((SECONDS - start)) s; try: $venv/bin/tsqa doctor"
