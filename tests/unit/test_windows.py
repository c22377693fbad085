"""The script for Windows, read as a syntax tree: nothing here can run it."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser, Tree

from components import endpoints
from components.host.skyvern import BROWSER_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "windows" / "skyvern-windows.ps1"
SOURCE = SCRIPT.read_bytes()

# Commands of Windows PowerShell 5.1 with the parameters that the script uses. Kept by hand: a misspelled one is found, one that
# 5.1 itself does not know is not.
CMDLETS = {
    "Copy-Item": "Destination Force LiteralPath",
    "ForEach-Object": "Process",
    "Get-Acl": "LiteralPath",
    "Get-ChildItem": "Force LiteralPath",
    "Get-CimInstance": "ClassName",
    "Get-Command": "ErrorAction Name",
    "Get-Content": "ErrorAction LiteralPath Tail",
    "Get-Date": "Format",
    "Get-FileHash": "LiteralPath",
    "Get-Item": "LiteralPath",
    "Get-NetFirewallAddressFilter": "",
    "Get-NetFirewallInterfaceFilter": "",
    "Get-NetFirewallPortFilter": "",
    "Get-NetFirewallProfile": "",
    "Get-NetFirewallRule": "ErrorAction Name",
    "Get-NetIPAddress": "AddressFamily ErrorAction IPAddress InterfaceAlias",
    "Get-NetTCPConnection": "ErrorAction LocalPort State",
    "Get-Process": "ErrorAction Id",
    "Get-ScheduledTask": "ErrorAction TaskName",
    "Join-Path": "ChildPath Path",
    "New-Item": "Force ItemType Path",
    "New-NetFirewallRule": "Action Direction DisplayName InterfaceAlias LocalAddress LocalPort Name Protocol RemoteAddress",
    "New-NetIPAddress": "IPAddress InterfaceAlias PolicyStore PrefixLength SkipAsSource",
    "New-Object": "ArgumentList TypeName",
    "New-ScheduledTaskAction": "Argument Execute",
    "New-ScheduledTaskPrincipal": "LogonType RunLevel UserId",
    "New-ScheduledTaskSettingsSet": "AllowStartIfOnBatteries DontStopIfGoingOnBatteries ExecutionTimeLimit MultipleInstances "
    "Priority StartWhenAvailable",
    "New-ScheduledTaskTrigger": "AtLogOn AtStartup User",
    "Register-ScheduledTask": "Action Force Principal Settings TaskName Trigger",
    "Remove-NetFirewallRule": "Name",
    "Select-Object": "First Unique",
    "Set-Content": "Encoding LiteralPath Value",
    "Set-StrictMode": "Version",
    "Start-Process": "ArgumentList FilePath PassThru WindowStyle",
    "Start-ScheduledTask": "TaskName",
    "Start-Service": "Name",
    "Start-Sleep": "Milliseconds Seconds",
    "Stop-ScheduledTask": "TaskName",
    "Test-Path": "LiteralPath",
    "Where-Object": "FilterScript",
    "Write-Output": "",
}

# Out of Get-Verb of 5.1: those that the script uses, so that a new one is looked up.
APPROVED_VERBS = set("Assert Find Get Invoke Open Register Set Test Write".split())

AUTOMATIC_VARIABLES = {"_", "true", "false", "null", "matches", "lastexitcode", "pscmdlet", "pscommandpath", "pshome"}

# What changes the machine, and what a person runs to take it back.
COUNTERPARTS = {
    "Copy-Item": "Remove-Item",
    "New-Item": "Remove-Item",
    "New-NetFirewallRule": "Remove-NetFirewallRule",
    "New-NetIPAddress": "Remove-NetIPAddress",
    "Register-ScheduledTask": "Unregister-ScheduledTask",
    "Start-ScheduledTask": "Stop-ScheduledTask",
    "'portproxy', 'add'": "portproxy delete",
    "SetAccessControl": "icacls",
    "::WriteAllText": ".wslconfig",
}
CHANGES = [
    *COUNTERPARTS,
    "Remove-NetFirewallRule",
    "'portproxy', 'delete'",
    "Set-Content",
    "Start-Process",
    "Start-Service",
    "Stop-ScheduledTask",
]

# The checks in the order of the script; those of the second group are what -Apply sets up.
BY_HAND = [
    "WSL",
    "WSL distribution",
    "WSL networking",
    "Google Chrome",
    "Chrome profile",
    "Windows Firewall",
    "Address",
    "Debugging port",
]
BY_APPLY = [
    "This script where the boot task finds it",
    "WSL's memory and no idle stop",
    "WSL starts with Windows and stays",
    "From a fixed address to Chrome, for the WSL subnet only",
    "A Chrome profile that only you can read",
    "Chrome with debugging and egress proxy",
    "WSL is kept running now",
]
RUNNING = ["Chrome answers", "WSL reaches it", "Egress proxy answers"]


@cache
def parse(source: bytes) -> Tree:
    return Parser(Language(tree_sitter_powershell.language())).parse(source)


def nodes(root: Node, kind: str = "") -> Iterator[Node]:
    """The tree below and with root, in the order of the text; only the nodes of one kind where it is given."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not kind or node.type == kind:
            yield node
        waiting += reversed(node.children)


def text(node: Node) -> str:
    return (node.text or b"").decode()


def faults(source: bytes) -> list[str]:
    """Lines that are no PowerShell."""
    return [
        f"line {node.start_point[0] + 1}: {text(node)[:60]!r}"
        for node in nodes(parse(source).root_node)
        if node.type == "ERROR" or node.is_missing
    ]


def name_of(command: Node) -> str:
    return next((text(child) for child in command.children if child.type in {"command_name", "command_name_expr"}), "")


def given(command: Node) -> set[str]:
    """Names of the parameters that a call gives."""
    return {
        text(child).strip("-:")
        for elements in command.children
        if elements.type == "command_elements"
        for child in elements.children
        if child.type == "command_parameter"
    }


@cache
def functions(source: bytes) -> dict[str, Node]:
    return {text(next(nodes(node, "function_name"))): node for node in nodes(parse(source).root_node, "function_statement")}


def parameters(function: Node) -> set[str]:
    lists = list(nodes(function, "parameter_list"))
    return {text(child.children[-1]).strip("$") for child in (lists[0].children if lists else []) if child.is_named}


def lint(source: bytes) -> list[str]:
    """Calls that Windows PowerShell would refuse, aliases, and names against its rules."""
    own = functions(source)
    found = [f"{name}: not an approved verb" for name in own if name.split("-")[0] not in APPROVED_VERBS]
    called = set()
    for command in nodes(parse(source).root_node, "command"):
        name = name_of(command)
        called.add(name)
        if name in own:
            known = parameters(own[name])
        elif name in CMDLETS:
            known = set(CMDLETS[name].split())
        elif name.startswith("$"):
            continue  # a block of a check, or the program that Invoke-Native starts
        else:
            found.append(f"{name}: an alias, a program or an unknown command")
            continue
        found += [f"{name}: no parameter -{parameter}" for parameter in sorted(given(command) - known)]
    return found + [f"{name}: never called" for name in sorted(set(own) - called)]


def unassigned(source: bytes) -> list[str]:
    """Variables that are read and nowhere assigned: under strict mode each is an error, but only when its line runs."""
    root = parse(source).root_node

    def names(node: Node) -> set[str]:
        found = {text(variable).strip("$@{}").lower() for variable in nodes(node, "variable")}
        return {name for name in found if ":" not in name}

    assigned = set(AUTOMATIC_VARIABLES)
    for kind in ("left_assignment_expression", "script_parameter", "foreach_statement"):
        for node in nodes(root, kind):
            target = next(nodes(node, "variable")) if kind == "foreach_statement" else node
            assigned |= names(target)
    return sorted(names(root) - assigned)


@dataclass(frozen=True)
class Check:
    """A call of Invoke-Check: what it is about, the code of its blocks, and where it is in the script."""

    what: str
    find: str
    fix: str
    start: int


def checks() -> list[Check]:
    found = []
    for command in nodes(parse(SOURCE).root_node, "command"):
        if name_of(command) == "Invoke-Check":
            elements = next(child for child in command.children if child.type == "command_elements").children
            words = [text(element) for element in elements if element.type != "command_argument_sep"]
            arguments = dict(zip(words[::2], words[1::2], strict=True))
            found.append(
                Check(
                    what=arguments["-What"].strip("'\""),
                    find=arguments["-Find"],
                    fix=arguments.get("-Fix", ""),
                    start=command.start_byte,
                )
            )
    return found


def reach(code: str) -> str:
    """The code with that of every function of ours that it reaches."""
    own = functions(SOURCE)
    seen: dict[str, str] = {}
    queue = [code]
    while queue:
        part = queue.pop()
        for name, node in own.items():
            if name not in seen and re.search(rf"(?<![\w-]){name}(?![\w-])", part):
                seen[name] = text(node)
                queue.append(seen[name])
    return "\n".join([code, *seen.values()])


def changes(code: str) -> set[str]:
    """What the code changes, itself or through our functions; a command counts where it is called, not where a message has it."""
    reached = reach(code)
    called = {name_of(command) for command in nodes(parse(reached.encode()).root_node, "command")}
    return {change for change in CHANGES if change in (called if change in CMDLETS else reached)}


def test_it_is_powershell() -> None:
    assert faults(SOURCE) == []


@pytest.mark.parametrize(
    ("original", "broken"),
    [
        ("function Get-WslAdapter {", "function Get-WslAdapter"),
        ("} catch {", "} catch"),
        ("foreach ($entry in @(", "foreach ($entry in @"),
        ("return 'the task is disabled'", "return 'the task is disabled"),
        ("elseif (-not $memory) {", "elseif (-not $memory {"),
        ("$ChromeArguments = @(", "$ChromeArguments = @{"),
        ("[string[]]$Unknown", "[string[]$Unknown"),
    ],
)
def test_a_planted_mistake_is_found(original: str, broken: str) -> None:
    source = SOURCE.decode()
    assert original in source
    assert faults(source.replace(original, broken, 1).encode())


def test_commands_parameters_and_names() -> None:
    assert lint(SOURCE) == []


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        ("ls C:\\", "ls: an alias, a program or an unknown command"),
        ("1 | % { $_ }", "%: an alias, a program or an unknown command"),
        ("1 | ? { $_ }", "?: an alias, a program or an unknown command"),
        ("netsh.exe interface portproxy reset", "netsh.exe: an alias, a program or an unknown command"),
        ("Get-NetIPAddress -InterfaceAlais x", "Get-NetIPAddress: no parameter -InterfaceAlais"),
        ("Invoke-Native -Flie x", "Invoke-Native: no parameter -Flie"),
        ("function Make-Thing { 1 }\nMake-Thing", "Make-Thing: not an approved verb"),
        ("function Get-Nothing { 1 }", "Get-Nothing: never called"),
    ],
)
def test_the_lint_finds(planted: str, finding: str) -> None:
    assert lint(SOURCE + b"\n" + planted.encode()) == [finding]


def test_every_variable_is_assigned() -> None:
    assert unassigned(SOURCE) == []
    assert unassigned(SOURCE + b'\n"$($Adress.Length) $y"') == ["adress", "y"]


def test_strict_mode_and_one_edition() -> None:
    source = SOURCE.decode()
    assert "#Requires -Version 5.1" in source
    assert "#Requires -PSEdition Desktop" in source
    assert "Set-StrictMode -Version" in source
    assert "SupportsShouldProcess = $true" in source
    for never in ("Invoke-Expression", "Invoke-WebRequest", "DownloadString", "ConvertTo-SecureString", "DefaultPassword"):
        assert never not in source


def test_it_is_ascii_with_windows_ends_of_line() -> None:
    """Windows PowerShell takes a file without byte order mark for the machine's code page."""
    SOURCE.decode("ascii")
    assert "*.ps1 text eol=crlf" in (ROOT / ".gitattributes").read_text().splitlines()


def test_checks_are_in_order() -> None:
    """A refused -Apply has changed nothing: what only a person can fix is looked at first, and what has to run is not asked."""
    found = checks()
    assert [check.what for check in found] == [*BY_HAND, *BY_APPLY, *RUNNING]
    assert [check.what for check in found if check.fix] == BY_APPLY

    first_fix = next(check.start for check in found if check.fix)
    elsewhere = [range(node.start_byte, node.end_byte) for name, node in functions(SOURCE).items() if name != "Assert-Number"]
    refusals = [
        node
        for node in nodes(parse(SOURCE).root_node, "flow_control_statement")
        if text(node).startswith("throw") and not any(node.start_byte in span for span in elsewhere)
    ]
    assert len(refusals) == 9
    assert all(node.start_byte < first_fix for node in refusals)

    end_of_apply = SOURCE.index(b"exit 0")
    assert max(check.start for check in found if check.fix) < end_of_apply
    assert end_of_apply < next(check.start for check in found if check.what == RUNNING[0])


def test_only_fixes_and_the_boot_task_change_something() -> None:
    found = checks()
    for check in found:
        assert changes(check.find) == set(), check.what
    for check in found[len(BY_HAND) : len(BY_HAND) + len(BY_APPLY)]:
        assert changes(check.fix), f"{check.what} changes nothing that the test knows"

    rest = SOURCE.decode()
    for part in [*map(text, functions(SOURCE).values()), *(check.fix for check in found if check.fix)]:
        assert part in rest
        rest = rest.replace(part, "{}", 1)
    loops = [text(node) for node in nodes(parse(SOURCE).root_node, "while_statement") if text(node).startswith("while ($Boot)")]
    assert len(loops) == 1
    assert changes(loops[0]) > {"Start-Process", "Set-Content", "New-NetFirewallRule"}
    assert changes(rest.replace(loops[0], "")) == set()


def test_fixes_run_only_where_whatif_allows() -> None:
    """The only call of a fix is below a condition on ShouldProcess, after the refusal of what has none."""
    calls = [command for command in nodes(parse(SOURCE).root_node, "command") if name_of(command) == "$Fix"]
    assert len(calls) == 1
    node: Node | None = calls[0]
    above = []
    while node is not None:
        if node.type == "if_statement":
            above.append(text(node).split("{")[0])
        node = node.parent
    assert any("$PSCmdlet.ShouldProcess(" in condition for condition in above)
    refusal = SOURCE.index(b"if ($Apply -and -not $Fix) {")
    assert refusal < SOURCE.index(b"if (-not $Apply) {") < calls[0].start_byte


def script_parameters() -> dict[str, str]:
    """Names and types of the script's parameters."""
    block = next(nodes(parse(SOURCE).root_node, "param_block"))
    types = {}
    for parameter in nodes(block, "script_parameter"):
        declared = re.search(r"\[(\w+(?:\[\])?)\]\$(\w+)", text(parameter))
        assert declared
        types[declared[2]] = declared[1]
    return types


def test_wrong_input_is_one_line_of_the_script() -> None:
    """PowerShell refuses a value by type or attribute in several lines, so the script compares text by itself."""
    types = script_parameters()
    assert types.pop("Unknown") == "string[]"
    assert set(types.values()) == {"switch", "string"}
    source = SOURCE.decode()
    assert "[Validate" not in source
    assert "Mandatory" not in source
    assert "$($_.Exception.Message -replace '\\s+', ' ')" in source.split("trap {")[1].split("}\n")[0]
    # A distribution is compared with those that there are.
    for name in set(types) - {"Check", "Apply", "Boot", "NoChrome", "Distribution"}:
        assert re.search(rf"throw \"-{name} '\${name}'|Assert-Number -Name '{name}' -Value \${name} ", source), name


@pytest.mark.parametrize(
    ("variable", "right", "wrong"),
    [
        ("Value", ["1", "9222", "65535"], ["", "0", "09222", "-1", "9222x", "1.5", "123456"]),
        (
            "ProfileFolder",
            ["C:\\chrome-skyvern-profile", "d:\\a b\\c"],
            ["", "profile", "C:\\", "C:", "C:\\a\\", 'C:\\a"b', "\\\\server\\share"],
        ),
        (
            "Address",
            ["10.222.222.1", "172.16.0.1", "172.31.255.1", "192.168.1.1"],
            ["", "8.8.8.8", "127.0.0.1", "0.0.0.0", "172.15.0.1", "172.32.0.1", "192.169.0.1", "::1", "100.64.0.1"],  # noqa: S104
        ),
    ],
)
def test_patterns_of_the_parameters(variable: str, right: list[str], wrong: list[str]) -> None:
    patterns = re.findall(rf"\${variable} -notmatch '(.+?)'", SOURCE.decode())
    assert len(patterns) == 1
    assert [value for value in right if not re.search(patterns[0], value)] == []
    assert [value for value in wrong if re.search(patterns[0], value)] == []


def test_chrome_gets_the_flags_of_our_browsers() -> None:
    block = re.search(r"\$ChromeArguments = @\((.*?)\n\)", SOURCE.decode(), re.DOTALL)
    assert block
    flags = [line.strip().strip("'\"") for line in block[1].strip().splitlines()]
    bypass = "--proxy-bypass-list=<-loopback>"
    ours = {endpoints.EGRESS_URL: "http://127.0.0.1:$ProxyPort", bypass: f"{bypass}$PastProxy"}
    expected = [functools.reduce(lambda flag, one: flag.replace(*one), ours.items(), flag) for flag in BROWSER_ARGUMENTS]
    assert flags == [
        "--remote-debugging-port=$DebugPort",
        '--user-data-dir=`"$ProfileFolder`',
        *expected,
        "--no-first-run",
        "--no-default-browser-check",
    ]


def test_programs_on_loopback_are_past_the_proxy_one_by_one() -> None:
    """F27: security plugins of banks and government sites. Seen with Chromium 156: each is for the URL's host and port alone."""
    source = SOURCE.decode()
    assert "[string]$LoopbackPorts = ''," in source
    (element,) = re.findall(r"\$PastProxy = .*\{ \"(.+)\" \}\)", source)
    assert element == ";127.0.0.1:$_;localhost:$_"
    refused = source.split("foreach ($port in $Loopback) {")[1].split("\n}")[0]
    assert "Assert-Number -Name 'LoopbackPorts' -Value $port -Least 1 -Most 65535" in refused
    # A page that reaches the debugging port has the browser with every login in it.
    assert "if ([int]$port -eq [int]$DebugPort) {" in refused


def test_debugging_is_open_to_wsl_only() -> None:
    source = SOURCE.decode()
    assert "0.0.0.0" not in source  # noqa: S104
    assert re.findall(r'"listenaddress=(.+?)"', source) == ["$($listen[0])", "$Address"]
    assert re.findall(r"connectaddress=([^'\"]+)", source) == ["127.0.0.1"]
    rules = [command for command in nodes(parse(SOURCE).root_node, "command") if name_of(command) == "New-NetFirewallRule"]
    assert len(rules) == 1
    assert {"LocalAddress", "LocalPort", "RemoteAddress", "InterfaceAlias"} <= given(rules[0])
    assert "-RemoteAddress $adapter.Subnet" in text(rules[0])


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("windows/skyvern-windows.ps1", "has not been run on Windows"),
        ("docs/windows.md", "**It has not been run on Windows.**"),
        ("docs/ko/windows.md", "**이 스크립트는 Windows에서 실행해 본 적이 없습니다.**"),
    ],
)
def test_it_is_said_that_it_has_not_been_run(path: str, statement: str) -> None:
    start = (ROOT / path).read_text(encoding="utf-8").split("\n## ")[0]
    assert statement in (start.splitlines()[0] if path.endswith(".ps1") else start)


@pytest.mark.parametrize("path", ["docs/windows.md", "docs/ko/windows.md"])
def test_the_pages_name_every_parameter(path: str) -> None:
    page = (ROOT / path).read_text(encoding="utf-8")
    names = script_parameters().keys() - {"Unknown"}
    assert len(names) == 11
    assert [name for name in names if f"`-{name}`" not in page] == []


@pytest.mark.parametrize(("path", "heading"), [("docs/windows.md", "Taking it back"), ("docs/ko/windows.md", "되돌리기")])
def test_the_pages_take_back_whatever_is_changed(path: str, heading: str) -> None:
    """-Apply has no counterpart in the script: a person runs these commands."""
    section = (ROOT / path).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    made = {change for check in checks() for change in COUNTERPARTS if check.fix and change in changes(check.fix)}
    assert made == set(COUNTERPARTS)
    assert [COUNTERPARTS[change] for change in sorted(made) if COUNTERPARTS[change] not in section] == []

    own = dict(re.findall(r"\$(BootTask|ChromeTask|FirewallRule|ProfileFolder|Address|DebugPort) = '(.+?)'", SOURCE.decode()))
    assert len(own) == 6
    keys = re.findall(r"-Section '(\w+)' -Key '(\w+)' -Value", SOURCE.decode())
    assert len(keys) == 2
    names = [*own.values(), *(key for _, key in keys), "C:\\Program Files\\skyvern-stack"]
    assert [name for name in names if name not in section] == []


@pytest.mark.parametrize("path", ["docs/windows.md", "docs/ko/windows.md"])
def test_sleep_is_by_hand_and_can_be_taken_back(path: str) -> None:
    assert "powercfg" not in SOURCE.decode()
    page = (ROOT / path).read_text(encoding="utf-8")
    assert "powercfg /query SCHEME_CURRENT SUB_SLEEP" in page
    for setting in ("standby-timeout-ac", "hibernate-timeout-ac"):
        assert len(re.findall(rf"powercfg /change {setting} 0\b", page)) == 1
        assert len(re.findall(rf"powercfg /change {setting} [1-9]", page)) == 1


def test_kinds_of_nodes() -> None:
    """The tests above see what they look for: a grammar that renames a kind would make them pass on nothing."""
    kinds: defaultdict[str, int] = defaultdict(int)
    for node in nodes(parse(SOURCE).root_node):
        kinds[node.type] += 1
    for kind, least in {"command": 100, "function_statement": 10, "flow_control_statement": 50, "variable": 300}.items():
        assert kinds[kind] >= least, kind
