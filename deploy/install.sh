#!/usr/bin/env bash
# Installs Meme Maker on Debian 12 under /opt/meme-maker, behind nginx and run by systemd. Running it again upgrades the
# binary and the unit and keeps what you edited: the configuration and the nginx site.
#
#   sudo deploy/install.sh --domain clips.example.org [BINARY]
#   sudo BASE_URL=https://clips.example.org deploy/install.sh [BINARY]
#
#   sudo deploy/install.sh --rollback
#
#   BINARY         dist/meme-maker unless named
#   --domain NAME  the name, or IPv4 address, under which people reach this machine; needed the first time
#   --rollback     go back to the binary and the unit from before the last upgrade; clips made since are kept, and running it
#                  again goes forward
#   --root DIR     lay the files out under DIR and touch nothing else: no packages, users or services (for tests, images)
set -euo pipefail

say() { echo "install: $*"; }
fail() {
    echo "install: $*" >&2
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=""
domain=""
rollback=no
base_url=${BASE_URL:-}
binary=""
while [ $# -gt 0 ]; do
    case $1 in
        --domain | --root)
            [ $# -ge 2 ] || fail "$1 wants a value. Give one and try again."
            if [ "$1" = --domain ]; then domain=$2; else root=$2; fi
            shift 2
            ;;
        --rollback)
            rollback=yes
            shift
            ;;
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        -*) fail "There is no option $1. See deploy/install.sh --help." ;;
        *)
            [ -z "$binary" ] || fail "Only one binary can be installed. See deploy/install.sh --help."
            binary=$1
            shift
            ;;
    esac
done

binary=${binary:-$here/dist/meme-maker}
if [ $rollback = no ]; then
    if [ ! -f "$binary" ] || [ ! -x "$binary" ]; then
        fail "There is no program at $binary. Build it with 'make build', or name it: deploy/install.sh --domain NAME BINARY"
    fi
    if [ -z "$root" ] && ! "$binary" --version >/dev/null 2>&1; then
        fail "$binary does not run on this machine ($(uname -m)). Build it for this kind of machine and run this again."
    fi
fi
if [ -z "$root" ]; then
    [ "$(id -u)" -eq 0 ] || fail "Installing takes root. Run it again with sudo."
    live=yes
else
    mkdir -p "$root"
    root=$(cd "$root" && pwd)
    live=no
    say "laying the files out under $root: packages, users and services are left alone."
fi

home=$root/opt/meme-maker
config=$home/config.toml
site=$root/etc/nginx/sites-available/meme-maker.conf
link=$root/etc/nginx/sites-enabled/meme-maker.conf
unit=$root/etc/systemd/system/meme-maker.service
failed_unit=$root/etc/systemd/system/meme-maker-failed@.service
installed=$home/bin/meme-maker
previous=$home/bin/meme-maker.previous
previous_unit=$home/shipped/meme-maker.service.previous
# There while files are newer than what runs; a run that was broken off leaves it for the next.
due=$home/shipped/due

# ---- back ---------------------------------------------------------------------------------------------------------
systemd() { [ $live = yes ] && [ -d /run/systemd/system ]; }

# as_service COMMAND...: what touches the data does so as its owner.
as_service() {
    if [ $live = yes ]; then runuser -u meme-maker -- "$@"; else "$@"; fi
}

# swap ONE OTHER: exchanges two files; at every moment there is a ONE.
swap() {
    ln -f "$1" "$1.swap" && mv -f "$2" "$1" && mv -f "$1.swap" "$2"
}

# settled: an exchange that was broken off half way is brought to its end: the kept one becomes the previous one.
settled() {
    if [ -e "$1.swap" ]; then
        if [ -e "$2" ]; then rm -f "$1.swap"; else mv -f "$1.swap" "$2"; fi
    fi
}

# start_again: what runs when nothing was changed.
start_again() {
    if systemd; then systemctl start meme-maker || true; fi
}

go_back() {
    settled "$installed" "$previous"
    settled "$unit" "$previous_unit"
    [ -x "$previous" ] || fail "There is no binary to go back to: $previous is kept by an upgrade. Nothing was changed."
    [ -x "$installed" ] || fail "There is no $installed. Install first: deploy/install.sh --domain NAME"
    local data known teller standing found copy copy_schema part
    data=$(sed -n 's/^[[:space:]]*data_dir[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$config" 2>/dev/null | head -n 1)
    data=$root${data:-/opt/meme-maker/data}
    if systemd; then
        say "stopping the service."
        systemctl stop meme-maker || fail "The service did not stop. Read why with 'journalctl -u meme-maker -n 50'. Nothing was changed."
    fi

    # The previous binary opens no index of a schema it does not know.
    teller=$installed
    as_service "$installed" schema --known >/dev/null 2>&1 || teller=$previous
    if ! standing=$(as_service "$teller" schema --data-dir "$data"); then
        start_again
        fail "The schema of the index could not be read; the lines above say why. Nothing was changed."
    fi
    found=$(sed -n 's/^index //p' <<<"$standing")
    copy=$(sed -n 's/^copy [0-9]* //p' <<<"$standing")
    copy_schema=$(sed -n 's/^copy \([0-9]*\) .*/\1/p' <<<"$standing")
    known=$(as_service "$previous" schema --known 2>/dev/null) || known=""
    if ! [[ $known =~ ^[0-9]+$ ]]; then
        # Too old to say so itself, but the copy made when it was replaced has the schema that it wrote.
        known=$copy_schema
    fi
    if [ "$found" = none ] || [ "$found" = "$known" ]; then
        :
    elif [ -z "$known" ]; then
        start_again
        fail "The previous binary does not say which schema it knows, and there is no copy of the index from its time. Nothing was changed."
    elif [ "$found" -gt "$known" ]; then
        say "bringing the index from schema $found to $known."
        if ! as_service "$installed" schema --to "$known" --data-dir "$data" >/dev/null; then
            if [ -z "$copy" ] || [ "$copy_schema" -gt "$known" ]; then
                start_again
                fail "The index could not be brought down and there is no copy for the previous binary. Nothing was changed."
            fi
            say "that failed; the copy from before the upgrade takes its place. Clips made since are in $data/index.db.set-aside alone."
            # First what can fail for want of room; only then is anything moved.
            if ! as_service cp -p "$copy" "$data/index.db.copied" || ! sync "$data/index.db.copied"; then
                rm -f "$data/index.db.copied"
                start_again
                fail "The copy of the index could not be put in its place. Make room on the disk and run this again. Nothing was changed."
            fi
            for part in "" -wal -shm; do
                if [ -e "$data/index.db$part" ]; then mv -f "$data/index.db$part" "$data/index.db.set-aside$part"; fi
            done
            mv -f "$data/index.db.copied" "$data/index.db"
        fi
    fi

    swap "$installed" "$previous" || fail "The binaries could not be exchanged. Look for a full disk or a read-only one and run this again."
    # An older program sends no watchdog signal, so it needs the unit of its time.
    if [ -e "$previous_unit" ]; then
        swap "$unit" "$previous_unit" || fail "The units could not be exchanged. Look for a full disk or a read-only one and run this again."
    fi
    if systemd; then
        systemctl daemon-reload
        systemctl start meme-maker ||
            fail "The previous version does not start. Read why with 'journalctl -u meme-maker -n 50'; deploy/install.sh --rollback goes forward again."
    fi
    say "back at $("$installed" --version 2>/dev/null || echo 'the previous version'). Run this again to go forward."
}

if [ $rollback = yes ]; then
    go_back
    exit 0
fi

# ---- the name -----------------------------------------------------------------------------------------------------
if [ -z "$base_url" ] && [ -n "$domain" ]; then
    # A certificate that is already there means that the site is reached by https.
    if [ -e "$root/etc/letsencrypt/live/$domain" ]; then base_url=https://$domain; else base_url=http://$domain; fi
fi
if [ -z "$base_url" ] && [ -f "$config" ]; then
    base_url=$(sed -n 's/^[[:space:]]*base_url[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$config" | head -n 1)
fi
[ -n "$base_url" ] || fail "Under which name do people reach this machine? Say it with --domain clips.example.org, or BASE_URL=https://..."
base_url=${base_url%/}
if ! [[ $base_url =~ ^https?://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]+)?$ ]]; then
    fail "The address '$base_url' cannot be used. Give one like https://clips.example.org, without a path."
fi
name=${BASH_REMATCH[1]}
if [ -n "$domain" ] && [ "$domain" != "$name" ]; then
    fail "--domain says $domain but BASE_URL says $name. Give one of them, or make them agree."
fi

# ---- tools --------------------------------------------------------------------------------------------------------
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
changed=()
kept=()

# own OWNER PATH: no users exist under --root.
own() {
    if [ $live = yes ]; then chown "$1" "$2"; fi
}

# folder MODE OWNER PATH: makes it, or sets its rights right.
folder() {
    mkdir -p "$3"
    own "$2" "$3"
    chmod "$1" "$3"
}

# put MODE OWNER FROM TO: replaces TO in one step when it differs. Returns 1 when nothing changed.
put() {
    if cmp -s "$3" "$4"; then
        own "$2" "$4"
        chmod "$1" "$4"
        return 1
    fi
    if ! { touch "$due" && mkdir -p "$(dirname "$4")" && install -m "$1" "$3" "$4.new" && own "$2" "$4.new" &&
        sync "$4.new" && mv -f "$4.new" "$4"; }; then
        fail "$4 could not be written. Look for a full disk or a read-only one and run this again."
    fi
    changed+=("${4#"$root"}")
}

# put_unless_edited MODE OWNER FROM TO: as put, but a file that is no longer as it was installed is kept. What was
# installed is remembered in $home/shipped.
put_unless_edited() {
    local before
    before=$home/shipped/$(basename "$4")
    if [ -e "$4" ] && ! cmp -s "$4" "$3" && ! cmp -s "$4" "$before"; then
        kept+=("${4#"$root"} was edited and is kept")
        if [ "$4" = "$site" ]; then kept+=("what is new in it: diff /etc/nginx/sites-available/meme-maker.conf /opt/meme-maker/nginx.example.conf"); fi
        return 1
    fi
    local result=0
    put "$1" "$2" "$3" "$4" || result=1
    if ! cmp -s "$3" "$before"; then
        install -m 0600 "$3" "$before" || fail "$before could not be written. Look for a full disk and run this again."
    fi
    return $result
}

# ---- packages and the user ----------------------------------------------------------------------------------------
join=no
if [ $live = yes ]; then
    packages=()
    command -v ffmpeg >/dev/null 2>&1 || packages+=(ffmpeg)
    command -v nginx >/dev/null 2>&1 || packages+=(nginx)
    if [ ${#packages[@]} -gt 0 ]; then
        say "installing ${packages[*]}."
        if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"; }; then
            fail "${packages[*]} could not be installed. Install them by hand and run this again."
        fi
        changed+=("packages: ${packages[*]}")
    fi
    if ! getent group meme-maker >/dev/null; then
        groupadd --system meme-maker
        changed+=("group meme-maker")
    fi
    if ! getent passwd meme-maker >/dev/null; then
        useradd --system --gid meme-maker --home-dir /opt/meme-maker --no-create-home --shell /usr/sbin/nologin meme-maker
        changed+=("user meme-maker")
    fi
    # nginx sends the published files itself, so it has to be able to read them.
    if ! id -nG www-data | tr ' ' '\n' | grep -qx meme-maker; then
        usermod -a -G meme-maker www-data
        join=yes
        changed+=("www-data is a member of group meme-maker")
    fi
fi

# ---- files --------------------------------------------------------------------------------------------------------
folder 0755 root:root "$home"
folder 0755 root:root "$home/bin"
folder 0700 root:root "$home/shipped"
# nginx may pass through the data and read what is published; the rest is the service's alone.
folder 0710 meme-maker:meme-maker "$home/data"
folder 0750 meme-maker:meme-maker "$home/data/storage"
folder 0750 meme-maker:meme-maker "$home/data/storage/clips"
for private in ledger work uploads; do
    folder 0700 meme-maker:meme-maker "$home/data/$private"
done

restart=no
reread=no
reload=$join
if [ -e "$due" ]; then
    restart=yes
    reread=yes
    reload=yes
fi
# What runs now is kept for --rollback, with the unit that it was made for.
if [ -e "$installed" ] && ! cmp -s "$binary" "$installed"; then
    if ! { cp -p "$installed" "$previous.new" && sync "$previous.new" && mv -f "$previous.new" "$previous"; }; then
        fail "$previous could not be written. Look for a full disk or a read-only one and run this again."
    fi
    if [ -e "$unit" ]; then cp -p "$unit" "$previous_unit.new" && mv -f "$previous_unit.new" "$previous_unit"; fi
fi
if put 0755 root:root "$binary" "$installed"; then restart=yes; fi

if [ -f "$here/deploy/config.toml" ]; then
    put 0644 root:root "$here/deploy/config.toml" "$home/config.example.toml" || true
fi
cat >"$scratch/config.toml" <<END
# The configuration of Meme Maker on this machine: only what differs from the defaults. Every key and its default is
# explained in config.example.toml beside this file. After a change: sudo systemctl restart meme-maker

[server]
# The address people use. Links in answers begin with it.
base_url = "$base_url"
data_dir = "/opt/meme-maker/data"
# nginx sends published files itself; the prefix is the one in its site file.
accel = "/internal-clips/"
END
# It may come to hold secrets, so it is not for the group that nginx is in.
if put_unless_edited 0600 meme-maker:meme-maker "$scratch/config.toml" "$config"; then
    restart=yes
elif ! cmp -s "$scratch/config.toml" "$config" && ! grep -qF "\"$base_url\"" "$config"; then
    kept+=("to use $base_url, set base_url in /opt/meme-maker/config.toml and restart the service")
fi
own meme-maker:meme-maker "$config"
chmod 0600 "$config"
address=$(sed -n 's/^[[:space:]]*base_url[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$config" | head -n 1)

if put 0644 root:root "$here/deploy/meme-maker.service" "$unit"; then
    reread=yes
    restart=yes
fi
if put 0644 root:root "$here/deploy/meme-maker-failed@.service" "$failed_unit"; then reread=yes; fi

# ---- nginx --------------------------------------------------------------------------------------------------------
sed "s/server_name clips\.example\.org;/server_name $name;/" "$here/nginx/meme-maker.conf" >"$scratch/meme-maker.conf"
if [ -e /proc/net/if_inet6 ]; then sed -i 's/^\( *\)# listen \[::\]:80;/\1listen [::]:80;/' "$scratch/meme-maker.conf"; fi
# Beside an edited site (certbot edits it) to compare with.
put 0644 root:root "$scratch/meme-maker.conf" "$home/nginx.example.conf" || true
if [ -e "$site" ]; then cp -p "$site" "$scratch/site.before"; fi
cp -p "$home/shipped/meme-maker.conf" "$scratch/shipped.before" 2>/dev/null || true
if put_unless_edited 0644 root:root "$scratch/meme-maker.conf" "$site"; then reload=yes; fi
linked=no
if [ ! -L "$link" ] && [ ! -e "$link" ]; then
    mkdir -p "$(dirname "$link")"
    ln -s ../sites-available/meme-maker.conf "$link"
    linked=yes
    reload=yes
    changed+=("${link#"$root"}")
fi

# take_back: leaves nginx as it was found.
take_back() {
    if [ $linked = yes ]; then rm -f "$link"; fi
    if [ -e "$scratch/site.before" ]; then cp -p "$scratch/site.before" "$site"; else rm -f "$site"; fi
    if [ -e "$scratch/shipped.before" ]; then
        cp -p "$scratch/shipped.before" "$home/shipped/meme-maker.conf"
    else
        rm -f "$home/shipped/meme-maker.conf"
    fi
}

if [ $live = yes ] && [ $reload = yes ]; then
    if ! nginx -t -q; then
        take_back
        fail "nginx refuses the site; the lines above say why. The site was taken back, nginx runs on as before. Mend it and run this again."
    fi
fi

# ---- services -----------------------------------------------------------------------------------------------------
started="not started"
if [ $live = no ]; then
    :
elif [ -d /run/systemd/system ]; then
    if [ $reread = yes ]; then systemctl daemon-reload; fi
    systemctl is-enabled --quiet meme-maker || systemctl enable --quiet meme-maker
    if [ $restart = yes ] || ! systemctl is-active --quiet meme-maker; then
        if ! systemctl restart meme-maker; then
            fail "The service did not start. Read why with 'journalctl -u meme-maker -n 50', mend it and run this again."
        fi
        changed+=("the service was restarted")
    fi
    # Both want the same ports.
    if systemctl is-active --quiet caddy; then
        say "Caddy serves here, so nginx was neither started nor reloaded."
    elif ! systemctl is-enabled --quiet nginx && ! systemctl enable --quiet nginx; then
        fail "nginx could not be enabled. Read why with 'systemctl status nginx', mend it and run this again."
    elif ! systemctl is-active --quiet nginx; then
        systemctl start nginx || fail "nginx did not start. Read why with 'journalctl -u nginx -n 50', mend it and run this again."
    elif [ $reload = yes ]; then
        systemctl reload nginx
    fi
    started="running"
else
    say "systemd is not running here, so no service was enabled, started or reloaded."
    say "where it runs: systemctl daemon-reload && systemctl enable --now meme-maker && systemctl reload nginx"
fi

rm -f "$due"

# ---- what was done ------------------------------------------------------------------------------------------------
if [ ${#changed[@]} -eq 0 ]; then
    say "everything was in place; nothing changed."
else
    for line in "${changed[@]}"; do say "changed: $line"; done
fi
for line in ${kept[@]+"${kept[@]}"}; do say "$line."; done
cat <<END

Meme Maker is installed for ${address:-$base_url} ($started).
  configuration   /opt/meme-maker/config.toml, explained in config.example.toml beside it
  data            /opt/meme-maker/data
  nginx site      /etc/nginx/sites-available/meme-maker.conf
  service         systemctl status meme-maker
  log             journalctl -u meme-maker -f
  health          curl http://127.0.0.1:8000/api/health
END
case ${address:-$base_url} in
    http://*)
        cat <<END
Next, encrypt it: apt-get install certbot python3-certbot-nginx && certbot --nginx -d $name
then run: BASE_URL=https://$name deploy/install.sh
and look at it from outside: /opt/meme-maker/bin/meme-maker doctor --url https://$name
END
        ;;
esac
