"""Makes .venv what the locks say: ``venv.py runtime`` or ``venv.py dev``.

Uses nothing but the standard library of the Python it is run with. What was installed is
written down in .venv/.stamps as a digest of everything it was made from, so that a second run
with nothing changed returns at once. Two runs at the same time wait for each other.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = ROOT / "conf" / "requirements"
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
WANTED: Final = {
    "runtime": [LOCKS / "runtime.txt", LOCKS / "build.txt"],
    "dev": [LOCKS / "dev.txt"],  # holds the other two
}


def digest(*parts: str | Path) -> str:
    """One line that changes when any of the parts does."""
    sums = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        sums.update(hashlib.sha256(content).digest())
    return sums.hexdigest() + "\n"


def is_stamped(name: str, value: str) -> bool:
    stamp = VENV / ".stamps" / name
    return stamp.is_file() and stamp.read_text() == value


def stamp(name: str, value: str) -> None:
    (VENV / ".stamps").mkdir(exist_ok=True)
    (VENV / ".stamps" / name).write_text(value)


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def pip_install(*arguments: str | Path) -> None:
    run(PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
        *arguments)  # fmt: skip


def make_venv() -> None:
    """Make .venv, anew when another Python is wanted or the folder was moved."""
    # Scripts in a venv name their interpreter by its full path: a moved venv is broken.
    made_of = digest(sys.version, sys.executable, str(VENV))
    if is_stamped("venv", made_of) and PYTHON.exists():
        return
    if importlib.util.find_spec("ensurepip") is None:
        # Debian keeps the venv module in a package of its own.
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        run(ROOT / "conf" / "setup" / "apt.sh", package)
    print(f"Making .venv with Python {sys.version.split()[0]} ({sys.executable})", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    run(sys.executable, "-m", "venv", VENV)
    stamp("venv", made_of)


def install(name: str) -> None:
    """Install the locked packages of ``name``, every one checked against its hash."""
    locks = WANTED[name]
    if is_stamped(name, wanted := digest(*locks)):
        return
    print(f"Installing the {name} packages", flush=True)
    arguments: list[str | Path] = ["--require-hashes"]
    for lock in locks:
        arguments += ["-r", lock]
    pip_install(*arguments)
    stamp(name, wanted)


def install_project() -> None:
    """Install tusd_py itself, editable, and thereby .venv/bin/tusd-py."""
    wanted = digest(ROOT / "pyproject.toml")
    if is_stamped("project", wanted) and (VENV / "bin" / "tusd-py").exists():
        return
    print("Installing tusd_py", flush=True)
    pip_install("--no-deps", "--no-build-isolation", "-e", ".")
    stamp("project", wanted)


def main() -> int:
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in WANTED:
        print(f"usage: venv.py {' | '.join(WANTED)}", file=sys.stderr)
        return 2
    with (ROOT / "conf" / "setup" / "venv.py").open() as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        try:
            make_venv()
            install(name)
            install_project()
        except subprocess.CalledProcessError as failure:
            print(f"setup failed: {' '.join(failure.cmd)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
