"""Builds `.venv`: chooses the TFX line that this machine can run, finds a Python for it, installs with pinned versions.

Needs some Python of 3.8 or newer with venv, and touches nothing outside the checkout. `make` calls it.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import subprocess
import sys
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.join(ROOT, ".tools")
ENVIRONMENT = os.path.join(ROOT, ".venv")
EXTRAS = "dev,export,geo,kubeflow,mlflow,pretrained,samples,video,volumes"
# (least glibc of its wheels, line, Pythons from the newest to the oldest)
LINES = (
    ((2, 39), "1.21", ("3.13", "3.12", "3.11", "3.10")),
    ((2, 28), "1.16", ("3.10",)),
)


def choose_line():
    """The TFX line for this machine's C library, and the Pythons that it runs on."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        sys.exit(
            "segpipe needs Linux on x86-64, because TFX's libraries have no builds for "
            f"{platform.system()} on {platform.machine()}."
        )
    name, version = platform.libc_ver()
    found = tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else (0, 0)
    for least, line, pythons in LINES:
        if found >= least:
            return line, pythons
    sys.exit(f"segpipe needs glibc 2.28 or newer (Debian 10, Ubuntu 20.04); here is {name or 'another'} {version}.")


def candidates(version):
    """Interpreters that may be of this version: on the PATH, then pyenv's."""
    yield from filter(None, [shutil.which("python" + version)])
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    yield from sorted(glob.glob(os.path.join(pyenv, "versions", version + ".*", "bin", "python")), reverse=True)
    yield sys.executable


def find_python(versions):
    """The newest fitting interpreter on this machine, or None."""
    for version in versions:
        for path in candidates(version):
            script = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
            # Shims of version managers exist for versions that are not switched on; only what runs counts.
            result = subprocess.run([path, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if result.returncode == 0 and result.stdout.decode().strip() == version:
                return path
    return None


def ensure_compiler():
    """Makes Zig, which a wheel carries, the C and C++ compiler of a machine that has none."""
    if any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        return
    python = os.path.join(TOOLS, "bin", "python")
    run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "ziglang"], "a C++ compiler cannot be fetched")
    os.environ["CC"], os.environ["CXX"] = f"{python} -m ziglang cc", f"{python} -m ziglang c++"
    os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.environ["ZIG_LOCAL_CACHE_DIR"] = os.path.join(TOOLS, "cache", "zig")


def install_uv():
    """Fetches uv from the package registry into the checkout."""
    uv = os.path.join(TOOLS, "bin", "uv")
    if not os.path.exists(uv):
        try:
            venv.create(TOOLS, with_pip=True, clear=True)
        except (subprocess.CalledProcessError, ImportError):
            sys.exit(
                f"{sys.executable} cannot make virtual environments; install its venv module "
                "(on Debian and Ubuntu: apt-get install python3-venv)."
            )
        pip = [os.path.join(TOOLS, "bin", "python"), "-m", "pip"]
        run([*pip, "install", "--quiet", "--no-cache-dir", "uv>=0.5"], "uv cannot be fetched")
    return uv


def run(command, failure):
    """Runs a command, and ends with one sentence if it fails."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"{failure}; the messages above say why.")


def main():
    """Builds the environment from nothing."""
    line, versions = choose_line()
    os.environ.setdefault("UV_CACHE_DIR", os.path.join(TOOLS, "cache"))
    os.environ.setdefault("UV_PYTHON_INSTALL_DIR", os.path.join(TOOLS, "python"))
    uv = install_uv()
    ensure_compiler()
    python = find_python(versions)
    if python is None:
        print(f"No Python {' or '.join(versions)} on this machine; fetching one …", flush=True)
        fetched = subprocess.run([uv, "python", "install", "--quiet", "--no-bin", versions[0]], check=False)
        if fetched.returncode:
            sys.exit(
                f"TFX {line}, the line for this machine's C library, needs Python {' or '.join(versions)}: "
                "there is none here and none could be fetched; install one and try again."
            )
        python = versions[0]
    print(f"Installing segpipe with TFX {line} on {python} into .venv …", flush=True)
    run([uv, "venv", "--quiet", "--clear", "--python", python, ENVIRONMENT], "the environment cannot be made")
    constraints = os.path.join("constraints", f"tfx-{line}.txt")
    # Compiled now, else every process would import twice as slowly where Python may not write bytecode.
    run(
        [
            *(uv, "pip", "install", "--quiet", "--python", os.path.join(ENVIRONMENT, "bin", "python")),
            *("--constraint", constraints, "--override", os.path.join("constraints", "overrides.txt")),
            *("--editable", f".[{EXTRAS}]", "--compile-bytecode"),
        ],
        "the packages cannot be installed",
    )
    with open(os.path.join(ENVIRONMENT, "ready"), "w", encoding="utf-8") as file:
        file.write(f"{line}\n")
    print("Installed: the command is .venv/bin/segpipe; . .venv/bin/activate puts it on the path", flush=True)


if __name__ == "__main__":
    main()
