"""What a child does before it becomes the program, or makes the call: limits, user, directory, variables.

It runs under the environment's own interpreter: standard library and siblings only.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import resource
import signal
from typing import Any, NamedTuple

from stokerd.forkserver import prctl


class RefusedError(Exception):
    """It can't become what was asked for.

    Args:
        error: what, and why.
        hint: what to do.
    """

    def __init__(self, error: str, hint: str = "") -> None:
        super().__init__(error)
        self.error, self.hint = error, hint


class Who(NamedTuple):
    """Whom a process runs as.

    Args:
        uid: user id.
        gid: group id.
        login: name of the user, home and shell; None where no entry is known, or no user was given.
    """

    uid: int
    gid: int
    login: pwd.struct_passwd | None


def settle(args: dict[str, Any]) -> dict[str, str]:
    """Take the limits, the user and the directory; returns the whole environment, and does not set it.

    Args:
        args: ``cwd``, ``env``, and where they are given ``rlimits``, ``user`` and ``group``.

    Raises:
        RefusedError: one of them can't be had.
    """
    env = dict(os.environ)
    _limit(args.get("rlimits") or {})
    if args.get("user") or args.get("group"):
        who = _look_up(args.get("user", ""), args.get("group", ""))
        _change_to(who)
        if who.login is not None:
            login = who.login
            env |= {"HOME": login.pw_dir, "USER": login.pw_name, "LOGNAME": login.pw_name, "SHELL": login.pw_shell}
    env |= args["env"]
    try:
        os.chdir(args["cwd"])
    except (OSError, ValueError) as why:
        hint = "give a directory that exists"
        raise RefusedError(f"cannot enter the working directory {args['cwd']}: {reason(why)}", hint) from None
    return env


def reason(why: Exception) -> str:
    """In words, without the number."""
    return (why.strerror or str(why)) if isinstance(why, OSError) else str(why)


def _limit(limits: dict[str, int | str]) -> None:
    for name, given in limits.items():
        value = resource.RLIM_INFINITY if given == "unlimited" else int(given)
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise RefusedError(f"this system has no resource limit {name!r}", "leave it out")
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as why:
            hard = resource.getrlimit(number)[1]
            most = "unlimited" if hard == resource.RLIM_INFINITY else hard
            hint = f"the hard limit is {most}, and only root may raise it"
            raise RefusedError(f"cannot set the resource limit {name} to {given}: {reason(why)}", hint) from None


def _look_up(user: str, group: str) -> Who:
    uid, gid, login = os.geteuid(), os.getegid(), None
    if user:
        with contextlib.suppress(KeyError):
            login = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        if login is not None:
            uid, gid = login.pw_uid, login.pw_gid
        elif user.isdecimal():
            uid = gid = int(user)
        else:
            raise RefusedError(
                f"there is no user {user!r} on this machine", "`getent passwd` lists those that there are"
            )
    if group:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            hint = "`getent group` lists those that there are"
            raise RefusedError(f"there is no group {group!r} on this machine", hint) from None
    return Who(uid, gid, login)


def _change_to(who: Who) -> None:
    if (who.uid, who.gid) == (os.geteuid(), os.getegid()):
        return
    parent = os.getppid()
    try:
        for fd in (1, 2):  # so that it can open /dev/stdout and /dev/stderr anew
            os.fchown(fd, who.uid, who.gid)
        if who.login is not None:
            os.initgroups(who.login.pw_name, who.gid)
        else:
            os.setgroups([who.gid])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    except OSError as why:
        hint = "leave out user and group, or run the daemon as root"
        if why.errno not in {1, 13}:
            hint = "is the id within what this system, or this container, maps?"
        raise RefusedError(
            f"cannot run as user {who.uid}, group {who.gid}: the daemon runs as user {os.geteuid()},"
            f" which may not change it ({reason(why)})",
            hint,
        ) from None
    if not prctl.die_with_parent(parent, signal.SIGKILL):  # the kernel forgets it when the user changes
        os.kill(os.getpid(), signal.SIGKILL)
