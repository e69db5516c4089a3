#!/bin/sh
# Installs the JavaScript clients that the tests upload with, as tests/clients' lock says.
set -eu
cd "$(dirname "$0")/../../tests/clients"

wanted=$(cat package.json package-lock.json .npmrc | cksum)
stamp=node_modules/.stamp
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
echo "Installing the JavaScript clients"
npm ci --no-progress --loglevel=error
echo "$wanted" >"$stamp"
