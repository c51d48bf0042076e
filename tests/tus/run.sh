#!/usr/bin/env bash
# Uploads by a client that is not ours: installs tus-js-client under target/, then sends a hundred files through a relay that cuts
# connections. Prints one line of figures last and fails when a file arrived changed. `deploy/needs.sh node` brings what this
# needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=$PWD/tests/tus
cache=${CARGO_TARGET_DIR:-target}/tus
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

binary=${BINARY:-dist/meme-maker}
if [ ! -x "$binary" ]; then binary=${CARGO_TARGET_DIR:-target}/debug/meme-maker; fi
if [ ! -x "$binary" ]; then
    echo "upload tests: there is no dist/meme-maker. Run 'make build' and try again." >&2
    exit 1
fi

# The client, once for each lock file; the copy that says which comes last, so a broken installation is made anew.
if ! cmp -s "$here/package-lock.json" "$cache/installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$cache/"
    if ! (cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error); then
        echo "upload tests: the client could not be fetched. Look at the network and try again." >&2
        exit 1
    fi
    cp "$here/package-lock.json" "$cache/installed"
fi

BINARY=$binary CACHE=$cache exec node "$here/main.mjs"
