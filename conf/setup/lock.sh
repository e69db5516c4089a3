#!/bin/sh
# Writes conf/requirements/*.txt anew from pyproject.toml. Only this needs uv; it comes
# from pip, into a folder that is gone afterwards.
#
#   conf/setup/lock.sh             add and remove what pyproject.toml asks for, keep other pins
#   conf/setup/lock.sh --upgrade   take the newest of everything
set -eu
cd "$(dirname "$0")/../.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$(conf/setup/python.sh)" -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv

out=conf/requirements
compile() {
    # No header, no index line: a lock names packages and hashes, never where they came from.
    UV_PYTHON_DOWNLOADS=never "$tools/bin/uv" pip compile --quiet --universal \
        --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links "$@"
}
compile pyproject.toml --extra speed --output-file "$out/runtime.txt" "$@"
compile --group build --output-file "$out/build.txt" "$@"
compile pyproject.toml --extra speed --group dev --output-file "$out/dev.txt" \
    --constraint "$out/runtime.txt" --constraint "$out/build.txt" "$@"
