"""
A machine for one test: systemd as process 1, and files of its own in /etc, /var, /srv and /run.

It is a set of namespaces, so root may make one in a second where the kernel lets it: what a page
tells a reader to do as root is done there, at the very places, and nothing of it is left behind.
Programs are those of this machine.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests.support.children import PATIENCE, Child, until

__all__ = ["Machine", "missing_machine"]

_T = TypeVar("_T")

_ROOT = Path(__file__).parents[2]

#: Where a machine has our Python, its packages and the checkout: no user may enter /root, and
#: systemd hides /root, /home and /tmp from services.
_PYTHON, _PACKAGES, _SOURCE, _PROGRAMS = "/opt/python", "/opt/packages", "/opt/source", "/opt/bin"

_PATH = f"{_PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"

#: Units without which systemd does not start, and two that our units name; all are empty.
_TARGETS = (
    *("basic", "multi-user", "network", "network-online", "nss-lookup", "paths", "remote-fs"),
    *("shutdown", "slices", "sockets", "sysinit", "timers", "umount"),
)

#: Units of Debian's packages that pages start.
_SERVICES = ("apache2", "haproxy", "nginx", "redis-server")

_NET = 0x40000000

#: Makes a control group for all processes of the machine, and removes it after them.
_OUTSIDE = """
set -e
umount --recursive --lazy /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/wsredis-test-$$
mkdir $group
setpriv --pdeathsig KILL sh -c '
    echo 0 >"$1/cgroup.procs"
    exec unshare --cgroup --ipc --mount --net --pid --uts --fork --kill-child sh -c "$2"
' sh $group "$INSIDE" &
child=$!
trap 'kill -KILL $child' TERM INT
wait $child || true
wait $child || true
# The last process is gone a moment later.
while [ -e $group ] && ! find $group -depth -type d -exec rmdir {} + 2>/dev/null; do
    sleep 0.01
done
"""

#: Becomes process 1.
_INSIDE = f"""
set -e
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir {_PYTHON} {_PACKAGES} {_SOURCE} {_PROGRAMS} /opt/layers
mount --bind "$PYTHON" {_PYTHON}
mount --bind "$PACKAGES" {_PACKAGES}
mount --bind "$SOURCE" {_SOURCE}
mount -o remount,bind,ro {_SOURCE}
for name in etc var; do
    mkdir /opt/layers/$name /opt/layers/$name.work
    layers=upperdir=/opt/layers/$name,workdir=/opt/layers/$name.work
    mount -t overlay -o lowerdir=/$name,$layers overlay /$name
done
for name in run srv; do
    mount -t tmpfs -o mode=755 tmpfs /$name
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
mknod -m 666 /dev/tty c 5 0
mkdir /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
rm -rf /etc/systemd/system
mkdir -p /etc/systemd/system /run/units /run/lock
cd /run/units
for name in $TARGETS; do
    printf '[Unit]\\nDefaultDependencies=no\\nRefuseManualStart=no\\n' >$name.target
done
for name in $SERVICES; do
    [ ! -e /lib/systemd/system/$name.service ] || cp /lib/systemd/system/$name.service .
done
if [ "$PYTHON" != /usr ] && ls {_PYTHON}/lib/libpython*.so >/dev/null 2>&1; then
    # Else it loads that of Debian, which may be another version.
    echo {_PYTHON}/lib >/etc/ld.so.conf.d/00-python.conf
    ldconfig
fi
printf '#!/bin/sh\\nexec "$@"\\n' >{_PROGRAMS}/sudo
printf '#!/bin/sh\\n' >{_PROGRAMS}/apt-get
chmod +x {_PROGRAMS}/*
{_PYTHON}/bin/python3 -c '
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind("/dev/log")
'
mount --make-rshared /
exec env -i container=lxc PATH={_PATH} SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units \
    "$SYSTEMD" --log-target=console --show-status=no --unit=multi-user.target
"""


#: All that the kernel may refuse.
_TRIAL = """
mount -t tmpfs tmpfs /opt
mkdir /opt/a /opt/b
mount -t overlay -o lowerdir=/etc,upperdir=/opt/a,workdir=/opt/b overlay /etc
mknod /opt/null c 1 3
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/wsredis-test-$$
rmdir /sys/fs/cgroup/wsredis-test-$$
"""


class Machine:
    """
    A machine that runs.

    Attributes:
        child: The process that holds it; its output is the log of systemd.
    """

    def __init__(self) -> None:
        self.child = Child(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _OUTSIDE],
            env={
                "PATH": _PATH,
                "INSIDE": _INSIDE,
                "SYSTEMD": _find_systemd(),
                "PYTHON": sys.base_prefix,
                "PACKAGES": sysconfig.get_path("purelib"),
                "SOURCE": str(_ROOT),
                "TARGETS": " ".join(_TARGETS),
                "SERVICES": " ".join(_SERVICES),
            },
        )
        try:
            until(self._has_started)
        except BaseException:
            self.stop()
            raise

    def _has_started(self) -> bool:
        assert self.child.process.poll() is None, self.child.output
        self._first = _descendant(self.child.pid, "systemd")
        if not self._first:
            return False
        words = self._words("systemctl", "is-active", "multi-user.target")
        return subprocess.run(words, capture_output=True).stdout == b"active\n"

    def _words(self, *words: str) -> list[str]:
        inside = ("--mount", "--pid", "--net", "--uts", "--ipc", f"--target={self._first}")
        return ["nsenter", *inside, "--wd=/root", "env", "-i", f"PATH={_PATH}", *words]

    def run(self, line: str) -> str:
        """
        Run a line of a page in a shell, as root. Returns: Its output.

        Raises:
            AssertionError: Its status is not 0.
        """
        done = subprocess.run(
            self._words("sh", "-c", line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{line}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def inside(self, function: Callable[[], _T]) -> _T:
        """Call *function* in a thread whose sockets belong to the network of the machine."""

        def enter() -> _T:
            with open(f"/proc/{self._first}/ns/net") as namespace:
                # Python has os.setns since 3.12.
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NET):
                    raise OSError(ctypes.get_errno(), "setns")
            return function()

        # A thread that has moved is not used again.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(enter).result(PATIENCE)

    def write(self, path: str, text: str) -> None:
        """Write a file, as an editor of root does: with mode 644 if it is new."""
        self.run(f"mkdir -p {shlex.quote(os.path.dirname(path))}")
        quoted = shlex.quote(path)
        subprocess.run(
            self._words("sh", "-c", f"umask 022; cat >{quoted}"),
            input=text.encode(),
            check=True,
            timeout=PATIENCE,
        )

    def make_environment(self, path: str) -> None:
        """A virtual environment with this package, as pip would make it, but without a network."""
        library = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        self.run(f"{_PYTHON}/bin/python3 -m venv --without-pip {path}")
        self.write(f"{path}/{library}/installed.pth", f"{_SOURCE}\n{_PACKAGES}\n")
        for name, module in (("twistd", "twisted.scripts.twistd"), ("wsredis", "wsredis.__main__")):
            text = f"#!{path}/bin/python\nimport sys\nfrom {module} import run\nsys.exit(run())\n"
            self.write(f"{path}/bin/{name}", text)
            self.run(f"chmod +x {path}/bin/{name}")

    def users(self, name: str) -> list[int]:
        """The user of each process with that name, as numbers."""
        return [int(word) for word in self.run(f"ps -o uid= -C {name} || true").split()]

    def stop(self) -> None:
        """End it with all of its processes."""
        self.child.stop()


def _find_systemd() -> str:
    return shutil.which("systemd", path="/lib/systemd:/usr/lib/systemd") or ""


def _descendant(process: int, name: str) -> int:
    """The number of the first descendant of a process that has this name. 0 if there is none."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if Path(f"/proc/{process}/comm").read_text().strip() == name:
            return process
    except OSError:
        return 0
    return next(filter(None, (_descendant(int(each), name) for each in children)), 0)


@cache
def missing_machine() -> str | None:
    """The reason to skip a test that needs a machine, or None."""
    if os.geteuid() != 0:
        return "only root may make a machine"
    for program in ("nsenter", "setpriv", "systemctl", "unshare"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine"
    if not _find_systemd():
        return "there is no systemd on this machine"
    tried = subprocess.run(
        [
            *("unshare", "--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts", "--fork"),
            *("sh", "-ec", _TRIAL),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if tried.returncode:
        return f"no machine can be made here: {tried.stderr.strip()}"
    return None
