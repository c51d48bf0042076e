#!/usr/bin/env bash
# Feeds random bytes to the readers of MP4 and H.264, each target for so many seconds, beginning with tiny real videos.
# Fails at the first crash, hang or greed; the input that did it is then in fuzz/artifacts.
#
#   fuzz/run.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 1 ]; then
    echo "Usage: fuzz/run.sh SECONDS [movie] [nal]" >&2
    exit 2
fi

seconds=$1
shift
if [ $# -eq 0 ]; then set -- movie nal; fi

tools=${CARGO_TARGET_DIR:-$PWD/target}/fuzz-tools
export PATH="$PATH:$tools/bin"
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --quiet --locked --root "$tools" cargo-fuzz
fi

movies=fuzz/corpus/movie
units=fuzz/corpus/nal
mkdir -p "$movies" "$units"

# seed NAME ARGUMENT...: a video of a few kilobytes, made once.
seed() {
    local path=$movies/seed-$1.mp4
    shift
    if [ -e "$path" ]; then return; fi
    ffmpeg -v error -nostdin -y -f lavfi -i testsrc=size=64x48:rate=10:duration=1 -f lavfi -i sine=duration=0.3 \
        -pix_fmt yuv420p -c:v libx264 -preset veryfast -g 5 -bf 2 -c:a aac -b:a 16k -metadata title=seed "$@" "$path"
}
seed plain
seed front -movflags +faststart
seed fragments -movflags +frag_keyframe+empty_moov+default_base_moof
seed fragments-with-offsets -movflags +frag_keyframe+empty_moov
seed pictures -an
seed late -output_ts_offset 0.5 -movflags +faststart
seed mpeg4 -c:v mpeg4
seed silent-intra -an -x264-params keyint=infinite:intra-refresh=1

# The units of a video without sound begin behind `ftyp`, `free` and the head of `mdat`; their lengths are four bytes wide.
for name in pictures silent-intra; do
    { printf '\003' && tail -c +49 "$movies/seed-$name.mp4" | head -c 1500; } >"$units/seed-$name"
done
# Parameter sets of x264: High at level 3 of 854x480, and a picture's.
printf '\003\x67\x64\x00\x1e\xac\xd9\x40\xd8\x3d\xe6\xff\x03\x28\x03\x24\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x00\xf1\x62\xd9\x60' \
    >"$units/seed-sequence"
printf '\003\x68\xeb\xe3\xcb\x22\xc0' >"$units/seed-picture"

# The coverage that guides the bytes is switched on by flags that the stable compiler only takes when told so. Every input has to be
# read in seconds and little memory: that is what is promised of the service.
for target; do
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none "$target" -- \
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=300 -max_len=65536 -print_final_stats=1
done
