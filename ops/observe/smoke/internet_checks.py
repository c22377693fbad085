"""The check that browsers reach the internet (ops/observe/internet.py), which is the host's work and not the stack's."""

from ops.observe import internet
from ops.observe.smoke.site import CheckNotApplicableError, CheckWarningError, Site


def check_internet(site: Site) -> None:
    """One of the hosts of the stack file answers through the egress proxy, with its own certificate and more than a packet."""
    hosts = site.outputs.internet_hosts
    if hosts is None:
        raise CheckNotApplicableError("not asked: the stack is of an older version; update it with script/up")
    if not hosts:
        raise CheckNotApplicableError("not asked: offline by the stack file (host.internet)")
    failure = internet.failure(internet.ask(site.docker, site.container("server"), hosts))
    if failure is not None:
        raise CheckWarningError(
            f"{failure.problem}; {failure.cure}; on a machine that is offline on purpose, write host.internet: false into the "
            "stack file"
        )
