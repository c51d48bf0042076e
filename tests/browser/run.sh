#!/usr/bin/env bash
# The pages in a real browser: installs the driver under target/, then drives Chromium through the running service.
# Prints `N passed, M failed` last and fails when one did. `deploy/needs.sh browser` brings what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=$PWD/tests/browser
cache=${CARGO_TARGET_DIR:-target}/browser
mkdir -p "$cache/media"
cache=$(cd "$cache" && pwd)

binary=dist/meme-maker
if [ ! -x "$binary" ]; then binary=${CARGO_TARGET_DIR:-target}/debug/meme-maker; fi
if [ ! -x "$binary" ]; then
    echo "browser tests: there is no dist/meme-maker. Run 'make build' and try again." >&2
    exit 1
fi

chromium=""
for name in chromium chromium-browser google-chrome; do
    chromium=$(command -v "$name") && break
done
if [ -z "$chromium" ]; then
    echo "browser tests: there is no Chromium. Run 'deploy/needs.sh browser' and try again." >&2
    exit 1
fi

# The driver, once for each lock file; the copy that says which comes last, so a broken installation is made anew.
if ! cmp -s "$here/package-lock.json" "$cache/installed"; then
    cp "$here/package.json" "$here/package-lock.json" "$cache/"
    if ! (cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error); then
        echo "browser tests: the browser driver could not be fetched. Look at the network and try again." >&2
        exit 1
    fi
    cp "$here/package-lock.json" "$cache/installed"
fi

# 12 s of 640x360 with sound, made once.
#   make_video NAME PICTURES ARGUMENT...
make_video() {
    local path=$cache/media/$1.mp4 pictures=$2
    shift 2
    if [ -e "$path" ]; then return; fi
    ffmpeg -v error -nostdin -y \
        -f lavfi -i "testsrc2=size=640x360:rate=30:duration=12,$pictures" \
        -f lavfi -i "sine=frequency=330:sample_rate=48000:duration=12" \
        -c:v libx264 -preset veryfast -g 60 "$@" -pix_fmt yuv420p -c:a aac -movflags +faststart "$path.part.mp4"
    mv "$path.part.mp4" "$path"
}
make_video moving "noise=alls=8:allf=t:all_seed=7"
# No frame is like its neighbours. A keyframe every 2 s, three B-frames between any two others.
make_video scrolling "scroll=horizontal=0.02:vertical=0.01" -keyint_min 60 -sc_threshold 0 -bf 3 -x264-params b-adapt=0

BINARY=$binary CHROMIUM=$chromium CACHE=$cache MEDIA=$cache/media exec node "$here/main.mjs"
