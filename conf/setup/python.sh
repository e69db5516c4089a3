#!/bin/sh
# Prints the Python to build .venv with: $PYTHON if set, else the one .venv was made with,
# else the newest on the PATH. A command that merely exists is not trusted (a version
# manager's stub answers "not installed"): each candidate has to run.
set -eu
cd "$(dirname "$0")/../.."

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
path_of() { "$1" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'; }

if [ -n "${PYTHON:-}" ]; then
    if ! fits "$PYTHON"; then
        echo "PYTHON=$PYTHON is not a working Python of version 3.11 or newer." >&2
        exit 1
    fi
    path_of "$PYTHON"
    exit
fi

if fits .venv/bin/python; then
    path_of .venv/bin/python
    exit
fi

second_choice=
for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
    fits "$candidate" || continue
    if has_venv "$candidate"; then
        path_of "$candidate"
        exit
    fi
    # Usable once its venv module is installed (Debian ships it apart).
    second_choice=${second_choice:-$candidate}
done

if [ -z "$second_choice" ]; then
    echo "tusd_py needs Python 3.11 or newer, and none was found on the PATH." >&2
    echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it:" >&2
    echo "    make setup PYTHON=/path/to/python3" >&2
    exit 1
fi
path_of "$second_choice"
