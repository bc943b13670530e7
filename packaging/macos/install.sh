#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs a release of vde_vmnet on a Mac, into /opt/vde_vmnet: files of root in directories of root, because sudo and
# launchd run the program as root on macOS 15 and earlier. On macOS 26 and later it signs the program, so that users
# need no root.
# The options are below. The file may come from a pipe, so it does not read itself.
set -eu
# Whatever the caller's is: other users run the program.
umask 022

usage() {
    cat <<'USAGE'
Installs a release of vde_vmnet on a Mac, into /opt/vde_vmnet.

    curl -fsSL https://github.com/OWNER/vde_vmnet/releases/latest/download/install.sh | sh
    sh install.sh [--version VERSION] [--archive FILE] [--sudoers] [--service NAME]

  --version VERSION   installs this release instead of the newest
  --archive FILE      installs this archive, downloads nothing; SHA256SUMS beside it is checked if it is there
  --sudoers           lets the group staff start the two networks of docs/macos.md without a password
  --service NAME      starts a network at boot: shared, bridged, or ondemand (for its first guest)

DESTDIR is the root of another system to install into, for tests and packages: launchd is not called then.
USAGE
}

repository=${VDE_VMNET_REPOSITORY:-OWNER/vde_vmnet}
destination=${DESTDIR:-}
prefix=/opt/vde_vmnet
version='' archive='' sudoers='' service=''

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

# ---- The same lines in packaging/macos/install.sh and .github/actions/setup-vde_vmnet/setup (ci/lint-packaging) ----

# Sets `version` to that of the newest release below the address $1, which redirects to the release's tag.
find_newest() {
    version=$(curl -fsSLI -o /dev/null -w '%{url_effective}' "$1/latest") || fail "$1 cannot be reached"
    case $version in
        */v[0-9]*) version=${version##*/v} ;;
        *) fail "$1 has no release" ;;
    esac
}

# Downloads the archive $3 of release $2 below the address $1, and SHA256SUMS, into the folder $4.
download() {
    for file in "$3" SHA256SUMS; do
        curl -fsSL --retry 3 -o "$4/$file" "$1/download/v$2/$file" || fail "there is no $1/download/v$2/$file"
    done
}

# Compares the archive $1 with SHA256SUMS beside it, if that is there.
check_sum() {
    sums=$(dirname "$1")/SHA256SUMS
    [ -f "$sums" ] || return 0
    expected=$(awk -v name="$(basename "$1")" '$2 == name || $2 == "*" name { print $1 }' "$sums")
    [ -n "$expected" ] || fail "$sums does not list $(basename "$1")"
    if command -v sha256sum >/dev/null; then found=$(sha256sum "$1"); else found=$(shasum -a 256 "$1"); fi
    [ "${found%% *}" = "$expected" ] || fail "$1 is damaged, or not the release's: its SHA-256 is ${found%% *}, \
SHA256SUMS has $expected; download it again"
}

# ---- The end of the same lines ----

while [ $# -gt 0 ]; do
    case $1 in
        --version | --archive | --service)
            [ -n "${2:-}" ] || fail "$1 needs a value" 64
            case $1 in
                --version) version=${2#v} ;;
                --archive) archive=$2 ;;
                --service) service=$2 ;;
            esac
            shift 2 ;;
        --sudoers) sudoers=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) fail "there is no option $1; type: sh install.sh --help" 64 ;;
    esac
done
[ -z "$version" ] || [ -z "$archive" ] ||
    fail "--archive installs this file, whatever release it is of; leave --version out" 64
case $service in
    '' | shared | bridged | ondemand) ;;
    *) fail "there is no service '$service'; there are shared, bridged and ondemand" 64 ;;
esac
[ -n "$destination" ] || [ "$(uname -s)" = Darwin ] ||
    fail "this installs on macOS only; on Linux install the package vde-vmnet, or type: make && sudo make install" 69

# Root writes the files; everything before that runs as the caller.
as_root() { if [ "$(id -u)" = 0 ] || [ -n "$destination" ]; then "$@"; else sudo "$@"; fi; }

target=$destination$prefix

# Without a new version in its place, the old one goes back there.
restore() { if [ ! -e "$target" ] && [ -e "$target.old" ]; then as_root mv "$target.old" "$target"; fi; }

# At every end, also by a signal.
clean_up() {
    trap '' HUP INT TERM
    if [ -n "$replacing" ]; then
        restore || :
        as_root rm -rf "$target.new" || :
        [ ! -e "$target" ] || as_root rm -rf "$target.old" || :
    fi
    rm -rf "$work"
}

replacing=''
work=$(mktemp -d "${TMPDIR:-/tmp}/vde_vmnet.XXXXXX")
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "$archive" ]; then
    base=https://github.com/$repository/releases
    [ -n "$version" ] || find_newest "$base"
    name=vde_vmnet-$version-macos-universal.tar.gz
    echo "Downloading $name"
    download "$base" "$version" "$name" "$work"
    archive=$work/$name
fi
[ -f "$archive" ] || fail "$archive does not exist" 66

check_sum "$archive"

mkdir "$work/files"
tar -xzf "$archive" -C "$work/files" || fail "$archive is no archive of a release"
files=$(find "$work/files" -type f -path '*/bin/vde_vmnet' | head -n 1)
[ -n "$files" ] || fail "$archive has no bin/vde_vmnet: it is no archive of a release"
files=${files%/bin/vde_vmnet}
# A link could lead the copies below anywhere.
[ -z "$(find "$files" -type l)" ] || fail "$archive contains links; a release has none"
for file in share/sudoers share/vde_vmnet.entitlements share/uninstall.sh; do
    [ -f "$files/$file" ] || fail "$archive has no $file: it is no archive of a release for macOS"
done

major=$(sw_vers -productVersion 2>/dev/null | cut -d. -f1)
if [ "${major:-0}" -ge 26 ]; then
    codesign --force --sign - --entitlements "$files/share/vde_vmnet.entitlements" "$files/bin/vde_vmnet"
fi
visudo -q -c -f "$files/share/sudoers" || fail "the sudoers file of the archive is not valid"

plist=Library/LaunchDaemons/io.github.vde_vmnet.$service.plist
is_edited=''
# One that is neither the new release's nor the old one's, such as with the interface of this Mac.
if [ -n "$service" ] && [ -f "$destination/$plist" ] && [ ! -L "$destination/$plist" ]; then
    cmp -s "$destination/$plist" "$files/share/${plist##*/}" ||
        cmp -s "$destination/$plist" "$target/share/${plist##*/}" || is_edited=yes
fi

# Beside the old version first, then in its place: a running program keeps its file.
replacing=yes
# A run that was killed may have left it.
restore
as_root mkdir -p "$destination/opt"
as_root rm -rf "$target.new"
as_root mkdir -p "$target.new/bin" "$target.new/share"
as_root cp "$files"/bin/* "$target.new/bin"
as_root cp "$files"/share/* "$target.new/share"
as_root chmod 755 "$target.new" "$target.new"/* "$target.new"/bin/* "$target.new/share/uninstall.sh"
for file in "$target.new"/share/*; do
    case $file in *.sh) ;; *) as_root chmod 644 "$file" ;; esac
done
if [ "$(id -u)" = 0 ] || [ -z "$destination" ]; then as_root chown -R 0:0 "$target.new"; fi
as_root rm -rf "$target.old"
[ ! -e "$target" ] || as_root mv "$target" "$target.old"
as_root mv "$target.new" "$target"
as_root rm -rf "$target.old"
replacing=''
echo "Installed $prefix/bin/vde_vmnet"

# Puts a copy of the file $1 at $2 with the mode $3. Links there are replaced, and not followed.
put_file() {
    [ -L "$2" ] || [ ! -d "$2" ] || fail "$2 is a directory; move it away, and run this again" 73
    as_root mkdir -p "$(dirname "$2")"
    as_root rm -f "$2.new"
    as_root cp "$1" "$2.new"
    as_root chmod "$3" "$2.new"
    # mv would move it into a directory that a link leads to.
    [ ! -L "$2" ] || as_root rm -f "$2"
    as_root mv -f "$2.new" "$2"
}

if [ -n "$sudoers" ]; then
    put_file "$target/share/sudoers" "$destination/etc/sudoers.d/vde_vmnet" 440
    echo "Installed /etc/sudoers.d/vde_vmnet"
fi

if [ -n "$service" ]; then
    if [ -n "$is_edited" ]; then
        echo "Kept /$plist, which was edited; that of the release is $prefix/share/${plist##*/}"
    else
        put_file "$target/share/${plist##*/}" "$destination/$plist" 644
        echo "Installed /$plist"
    fi
    if [ -z "$destination" ]; then
        as_root launchctl bootout "system/io.github.vde_vmnet.$service" 2>/dev/null || :
        as_root launchctl bootstrap system "/$plist"
    fi
fi
if [ "${major:-0}" -ge 26 ]; then
    echo "Start a network with: $prefix/bin/vde_vmnet --switch /tmp/vde"
else
    echo "Start a network with: sudo $prefix/bin/vde_vmnet --switch /tmp/vde"
fi
echo "Remove everything with: $prefix/share/uninstall.sh"
