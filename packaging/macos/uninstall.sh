#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes from a Mac what install.sh has installed, and the state that the program has kept. The options are below.
set -eu

destination=${DESTDIR:-}
prefix=/opt/vde_vmnet
force=

usage() {
    cat <<'USAGE'
Removes from a Mac what install.sh has installed, and the state that the program has kept. Networks that launchd has
started are stopped; one that a user has started is reported, and nothing is stopped or removed then.

    /opt/vde_vmnet/share/uninstall.sh [--force]

  --force   also while a network runs; that network goes on until it is stopped

DESTDIR is the root of another system: launchd is not called then.
USAGE
}

for option in "$@"; do
    case $option in
        --force) force=yes ;;
        -h | --help) usage; exit 0 ;;
        *) echo "uninstall.sh: there is no option $option; type: uninstall.sh --help" >&2; exit 64 ;;
    esac
done
[ -n "$destination" ] || [ "$(uname -s)" = Darwin ] || {
    echo "uninstall.sh: this removes an installation on macOS only; on Linux type: make uninstall" >&2
    exit 69
}

as_root() { if [ "$(id -u)" = 0 ] || [ -n "$destination" ]; then "$@"; else sudo "$@"; fi; }

# Removes a file or a link. install.sh makes no directory in these places.
remove_file() { if [ -L "$1" ] || [ ! -d "$1" ]; then as_root rm -f "$1"; fi; }

services=$destination/Library/LaunchDaemons
# Those of launchd, which are stopped below.
own=
if [ -z "$destination" ]; then
    for name in shared bridged ondemand; do
        own="$own $(launchctl print "system/io.github.vde_vmnet.$name" 2>/dev/null |
            sed -n 's/^[[:space:]]*pid = \([0-9]*\)$/\1/p')"
    done
fi
# By the file that they execute, whatever path they were started by. After an upgrade, a network executes a file that
# has no name any more: its command line may have the path.
running=
for process in $({ as_root lsof -t "$destination$prefix/bin/vde_vmnet" 2>/dev/null || :
    pgrep -f "^$prefix/bin/vde_vmnet( |\$)" || :; } | sort -un); do
    case "$own " in *" $process "*) ;; *) running="$running $process" ;; esac
done
if [ -n "$running" ] && [ -z "$force" ]; then
    echo "uninstall.sh: a network runs as process$running; stop it, or use --force" >&2
    exit 75
fi
if [ -z "$destination" ]; then
    for name in shared bridged ondemand; do
        [ ! -f "$services/io.github.vde_vmnet.$name.plist" ] ||
            as_root launchctl bootout "system/io.github.vde_vmnet.$name" 2>/dev/null || :
    done
fi
for name in shared bridged ondemand; do
    remove_file "$services/io.github.vde_vmnet.$name.plist"
    remove_file "$destination/var/log/vde_vmnet.$name.log"
done
remove_file "$destination/etc/sudoers.d/vde_vmnet"
# What a network that was killed has left for the resolver. Its first line is the program's.
for file in "$destination"/etc/resolver/*; do
    if [ ! -f "$file" ] || [ -L "$file" ]; then continue; fi
    case $(head -n 1 "$file") in
        '# vde_vmnet removes this file when its network ends') [ -n "$running" ] || as_root rm -f "$file" ;;
    esac
done
as_root rm -rf "$destination/var/lib/vde_vmnet" "$destination$prefix"
echo "Removed $prefix"
