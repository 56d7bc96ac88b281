"""What a process gives up before it runs anything untrusted: rights, files, system calls, time.

Guarantees: each is given up for good, by the kernel, whatever the process does later; it is the
last wall inside a boundary of namespaces, and the boundary itself where there are none. System
calls are let through by name: what is not listed is refused.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 38, 22, 24
_SIGKILL = 9
_FILE_BYTES = 1 << 20
_OPEN_FILES = 32
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63

# Landlock: numbers of its system calls (equal on all machines) and rights by version.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TRUNCATE_VERSION = 3
_OPEN_PATH = 0o10000000

_X86, _ARM = "x86_64", "aarch64"
_AUDIT = {_X86: 0xC000003E, _ARM: 0xC00000B7}
_NEW_CALLS = 403
"""Calls from here on are reported as missing, so that the C library falls back to older ones."""
_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06

# Name, number on x86_64, number on aarch64 (-1: there is none).
_CALLS = """
read 0 63|write 1 64|open 2 -1|close 3 57|stat 4 -1|fstat 5 80|lstat 6 -1|poll 7 -1|lseek 8 62
mmap 9 222|mprotect 10 226|munmap 11 215|brk 12 214|rt_sigaction 13 134|rt_sigprocmask 14 135
rt_sigreturn 15 139|pread64 17 67|pwrite64 18 68|readv 19 65|writev 20 66|access 21 -1|pipe 22 -1
select 23 -1|sched_yield 24 124|mremap 25 216|mincore 27 232|madvise 28 233|dup 32 23|dup2 33 -1
pause 34 -1|nanosleep 35 101|getitimer 36 102|alarm 37 -1|setitimer 38 103|getpid 39 172
sendfile 40 71|sendto 44 206|recvfrom 45 207|sendmsg 46 211|recvmsg 47 212|shutdown 48 210
getsockname 51 204|getpeername 52 205|setsockopt 54 208|getsockopt 55 209|exit 60 93|wait4 61 260
uname 63 160|flock 73 32|fsync 74 82|fdatasync 75 83|ftruncate 77 46|getcwd 79 17|chdir 80 49
fchdir 81 50|rename 82 -1|mkdir 83 -1|rmdir 84 -1|creat 85 -1|link 86 -1|unlink 87 -1
symlink 88 -1|readlink 89 -1|umask 95 166|gettimeofday 96 169|getrlimit 97 163|getrusage 98 165
sysinfo 99 179|times 100 153|getuid 102 174|getgid 104 176|geteuid 107 175|getegid 108 177
getppid 110 173|getpgrp 111 -1|setrlimit 160 164|getgroups 115 158|getresuid 118 148
getresgid 120 150|getpgid 121 155|getsid 124 156|rt_sigpending 127 136|rt_sigtimedwait 128 137
rt_sigsuspend 130 133|sigaltstack 131 132|statfs 137 43|fstatfs 138 44|getpriority 140 141
sched_getparam 143 121|sched_getscheduler 145 120|sched_get_priority_max 146 125
sched_get_priority_min 147 126|sched_rr_get_interval 148 127|gettid 186 178|readahead 187 213
time 201 -1|futex 202 98|sched_getaffinity 204 123|epoll_create 213 -1|getdents64 217 61
restart_syscall 219 128|fadvise64 221 223|clock_gettime 228 113|clock_getres 229 114
clock_nanosleep 230 115|exit_group 231 94|epoll_wait 232 -1|epoll_ctl 233 21|waitid 247 95
openat 257 56|mkdirat 258 34|newfstatat 262 79|unlinkat 263 35|renameat 264 38|linkat 265 37
symlinkat 266 36|readlinkat 267 78|faccessat 269 48|pselect6 270 72|ppoll 271 73
set_robust_list 273 99|epoll_pwait 281 22|fallocate 285 47|eventfd2 290 19|epoll_create1 291 20
dup3 292 24|pipe2 293 59|preadv 295 69|pwritev 296 70|getcpu 309 168|renameat2 316 276
getrandom 318 278|membarrier 324 283|copy_file_range 326 285|preadv2 327 286|pwritev2 328 287
statx 332 291|rseq 334 293|close_range 436 436
"""
# Without effect, but no error: careful programs set modes and times of their own files.
_PRETENDED = "chmod 90 -1|fchmod 91 52|fchmodat 268 53|utimensat 280 88|utime 132 -1|utimes 235 -1"
_THREAD = 0x10000
_IOCTLS = (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
_PRCTLS = (15, 16)


def leave_privileges() -> None:
    """Give up all rights, those of programs started later too."""
    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _must(libc.capset(header, bytes(24)), "capset")


def end_with(parent: int) -> None:
    """Ask to be killed as soon as the parent is gone; each child asks for itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def landlock_version() -> int:
    """Return the version of Landlock here; 0 without one that can guard truncation."""
    try:
        found = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, 1)
    except (OSError, AttributeError):
        return 0
    return int(found) if found >= _TRUNCATE_VERSION else 0


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Let nothing be opened but these files and what is below these folders."""
    libc = ctypes.CDLL(None, use_errno=True)
    rights = _RIGHTS[max(version for version in _RIGHTS if version <= landlock_version())]
    handled = struct.pack("=Q", rights)
    ruleset = _must(libc.syscall(_CREATE_RULESET, handled, len(handled), 0), "landlock")
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for path, allowed in [
        *((path, reading) for path in readable),
        *((path, rights) for path in writable),
        ("/dev/null", _READ_FILE | _WRITE_FILE),
        ("/dev/urandom", _READ_FILE),
    ]:
        if not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            allowed &= _EXECUTE | _READ_FILE | _WRITE_FILE
        handle = os.open(path, _OPEN_PATH)
        rule = struct.pack("=Qi", allowed, handle)
        _must(libc.syscall(_ADD_RULE, ruleset, 1, rule, 0), f"landlock: {path}")
        os.close(handle)
    _must(libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock")
    os.close(ruleset)


def limit(seconds: int, size: int) -> None:
    """Bound CPU time, memory, files; the soft limit of the time ends with a signal that says so."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for name, value in (
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def filter_calls() -> None:
    """Let through the listed system calls alone; signals and limits for this process only."""
    program = _assemble(os.getpid())
    count = len(program) // 8
    buffer = ctypes.create_string_buffer(program)
    described = struct.pack("@HP", count, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    _must(libc.prctl(_PR_SET_SECCOMP, 2, described, 0, 0), "seccomp")


def knows_machine() -> bool:
    """Whether the list of system calls has this machine's numbers."""
    return os.uname().machine in _AUDIT and struct.calcsize("P") == 8


def _assemble(pid: int) -> bytes:
    machine = os.uname().machine
    column = 1 if machine == _X86 else 2
    numbers = {
        entry.split()[0]: int(entry.split()[column])
        for line in (_CALLS + _PRETENDED).strip().splitlines()
        for entry in line.split("|")
    }
    pretended = {entry.split()[0] for entry in _PRETENDED.split("|")}
    made: list[bytes] = []

    def emit(code: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        made.append(struct.pack("=HBBI", code, if_true, if_false, value))

    def refuse(errno: int) -> None:
        emit(_RETURN, _ERRNO | errno)

    def argument(index: int) -> None:
        emit(_LOAD, 16 + 8 * index)

    def special(x86: int, arm: int, index: int, values: tuple[int, ...], mask: int = 0) -> None:
        """Let the call through where its argument (under the mask) is one of the values."""
        number = x86 if machine == _X86 else arm
        checks = len(values) * 2 + 2 + bool(mask)
        emit(_EQUAL, number, 0, checks)
        argument(index)
        if mask:
            emit(_AND, mask)
        for value in values:
            emit(_EQUAL, value, 0, 1)
            emit(_RETURN, _ALLOW)
        refuse(_EPERM)

    emit(_LOAD, 4)
    emit(_EQUAL, _AUDIT[machine], 1, 0)
    emit(_RETURN, _KILL)
    emit(_LOAD, 0)
    for name, number in numbers.items():
        if number >= 0:
            emit(_EQUAL, number, 0, 1)
            emit(_RETURN, _ERRNO if name in pretended else _ALLOW)
    special(56, 220, 0, (_THREAD,), _THREAD)  # clone
    special(62, 129, 0, (pid,))  # kill
    special(234, 131, 0, (pid,))  # tgkill
    special(302, 261, 0, (0, pid))  # prlimit64
    special(16, 29, 1, _IOCTLS)  # ioctl
    special(72, 25, 1, _FCNTLS)  # fcntl
    special(157, 167, 0, _PRCTLS)  # prctl
    special(53, 199, 1, (1,), 0xF)  # socketpair: streams, which cannot be sent to an address
    emit(_AT_LEAST, 0x40000000, 1, 0)
    emit(_AT_LEAST, _NEW_CALLS, 1, 0)
    refuse(_EPERM)
    refuse(_ENOSYS)
    return b"".join(made)


def _must(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what} is refused")
    return result
