"""File descriptors: every connection takes one, and the feed must not be the one that gets none."""

import resource

import structlog

OTHERS = 64  # feeds, files, listening sockets, libraries

log = structlog.get_logger()


def make_room(connections: int) -> None:
    """Raise this process's limit of open files to hold so many connections; say so where the system does not let us."""
    wanted = connections + OTHERS
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted == resource.RLIM_INFINITY or granted >= wanted:
        return
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, granted), most))
    if limit < wanted:
        log.warning("descriptors.few", limit=limit, wanted=wanted, mend="raise ulimit -n or lower publish.max_clients")
