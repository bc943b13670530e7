#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes from a Mac what install.sh has installed, and the state that the program has kept. Networks that launchd
# has started are stopped; one that a user has started is reported, and nothing is removed then.
#
#     /opt/vde_vmnet/share/uninstall.sh [--force]
#
#   --force   also while a network runs; that network goes on until it is stopped
#
# DESTDIR is the root of another system: launchd is not called then.
set -eu

destination=${DESTDIR:-}
prefix=/opt/vde_vmnet
force=
case ${1:-} in
    '') ;;
    --force) force=yes ;;
    -h | --help) sed -n '3,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "uninstall.sh: there is no option $1; type: uninstall.sh --help" >&2; exit 64 ;;
esac

as_root() { if [ "$(id -u)" = 0 ] || [ -n "$destination" ]; then "$@"; else sudo "$@"; fi; }

services=$destination/Library/LaunchDaemons
if [ -z "$destination" ]; then
    for name in shared bridged ondemand; do
        [ ! -f "$services/io.github.vde_vmnet.$name.plist" ] ||
            as_root launchctl bootout "system/io.github.vde_vmnet.$name" 2>/dev/null || :
    done
fi
running=$(pgrep -f "^$prefix/bin/vde_vmnet( |\$)" || :)
if [ -n "$running" ] && [ -z "$force" ]; then
    # shellcheck disable=SC2086
    echo "uninstall.sh: a network runs as process" $running "; stop it, or use --force" >&2
    exit 75
fi
for name in shared bridged ondemand; do as_root rm -f "$services/io.github.vde_vmnet.$name.plist"; done
as_root rm -f "$destination/etc/sudoers.d/vde_vmnet"
for name in shared bridged ondemand; do as_root rm -f "$destination/var/log/vde_vmnet.$name.log"; done
as_root rm -rf "$destination/var/lib/vde_vmnet" "$destination$prefix"
echo "Removed $prefix"
