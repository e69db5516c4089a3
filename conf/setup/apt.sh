#!/bin/sh
# Installs Debian packages, or says in one message which are missing: apt.sh PACKAGE...
# Never asks for a password.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    as_root() { "$@"; }
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root() { sudo -n "$@"; }
else
    as_root() { return 1; }
fi

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >&2
}

install() {
    command -v apt-get >/dev/null && as_root true || return 1
    echo "Installing by apt: $*" >&2
    if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)" ]; then
        apt update || return 1
    elif apt install --no-install-recommends "$@"; then
        return 0
    else
        apt update || return 1  # the lists may be older than the mirror
    fi
    apt install --no-install-recommends "$@"
}

if ! install "$@"; then
    echo "Missing, and could not be installed from here: $*" >&2
    echo "Install them and run make again (Debian, Ubuntu: apt install $*)." >&2
    exit 1
fi
