"""COVERAGE.md: what the pack covers of the CIS Docker Benchmark 1.6.0 and of Prowler's checks, made from the rules.

cd policy && python -m rules.framework.coverage > COVERAGE.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .rule import STACK, Rule


@dataclass(frozen=True)
class Control:
    """A control in our words, or a check of Prowler. gap: why no rule covers it, else a note for the reader."""

    number: str
    title: str
    gap: str = ""
    kind: Literal["", "not expressible", "out of scope"] = ""


_SWARM = "a setting of the Swarm, which is never a resource of a stack (docker swarm, docker node)"
_BUILD = "a matter of the image's build, which no resource shows"
CONTROLS = (
    Control("4.1", "Containers run as their own user"),
    Control("4.2", "Base images are trusted"),
    Control("4.3", "No unneeded packages", _BUILD, "out of scope"),
    Control("4.4", "Images are scanned and rebuilt", _BUILD, "out of scope"),
    Control(
        "4.5",
        "Content trust is on",
        "a setting of the client that pulls; digests (4.2) give the same guarantee",
        "not expressible",
    ),
    Control("4.6", "Images have a health check", "judged on the container, where it counts"),
    Control("4.7", "No update instruction alone", _BUILD, "out of scope"),
    Control("4.8", "No setuid and setgid bits", _BUILD + "; no-new-privileges (5.26) makes them useless", "out of scope"),
    Control("4.9", "COPY instead of ADD", _BUILD, "out of scope"),
    Control("4.10", "No secrets in Dockerfiles", "judged on the environment of the container, which docker inspect shows"),
    Control("4.11", "Only verified packages", _BUILD, "out of scope"),
    Control("4.12", "Signed artifacts are validated", _BUILD, "out of scope"),
    Control("5.1", "Swarm mode is off", "a state of the daemon", "not expressible"),
    Control("5.2", "AppArmor is on", "that it is not switched off; only the daemon knows whether the host has it"),
    Control("5.3", "SELinux is on", "that it is not switched off; only the daemon knows whether the host has it"),
    Control("5.4", "Capabilities are restricted"),
    Control("5.5", "No privileged container"),
    Control("5.6", "No sensitive host folder is mounted"),
    Control("5.7", "No sshd in a container", "the provider shows arguments, not processes", "not expressible"),
    Control("5.8", "No privileged port is mapped"),
    Control("5.9", "Only needed ports are open"),
    Control("5.10", "No host network"),
    Control("5.11", "Memory is limited"),
    Control("5.12", "CPU is limited"),
    Control("5.13", "The root file system is read-only"),
    Control("5.14", "Ports are bound to one interface"),
    Control(
        "5.15",
        "Restart policy on-failure, at most 5",
        "another value by default: unless-stopped is allowed, because a host must come back after a reboot",
    ),
    Control("5.16", "No host process namespace"),
    Control("5.17", "No host IPC namespace"),
    Control("5.18", "No host devices"),
    Control("5.19", "ulimits are overridden only where needed", "no rule can tell whether a value is needed", "out of scope"),
    Control("5.20", "No shared mount propagation"),
    Control("5.21", "No host UTS namespace", "the provider has no such argument, so it cannot be set either", "not expressible"),
    Control("5.22", "The seccomp profile is on"),
    Control("5.23", "No privileged docker exec", "a person's command, no resource", "out of scope"),
    Control("5.24", "No docker exec as root", "a person's command, no resource", "out of scope"),
    Control("5.25", "The control group is Docker's"),
    Control("5.26", "No new privileges"),
    Control("5.27", "Health is checked at run time"),
    Control("5.28", "Images are current", "that a digest names them; `ops images digest` prints the current digest"),
    Control(
        "5.29",
        "The number of processes is limited",
        "the provider (5.2.0) has no such argument, and an nproc ulimit counts per user of the host, not per container; "
        "set default-pids-limit of the daemon",
        "not expressible",
    ),
    Control("5.30", "docker0 is not used"),
    Control("5.31", "No host user namespace"),
    Control("5.32", "Docker's socket is in no container"),
    Control("7.1", "A Swarm has enough managers, and not too many", _SWARM, "not expressible"),
    Control("7.2", "A Swarm listens on one interface", _SWARM, "not expressible"),
    Control("7.3", "Overlay networks are encrypted", "levels.yaml may name those between machines with a private network"),
    Control("7.4", "Secrets are those of the Swarm", "judged on the environment of a service, which has them as files instead"),
    Control(
        "7.5",
        "Managers are locked",
        _SWARM + "; a locked one stays down after a reboot",
        "not expressible",
    ),
    Control("7.6", "The managers' key is rotated", _SWARM, "not expressible"),
    Control("7.7", "Certificates of machines are rotated", _SWARM + "; each 90 days by default", "not expressible"),
    Control("7.8", "The certificate authority is rotated", _SWARM, "not expressible"),
    Control("7.9", "Management and data have networks apart", _SWARM, "not expressible"),
)


_EXTRA = "unrelated to who gets in"
_ELSEWHERE = "the rules are in the gateway, where every edge has them"
_MAIL = "the mail of the domain is not this stack's"
_PLAN = "the plans that a small team has do not offer it"
_TEAM = "people and tokens of the account, not of the stack"
_STATE = "a state of the service that no resource shows"
# Of Prowler's providers "cloudflare" and "vercel", by name; a later Prowler may have more.
CHECKS = (
    Control("api_token_ip_restriction_enabled", "", _TEAM, "not expressible"),
    Control("dns_record_cname_target_valid", "", "its form; only a resolver knows what resolves"),
    Control("dns_record_no_internal_ip", ""),
    Control("dns_record_no_wildcard", ""),
    Control("dns_record_proxied", "", "targets that levels.yaml names may be reached directly"),
    Control("zone_always_online_disabled", "", _EXTRA, "out of scope"),
    Control("zone_automatic_https_rewrites_enabled", ""),
    Control("zone_bot_fight_mode_enabled", "", "it stops programs, which the API is for", "out of scope"),
    Control("zone_browser_integrity_check_enabled", "", "it stops programs, which the API is for", "out of scope"),
    Control("zone_challenge_passage_configured", "", _EXTRA, "out of scope"),
    Control("zone_development_mode_disabled", ""),
    Control("zone_dnssec_enabled", "", "that it is not switched off; a zone without the resource is not judged"),
    Control("zone_email_obfuscation_enabled", "", _EXTRA, "out of scope"),
    Control("zone_firewall_blocking_rules_configured", ""),
    Control("zone_hotlink_protection_enabled", "", _EXTRA, "out of scope"),
    Control("zone_hsts_enabled", "", "without subdomains: hosts of others would go dark"),
    Control("zone_https_redirect_enabled", ""),
    Control("zone_ip_geolocation_enabled", "", _EXTRA, "out of scope"),
    Control("zone_min_tls_version_secure", ""),
    Control("zone_rate_limiting_enabled", "", "advisory: the zone may have one already"),
    Control("zone_record_caa_exists", "", "Cloudflare and Vercel choose the authorities", "out of scope"),
    Control("zone_record_dkim_exists", "", _MAIL, "out of scope"),
    Control("zone_record_dmarc_exists", "", _MAIL, "out of scope"),
    Control("zone_record_spf_exists", "", _MAIL, "out of scope"),
    Control("zone_security_under_attack_disabled", "", _EXTRA, "out of scope"),
    Control("zone_server_side_excludes_enabled", "", _EXTRA, "out of scope"),
    Control("zone_ssl_strict", ""),
    Control("zone_tls_1_3_enabled", ""),
    Control("zone_universal_ssl_enabled", "", "on in every zone by default", "out of scope"),
    Control("zone_waf_enabled", "", "advisory: the zone may have one already"),
    Control("zone_waf_owasp_ruleset_enabled", "", _PLAN, "out of scope"),
    Control("authentication_no_stale_tokens", "", _TEAM, "not expressible"),
    Control("authentication_token_not_expired", "", _TEAM, "not expressible"),
    Control("deployment_preview_not_publicly_accessible", ""),
    Control("deployment_production_uses_stable_target", "", _STATE, "not expressible"),
    Control("domain_dns_properly_configured", "", _STATE, "not expressible"),
    Control("domain_no_wildcard_dns_exposure", ""),
    Control("domain_ssl_certificate_valid", "", _STATE, "not expressible"),
    Control("domain_verified", "", _STATE, "not expressible"),
    Control("project_auto_expose_system_env_disabled", ""),
    Control("project_deployment_protection_enabled", ""),
    Control("project_directory_listing_disabled", ""),
    Control("project_environment_no_overly_broad_target", ""),
    Control("project_environment_no_secrets_in_plain_type", ""),
    Control("project_environment_production_vars_not_in_preview", "", "secrets; an address may be in both"),
    Control("project_environment_sensitive_vars_encrypted", ""),
    Control("project_git_fork_protection_enabled", ""),
    Control("project_password_protection_enabled", "", _PLAN + "; the site asks for its own login", "out of scope"),
    Control("project_production_deployment_protection_enabled", "", "the site asks for its own login"),
    Control("project_skew_protection_enabled", "", _PLAN, "out of scope"),
    Control("security_custom_rules_configured", "", _ELSEWHERE, "out of scope"),
    Control("security_ip_blocking_rules_configured", "", _ELSEWHERE, "out of scope"),
    Control("security_managed_rulesets_enabled", "", _PLAN, "out of scope"),
    Control("security_rate_limiting_configured", "", _PLAN, "out of scope"),
    Control("security_waf_enabled", "", "that it is not switched off"),
    Control("team_directory_sync_enabled", "", _TEAM, "not expressible"),
    Control("team_member_no_stale_access", "", _TEAM, "not expressible"),
    Control("team_member_role_least_privilege", "", _TEAM, "not expressible"),
    Control("team_no_stale_invitations", "", _TEAM, "not expressible"),
    Control("team_saml_sso_enabled", "", _PLAN, "out of scope"),
    Control("team_saml_sso_enforced", "", _PLAN, "out of scope"),
)


def covering(rules: Sequence[Rule], number: str) -> list[str]:
    """Names of the rules for a control or a check."""
    return [rule.name for rule in rules if number in (*rule.cis, *rule.prowler)]


def _table(rules: Sequence[Rule], controls: Sequence[Control], what: str) -> list[str]:
    table = [f"| {what} | | how |", "| --- | --- | --- |"]
    counts = {"covered": 0, "not expressible": 0, "out of scope": 0}
    for control in controls:
        names = covering(rules, control.number)
        if bool(names) == bool(control.kind):
            raise ValueError(f"{what} {control.number}: has {len(names)} rules and is {control.kind or 'not explained'}")
        state = control.kind or "covered"
        counts[state] += 1
        how = ", ".join(f"`{name}`" for name in names)
        text = f"{how}; {control.gap}" if how and control.gap else how or control.gap
        table.append(f"| {f'{control.number} {control.title}'.strip()} | {state} | {text} |")
    summary = ", ".join(f"{number} {state}" for state, number in counts.items())
    return [f"{len(controls)} {what}s: {summary}.", "", *table, ""]


def report(rules: Sequence[Rule]) -> str:
    """The whole page; ValueError for a control that is neither covered nor explained, or both."""
    lines = [
        "# Coverage of the policy pack",
        "",
        "Made by `python -m rules.framework.coverage`; a test keeps it current.",
        "",
        "## CIS Docker Benchmark 1.6.0, sections 4, 5 and 7",
        "",
    ]
    lines += _table(rules, CONTROLS, "control")
    lines += ["## Prowler's checks for Cloudflare and Vercel", ""]
    lines += _table(rules, CHECKS, "check")
    lines += ["## Rules", ""]
    lines.append(f"{len(rules)} rules. KICS: the first digits of the id of the query for Docker Compose that asks for the same.")
    lines += ["", "| rule | what holds | property | severity | CIS | KICS |", "| --- | --- | --- | --- | --- | --- |"]
    for rule in rules:
        where = "the stack" if rule.type == STACK else ", ".join(type_.rpartition(":")[2] for type_ in (rule.type, *rule.also))
        property_ = rule.property.replace("|", "\\|")
        lines.append(
            f"| [{rule.name}]({rule.url}) | {rule.description} | {where}: `{property_}` | {rule.severity} "
            f"| {', '.join(rule.cis)} | {', '.join(rule.kics)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from .. import RULES

    print(report(RULES), end="")
