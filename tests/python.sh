#!/usr/bin/env bash
# Python packages that tests and bench compare with, each set in a virtual environment of its own under the target folder, made once.
# Prints the folder.
#
#   tests/python.sh NAME PACKAGE==VERSION...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
    echo "Usage: tests/python.sh NAME PACKAGE==VERSION..." >&2
    exit 2
fi

name=$1
shift
parent=${CARGO_TARGET_DIR:-target}/python
mkdir -p "$parent"
parent=$(cd "$parent" && pwd)
folder=$parent/$name

# Two that ask at once: one installs, the other waits.
exec 9>"$folder.lock"
flock 9
if [ "$(cat "$folder/installed" 2>/dev/null || true)" != "$*" ]; then
    rm -rf "$folder"
    if ! { python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"; } >&2; then
        echo "python: $* could not be installed. Look at the network and run 'deploy/needs.sh python'." >&2
        exit 1
    fi
    # Says which are there; written last, so that a broken installation is made anew.
    echo "$*" >"$folder/installed"
fi
echo "$folder"
