#!/bin/sh
# Sees to it that every command of a table is there, in one go: system.sh [TABLE]. What make test
# runs is in system-packages, what make interop runs besides in interop-packages.
set -eu
cd "$(dirname "$0")"
table=${1:-system-packages}
# Debian keeps servers where only root looks by itself.
PATH=$PATH:/usr/sbin:/sbin

is_present() { # command, least major version
    command -v "$1" >/dev/null || return 1
    [ "$2" = - ] && return 0
    major=$("$1" --version 2>/dev/null | grep -o '[0-9][0-9]*' | head -n 1)
    [ -n "$major" ] && [ "$major" -ge "$2" ]
}

missing() { # prints the column asked for, of every line whose command is missing
    while read -r command package least; do
        case $command in '' | '#'*) continue ;; esac
        is_present "$command" "$least" && continue
        case $1 in
            package) echo "$package" ;;
            command) echo "$command$([ "$least" = - ] || echo " $least or newer")" ;;
        esac
    done <"$table"
}

packages=$(missing package | sort -u)
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086  # one word a package
./apt.sh $packages

still=$(missing command)
if [ -n "$still" ]; then
    echo "Installed, but still missing (too old a version?):" >&2
    echo "$still" >&2
    exit 1
fi
