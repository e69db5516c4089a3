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

# A developer's machine must not begin to serve web pages because tests need nginx's program: while
# packages are configured, no service is started (Debian's policy-rc.d; one's own is left alone).
POLICY=/usr/sbin/policy-rc.d

quietly() {
    if [ ! -e "$POLICY" ]; then
        trap 'as_root rm -f "$POLICY"' EXIT INT TERM
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
}

install() {
    command -v apt-get >/dev/null && as_root true || return 1
    echo "Installing by apt: $*" >&2
    quietly
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
