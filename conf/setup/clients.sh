#!/bin/sh
# Installs the clients that the tests upload with, as their locks say.
#
#   conf/setup/clients.sh        those in JavaScript
#   conf/setup/clients.sh zoo    also those in Java and Rust
set -eu
cd "$(dirname "$0")/../.."

is_stamped() { # stamp, what it was made from
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

javascript() (
    cd tests/clients
    wanted=$(cat package.json package-lock.json .npmrc | cksum)
    is_stamped node_modules/.stamp "$wanted" && return
    echo "Installing the JavaScript clients"
    npm ci --no-progress --loglevel=error
    echo "$wanted" >node_modules/.stamp
)

java() (
    cd tests/interop/java
    wanted=$(cat pom.xml jars.sha256 Upload.java | cksum)
    is_stamped target/.stamp "$wanted" && return
    echo "Building the Java client"
    rm -rf target
    mvn --batch-mode --quiet -Dstyle.color=never --strict-checksums dependency:copy-dependencies \
        -DoutputDirectory=target/jars
    sha256sum --quiet --check jars.sha256
    mkdir target/classes
    javac -Xlint:all -Werror -cp 'target/jars/*' -d target/classes Upload.java
    echo "$wanted" >target/.stamp
)

# Cargo.pins is Cargo.lock without the lines that say where packages come from: cargo knows that
# best, and is asked. To pin anew: cargo generate-lockfile, and sed '/^source = /d' Cargo.lock.
rust() (
    cd tests/interop/rust
    wanted=$(cat Cargo.toml Cargo.pins src/main.rs | cksum)
    is_stamped target/.stamp "$wanted" && return
    pkg-config --exists openssl || ../../../conf/setup/apt.sh libssl-dev
    echo "Building the Rust client"
    rm -f Cargo.lock
    cargo generate-lockfile --quiet
    source=$(grep -m 1 '^source = ' Cargo.lock)
    sed "/^checksum = /i $source" Cargo.pins >Cargo.lock
    cargo build --quiet --locked
    echo "$wanted" >target/.stamp
)

javascript
if [ "${1:-}" = zoo ]; then
    java
    rust
fi
