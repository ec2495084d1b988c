"""Set up an emulated Cortex-A76 or A72 on a Linux PC: QEMU's user mode, and a Python for it with onnxruntime.

It ends with the command that measures there. Nothing is installed and no system file is changed, so it needs no root:
packages of the host's own release are fetched for arm64 with lists and states of their own, and only unpacked.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

EXAMPLES = """examples:
  python examples/emulated_cortex.py                    a Cortex-A76 (Raspberry Pi 5) in ./cortex
  python examples/emulated_cortex.py --cpu cortex-a72   a Cortex-A72 (Raspberry Pi 4) beside it, nothing fetched again
  python examples/emulated_cortex.py --folder old --onnxruntime 1.23.2
  python examples/emulated_cortex.py --mirror URL       on Ubuntu, whose arm64 packages lie on a mirror of their own
"""
PACKAGES = ("python3", "libstdc++6")
WHEELS_LINK = "usr/lib/python3/dist-packages/wheels.pth"  # tells that Python where they are
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
ROLLING = {"stable", "testing", "unstable", "sid"}  # suites that are no code names

Source = dict[str, str]  # an entry of apt's sources: types, uris, suites, components, signed-by, ...


class SetupError(Exception):
    """What keeps the machine from being set up, in one line."""


CPUINFO = """processor\t: {index}
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: {revision}

"""
_ARMV8_0, _ARMV8_2 = "fp asimd aes pmull sha1 sha2 crc32", "atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CORES = {  # onnxruntime picks its kernels by the part: with an A76's, an emulated A72 meets an illegal instruction
    "cortex-a76": {"part": "0xd0b", "variant": "0x4", "revision": "1", "features": f"{_ARMV8_0} {_ARMV8_2}"},
    "cortex-a72": {"part": "0xd08", "variant": "0x0", "revision": "3", "features": f"{_ARMV8_0} cpuid"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up what is not there yet, try it, and print the command that measures on it."""
    parser = argparse.ArgumentParser(None, None, __doc__, EXAMPLES, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("cortex"), help="where everything goes (default: cortex)")
    parser.add_argument("--cpu", choices=list(CORES), default="cortex-a76", help="processor (default: cortex-a76)")
    parser.add_argument("--onnxruntime", metavar="VERSION", help="default: what is there already, else the newest")
    parser.add_argument("--mirror", metavar="URL", help="where arm64 packages lie (default: the mirrors of this PC)")
    given = parser.parse_args(arguments)
    try:
        command = set_up(given.folder.resolve(), given.cpu, given.onnxruntime, given.mirror)
    except (SetupError, OSError) as error:
        print(f"emulated_cortex.py: {error}", file=sys.stderr)
        return 3  # as compress says that something is missing
    print(f'compress bench RUN --on "command: {shlex.join(command)} {{script}}"')
    return 0


def set_up(folder: Path, cpu: str, onnxruntime: str | None = None, mirror: str | None = None) -> list[str]:
    """Make the machine in a folder, as far as it is missing, and return the command that runs its Python.

    Below the folder, `debian` holds the unpacked packages, `wheels` numpy and onnxruntime. Both
    processors share them: `cortex-a76` and `cortex-a72` link to them, and hold what differs.
    """
    qemu = _program("qemu-aarch64", "install it: apt-get install qemu-user")
    unpack_packages(folder, mirror)
    python = python_of(folder / "debian")
    install_wheels(folder, python, onnxruntime)
    board = write_board(folder, cpu)
    command = [qemu, "-cpu", cpu, "-L", str(board), str(board / "usr/bin" / python), "-I"]
    _run(*command, "-c", "import onnxruntime")
    return command


def unpack_packages(folder: Path, mirror: str | None) -> None:
    """Fetch the arm64 packages of the host's release with apt, and unpack them; the host's own apt learns nothing."""
    if (folder / "debian").is_dir():
        return
    for name in ("apt-get", "dpkg-deb"):
        _program(name, "the host has to be a Debian or Ubuntu")
    apt, beside = folder / "apt", folder / "debian.part"
    options = ("-qq", "-c", str(write_apt(apt, host_sources(Path("/etc/apt"), _codename(), mirror))))
    advice = "" if mirror else "; if the host's mirrors have no arm64 packages, as Ubuntu's, name one with --mirror"
    _say(f"packages: fetching {' and '.join(PACKAGES)}, and what they need")
    _run("apt-get", *options, "update", advice=advice)
    _run("apt-get", *options, "--download-only", "--no-install-recommends", "--yes", "install", *PACKAGES)
    shutil.rmtree(beside, ignore_errors=True)
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(beside))
    if not (beside / "lib").exists():  # newer releases have all of it below usr
        (beside / "lib").symlink_to("usr/lib")
    (beside / WHEELS_LINK).parent.mkdir(parents=True, exist_ok=True)
    (beside / WHEELS_LINK).write_text("../" * 5 + "wheels\n", encoding="ascii")
    beside.rename(folder / "debian")
    shutil.rmtree(apt)


def python_of(debian: Path) -> str:
    """Name the Python that was unpacked, such as python3.11."""
    version = max(int(path.suffix[1:]) for path in (debian / "usr/bin").glob("python3.*") if path.suffix[1:].isdigit())
    if version < 10:
        raise SetupError(f"python3.{version}: the bench needs 3.10 or newer; take a host with a newer release")
    return f"python3.{version}"


def install_wheels(folder: Path, python: str, onnxruntime: str | None) -> None:
    """Unpack the ARM wheels of numpy and onnxruntime beside the packages."""
    wheels, beside = folder / "wheels", folder / "wheels.part"
    if any(wheels.glob(f"onnxruntime-{onnxruntime or '*'}.dist-info")):
        return
    _say("wheels: fetching numpy and onnxruntime")
    shutil.rmtree(beside, ignore_errors=True)
    target = ("--target", str(beside), "--only-binary=:all:", f"--python-version={python.removeprefix('python')}")
    names = ("numpy", f"onnxruntime=={onnxruntime}" if onnxruntime else "onnxruntime")
    platforms = [f"--platform={name}" for name in PLATFORMS]
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *target, *platforms, *names)
    shutil.rmtree(wheels, ignore_errors=True)
    beside.rename(wheels)


def write_board(folder: Path, cpu: str) -> Path:
    """Write the folder that QEMU looks into first: links to what is shared, and what this processor tells of itself.

    QEMU 7 shows a program the `/proc/cpuinfo` of the host unless it finds one there, and onnxruntime
    crashes on an Intel or AMD one; QEMU 10 makes its own.
    """
    board, n_cores = folder / cpu, os.cpu_count() or 1
    files = {
        "proc/cpuinfo": cpuinfo(cpu, n_cores),
        "proc/device-tree/model": f"{cpu.title()}\0",
        "sys/devices/system/cpu/possible": f"0-{n_cores - 1}\n",
        "sys/devices/system/cpu/present": f"0-{n_cores - 1}\n",
    }
    for name, text in files.items():
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_text(text, encoding="ascii")
    for name in ("usr", "lib"):
        (board / name).unlink(missing_ok=True)
        (board / name).symlink_to(f"../debian/{name}")
    return board


def cpuinfo(cpu: str, n_cores: int) -> str:
    """Write `/proc/cpuinfo` as Linux does on such a processor."""
    return "".join(CPUINFO.format(index=index, **CORES[cpu]) for index in range(n_cores))


def host_sources(etc: Path, codename: str, mirror: str | None) -> list[Source]:
    """Read where the host gets the packages of its release from, as far as that may have arm64 packages."""
    files = sorted([etc / "sources.list", *(etc / "sources.list.d").glob("*")])
    entries = [entry for file in files if file.is_file() for entry in read_sources(file)]
    if mirror:
        entries = [entry | {"uris": mirror, "architectures": "arm64"} for entry in entries]
    chosen = [entry for entry in entries if _has_packages(entry, codename)]
    if not chosen:
        raise SetupError(f"{etc}: no source of arm64 packages for {codename}; give a mirror with --mirror")
    return chosen


def read_sources(file: Path) -> Iterator[Source]:
    """Read the entries of one file, in either format of apt; other files have none."""
    text = re.sub(r"^\s*#.*\n?", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if file.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            fields = re.findall(r"^(\S+?):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
            yield {name.lower(): value.strip() for name, value in fields}
    elif file.suffix == ".list":
        line = r"^\s*(deb\S*)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)([^#\n]*)"
        for kind, options, uri, suite, components in re.findall(line, text, re.MULTILINE):
            given = dict(re.findall(r"(\S+?)=(\S+)", options))
            named = {"architectures": given.get("arch", "").replace(",", " "), "signed-by": given.get("signed-by")}
            entry = {"types": kind, "uris": uri, "suites": suite, "components": components.strip()}
            yield entry | {name: value for name, value in named.items() if value}


def _has_packages(entry: Source, codename: str) -> bool:
    """Tell whether an entry has packages of the host's release for arm64; those of others are of no use here."""
    suites = {suite.removesuffix("-updates").removesuffix("-security") for suite in entry.get("suites", "").split()}
    return (
        "deb" in entry.get("types", "").split()
        and entry.get("enabled", "yes").lower() not in ("no", "false", "off", "0")
        and "arm64" in entry.get("architectures", "arm64").split()
        and "main" in entry.get("components", "").split()
        and not suites.isdisjoint({codename, *ROLLING})
    )


def write_apt(apt: Path, sources: Sequence[Source]) -> Path:
    """Write a configuration by which apt works in a folder of its own, for arm64, with the host's mirrors and keys."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    stanzas = ("\n".join(f"{name}: {value}" for name, value in entry.items()) for entry in sources)
    (apt / "host.sources").write_text("\n\n".join(stanzas), encoding="utf-8")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",  # whoever runs this: another user might not get into the folder
        "Acquire::Languages": "none",
        "Dir::State": f"{apt}/state",
        "Dir::State::status": f"{apt}/status",
        "Dir::Cache": f"{apt}/cache",
        "Dir::Etc::sourcelist": f"{apt}/host.sources",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    cleared = ("APT::Architectures", "APT::Update", "DPkg")  # the last two run programs of the host
    lines = [*(f"#clear {name};" for name in cleared), *(f'{name} "{value}";' for name, value in settings.items())]
    (apt / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return apt / "apt.conf"


def _codename() -> str:
    """Name the host's release as its mirrors do; derivatives of Ubuntu say whose packages they take."""
    release = platform.freedesktop_os_release()
    return release.get("UBUNTU_CODENAME") or release.get("VERSION_CODENAME", "")


def _program(name: str, advice: str) -> str:
    """Find a program, or say how to get it."""
    if not (found := shutil.which(name)):
        raise SetupError(f"{name}: not found; {advice}")
    return found


def _run(*command: str, advice: str = "") -> None:
    """Run a command that prints nothing unless it fails, and then say why: apt's first error, or the last line."""
    quiet = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        reason = next((line for line in lines if line.startswith("E: ")), lines[-1])
        raise SetupError(f"{Path(command[0]).name}: {reason}{advice}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
