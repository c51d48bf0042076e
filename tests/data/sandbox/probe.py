"""One attempt to get out of the sandbox, by name. Prints `done WHAT` when it worked and `refused ERRNO` when the system said no.

Started as a sidecar is: the last two arguments are the name and a JSON object with the places that matter."""

import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"


def call(x86, arm, *arguments):
    """A system call by its number; an error is an error."""
    whole = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(arm if ARM else x86), *whole)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def read(path):
    with open(path, "rb") as file:
        return len(file.read(64))


def write(path):
    with open(path, "ab") as file:
        return file.write(b"was here")


def connect(family, address, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(5)
        client.connect(address)
        return client.send(b"knock")


def fast_open(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        return client.sendto(b"knock", 0x20000000, ("127.0.0.1", port))


def datagram(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return client.sendto(b"knock", ("127.0.0.1", port))


def opened(family, kind, protocol=0):
    with socket.socket(family, kind, protocol):
        return "a socket"


def listening():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        return "bound"


def listening_somewhere():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.listen(1)
        return server.getsockname()[1]


def untied():
    if libc.prctl(1, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "")
    return "untied"


def written_and_run():
    with open("escape", "w") as file:
        file.write("#!/bin/sh\necho escaped\n")
    os.chmod("escape", 0o755)
    return subprocess.check_output(["./escape"])


def copied_and_run():
    # Executable without a chmod: made with its mode.
    descriptor = os.open("copied", os.O_CREAT | os.O_WRONLY, 0o755)
    with open("/bin/true", "rb") as program:
        os.write(descriptor, program.read())
    os.close(descriptor)
    os.execv("./copied", ["copied"])


def nowhere_and_run():
    descriptor = os.memfd_create("escape")
    with open("/bin/true", "rb") as program:
        os.write(descriptor, program.read())
    os.execv(f"/proc/self/fd/{descriptor}", ["escape"])


def forked():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child"


def many_forks():
    children = []
    try:
        for _ in range(100_000):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children)


def second_numbers():
    # getpid by its second number tells whether the kernel has them; then symlink by its second number.
    try:
        call(0x40000000 + 39, -1)
    except OSError as error:
        raise PermissionError(errno.EPERM, "no second numbers") from error
    return call(0x40000000 + 88, -1, b"/etc/passwd", b"second")


def large_file():
    with open("large", "wb") as file:
        file.truncate(12 << 30)
    os.remove("large")
    return "a file of 12 GB"


def large_memory():
    try:
        memory = mmap.mmap(-1, 3 << 30)
    except (MemoryError, OSError) as error:
        raise OSError(errno.ENOMEM, "") from error
    memory.close()
    return "3 GB"


def many_files():
    files = [open("/dev/null") for _ in range(500)]
    return len(files)


def threads():
    done = []
    workers = [threading.Thread(target=done.append, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(done)


def work():
    os.mkdir("pieces")
    with open("pieces/a", "w+") as file:
        file.write("hello")
    os.rename("pieces/a", "pieces/b")
    size = os.path.getsize("pieces/b")
    os.remove("pieces/b")
    os.rmdir("pieces")
    return size


def parent_traced():
    return call(101, 117, 16, PLACES["parent"], 0, 0)


def parent_memory_read():
    buffer = ctypes.create_string_buffer(8)
    here = struct.pack("PN", ctypes.addressof(buffer), 8)
    there = struct.pack("PN", ctypes.addressof(buffer), 8)
    return call(310, 270, PLACES["parent"], here, 1, there, 1, 0)


def ring():
    return call(425, 425, 8, ctypes.create_string_buffer(120))


PLACES = json.loads(sys.argv[-1])
PROBES = {
    # What is allowed.
    "work": work,
    "read named file": lambda: read(PLACES["named"]),
    "connect to the gate": lambda: connect(socket.AF_INET, ("127.0.0.1", PLACES["gate"])),
    "threads": threads,
    "random": lambda: read("/dev/urandom"),
    "child": lambda: subprocess.check_output(["/bin/echo", "hi"]).decode().strip(),
    # Files.
    "read passwd": lambda: read("/etc/passwd"),
    "read by way of its own root": lambda: read("/proc/self/root/etc/passwd"),
    "read through a link": lambda: read("link"),
    "read index": lambda: read(PLACES["data"] + "/index.db"),
    "read key": lambda: read(PLACES["data"] + "/secret.key"),
    "read another's work": lambda: read(PLACES["other"]),
    "list works": lambda: len(os.listdir(PLACES["data"] + "/work")),
    "list home": lambda: len(os.listdir(PLACES["home"])),
    "list root": lambda: len(os.listdir("/")),
    "write named file": lambda: write(PLACES["named"]),
    "write data": lambda: write(PLACES["data"] + "/written"),
    "write tmp": lambda: write("/tmp/meme-maker-probe"),
    "write another's work": lambda: write(PLACES["other"]),
    "truncate another's work": lambda: os.truncate(PLACES["other"], 1),
    "remove another's work": lambda: os.remove(PLACES["other"]),
    "remove named file": lambda: os.remove(PLACES["named"]),
    "make link": lambda: os.symlink("/etc/passwd", "made"),
    "make hard link": lambda: os.link(PLACES["data"] + "/secret.key", "key"),
    "rename out": lambda: os.rename("own", PLACES["data"] + "/renamed"),
    "rename in": lambda: os.rename(PLACES["other"], "taken"),
    "open up the key": lambda: os.chmod(PLACES["data"] + "/secret.key", 0o644),
    "give away": lambda: os.chown(PLACES["other"], os.getuid(), os.getgid()),
    "set times": lambda: os.utime(PLACES["other"], (1, 1)),
    "pipe with a name": lambda: os.mkfifo("fifo"),
    "device": lambda: os.mknod("device", 0o20666, os.makedev(1, 3)),
    # Other processes.
    "parent's environment": lambda: read(f"/proc/{PLACES['parent']}/environ"),
    "parent's memory": lambda: read(f"/proc/{PLACES['parent']}/mem"),
    "parent's descriptors": lambda: len(os.listdir(f"/proc/{PLACES['parent']}/fd")),
    "signal parent": lambda: os.kill(PLACES["parent"], signal.SIGCONT),
    "trace parent": parent_traced,
    "read parent's memory": parent_memory_read,
    "limit parent": lambda: call(302, 261, PLACES["parent"], 7, None, ctypes.create_string_buffer(16)),
    "slow parent down": lambda: os.setpriority(os.PRIO_PROCESS, PLACES["parent"], 0),
    "slow everybody down": lambda: os.setpriority(os.PRIO_USER, 0, 19),
    "leave the group": lambda: os.setpgid(0, PLACES["group"]) or "left",
    "new session": lambda: os.setsid(),
    "outlive the service": untied,
    "fork": forked,
    "fork bomb": many_forks,
    # The network.
    "connect to 127.0.0.1": lambda: connect(socket.AF_INET, ("127.0.0.1", PLACES["canary"])),
    "connect to ::1": lambda: connect(socket.AF_INET6, ("::1", PLACES["canary6"])),
    "connect to the service": lambda: connect(socket.AF_INET, ("127.0.0.1", PLACES["service"])),
    "connect while sending": lambda: fast_open(PLACES["canary"]),
    "listen": listening,
    "listen without a name": listening_somewhere,
    "datagram": lambda: datagram(PLACES["datagrams"]),
    "raw socket": lambda: opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packet socket": lambda: opened(socket.AF_PACKET, socket.SOCK_RAW),
    "netlink": lambda: opened(socket.AF_NETLINK, socket.SOCK_RAW),
    "multipath": lambda: opened(socket.AF_INET, socket.SOCK_STREAM, 262),
    "unix socket": lambda: connect(socket.AF_UNIX, PLACES["unix"]),
    "abstract socket": lambda: connect(socket.AF_UNIX, "\0" + PLACES["abstract"]),
    "pair of sockets": lambda: len(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
    # The kernel.
    "run what was written": written_and_run,
    "run what was copied": copied_and_run,
    "run what lies nowhere": nowhere_and_run,
    "another user": lambda: os.setuid(65534) or "nobody",
    "mount": lambda: call(165, 40, b"none", b".", b"tmpfs", 0, None),
    "new namespace": lambda: call(272, 97, 0x10000000),
    "new root": lambda: os.chroot("."),
    "ring": ring,
    "second numbers": second_numbers,
    "large file": large_file,
    "large memory": large_memory,
    "many files": many_files,
}

try:
    print("done", PROBES[sys.argv[-2]]())
except OSError as error:
    print("refused", errno.errorcode.get(error.errno, error.errno))
