"""What can be wrong with installing a service."""

from __future__ import annotations

from stoker.errors import EXIT_CANNOT_CREATE, EXIT_UNREACHABLE, StokerError


class NoServiceManager(StokerError):
    """There is no systemd that could run a service."""

    code = "no-service-manager"
    exit_code = EXIT_UNREACHABLE


class CannotInstall(StokerError):
    """The service's files cannot be made, or it could not run from where this installation is."""

    code = "cannot-install"
    exit_code = EXIT_CANNOT_CREATE
