#!/usr/bin/env bash
# Installs what building, running or testing Meme Maker needs from Debian's or Ubuntu's own packages, and only what is
# missing. The Rust toolchain is yours to choose; it is checked for and never installed.
#
#   deploy/needs.sh build | run | test | node | browser | python
set -euo pipefail

usage() {
    echo "Usage: deploy/needs.sh build | run | test | node | browser | python" >&2
    exit 2
}
[ $# -eq 1 ] || usage

export PATH="$PATH:/usr/sbin:/sbin"
missing=()

# want PACKAGE REASON COMMAND...: notes the package when none of the commands is there.
want() {
    local package=$1 reason=$2 command
    shift 2
    for command in "$@"; do
        if command -v "$command" >/dev/null 2>&1; then return; fi
    done
    echo "needs: $package is missing; $reason."
    missing+=("$package")
}

want_compiler() {
    want gcc "the SQLite that is built in is C" cc
    want make "the targets are in a Makefile" make
    # Where there is no compiler, there may be no C library to link with either.
    local archive=""
    if command -v cc >/dev/null 2>&1; then archive=$(cc -print-file-name=libc.a); fi
    if [ ! -e "$archive" ]; then
        echo "needs: libc6-dev is missing; the static binary links with its libc.a."
        missing+=(libc6-dev)
    fi
}

# Python with what makes virtual environments, which Debian keeps in a package of its own.
want_python() {
    want python3 "$1" python3
    if ! python3 -c 'import ensurepip' >/dev/null 2>&1; then
        echo "needs: python3-venv is missing; $1."
        missing+=(python3-venv)
    fi
}

want_node() {
    want nodejs "it runs the upload client and drives the browser" node
    want npm "it fetches both" npm
}

want_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "needs: cargo was not found. Install the Rust toolchain (see https://rustup.rs), open a new shell and try again." >&2
        exit 1
    fi
}

want_rust_checks() {
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        echo "needs: the tests check format and lints. Run 'rustup component add rustfmt clippy' and try again." >&2
        exit 1
    fi
}

case $1 in
    build)
        want_rust
        want_compiler
        ;;
    run)
        want_rust
        want_compiler
        want ffmpeg "it decodes and encodes" ffmpeg
        ;;
    test)
        want_rust
        want_rust_checks
        want_compiler
        want ffmpeg "it decodes, encodes and makes the test clips" ffmpeg
        want nginx "the site file is tested in front of the service" nginx
        want file "the tests look at what kind of binary was built" file
        want systemd "the unit is judged by systemd-analyze" systemd-analyze
        want strace "the unit's filter is held against the calls that are made" strace
        want curl "the tests speak HTTP with a client that is not ours" curl
        want_python "the tests compare with independent readers"
        ;;
    node)
        want_node
        ;;
    browser)
        want chromium "the pages are tested in a real browser" chromium chromium-browser google-chrome
        want_node
        ;;
    python)
        want_python "tests and bench compare with programs written in it"
        ;;
    *) usage ;;
esac

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "needs: this machine has no apt-get. Install these by its own means and try again: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "needs: installing takes root and there is no sudo. Run this as root and try again:" >&2
        echo "  $by_hand" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "needs: installing ${missing[*]}."
if ! { "${as_root[@]}" apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; }; then
    echo "needs: the installation failed; the lines above say why. Once that is mended, run this as root and try again:" >&2
    echo "  $by_hand" >&2
    exit 1
fi

# The tests start an nginx of their own. The one that Debian starts on port 80 was not asked for.
case " ${missing[*]} " in
    *" nginx "*)
        if [ -d /run/systemd/system ]; then
            "${as_root[@]}" systemctl disable --now nginx
            echo "needs: nginx was installed for the tests alone, so its service is switched off."
        fi
        ;;
esac
