"""The script for Windows, read as a syntax tree: nothing here can run it."""

import re
from collections import defaultdict
from collections.abc import Iterator
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
    "ConvertFrom-Json": "",
    "ConvertTo-Json": "Depth",
    "Copy-Item": "Destination Force LiteralPath",
    "ForEach-Object": "Process",
    "Format-Table": "AutoSize Wrap",
    "Get-Acl": "LiteralPath",
    "Get-ChildItem": "Force LiteralPath",
    "Get-CimInstance": "ClassName",
    "Get-Command": "ErrorAction Name",
    "Get-Content": "LiteralPath Tail",
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
    "Move-Item": "Destination Force LiteralPath",
    "New-Item": "Force ItemType Path",
    "New-NetFirewallRule": "Action Direction DisplayName InterfaceAlias LocalAddress LocalPort Name Protocol RemoteAddress",
    "New-NetIPAddress": "IPAddress InterfaceAlias PolicyStore PrefixLength SkipAsSource",
    "New-Object": "ArgumentList TypeName",
    "New-ScheduledTaskAction": "Argument Execute",
    "New-ScheduledTaskPrincipal": "LogonType RunLevel UserId",
    "New-ScheduledTaskSettingsSet": "AllowStartIfOnBatteries DontStopIfGoingOnBatteries ExecutionTimeLimit MultipleInstances "
    "Priority StartWhenAvailable",
    "New-ScheduledTaskTrigger": "AtLogOn AtStartup User",
    "Out-Host": "",
    "Register-ScheduledTask": "Action Force Principal Settings TaskName Trigger",
    "Remove-Item": "Force LiteralPath Recurse",
    "Remove-NetFirewallRule": "Name",
    "Remove-NetIPAddress": "Confirm IPAddress",
    "Select-Object": "First",
    "Set-Content": "Encoding LiteralPath Value",
    "Set-StrictMode": "Version",
    "Start-Process": "ArgumentList FilePath PassThru WindowStyle",
    "Start-ScheduledTask": "TaskName",
    "Start-Service": "Name",
    "Start-Sleep": "Milliseconds Seconds",
    "Stop-ScheduledTask": "TaskName",
    "Test-Path": "LiteralPath",
    "Unregister-ScheduledTask": "Confirm TaskName",
    "Where-Object": "FilterScript",
    "Write-Output": "",
}

# Out of Get-Verb of 5.1: those that the script uses, so that a new one is looked up.
APPROVED_VERBS = set("Assert Find Get Invoke New Open Read Remove Restore Save Select Set Show Stop Test Wait Write".split())

AUTOMATIC_VARIABLES = {"_", "true", "false", "null", "matches", "lastexitcode", "pscmdlet", "pscommandpath", "pshome"}

# What changes the machine, and what takes it back.
COUNTERPARTS = {
    "Copy-Item": "Remove-Item",
    "New-Item": "Remove-Item",
    "New-NetFirewallRule": "Remove-NetFirewallRule",
    "New-NetIPAddress": "Remove-NetIPAddress",
    "Register-ScheduledTask": "Unregister-ScheduledTask",
    "Start-ScheduledTask": "Stop-ScheduledTask",
    "'portproxy', 'add'": "'portproxy', 'delete'",
    "'/setacvalueindex'": "'/setacvalueindex'",
    "SetAccessControl": "SetAccessControl",
    "::WriteAllText": "::WriteAllBytes",
}
CHANGES = [*COUNTERPARTS, *COUNTERPARTS.values(), "Set-Content", "Move-Item", "Start-Service", "Start-Process"]


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
            continue  # a script block of the tables, or the program that Invoke-Native starts
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


def step_table() -> list[dict[str, str]]:
    """The entries of $Steps, each value as text."""
    assignment = next(
        node for node in nodes(parse(SOURCE).root_node, "assignment_expression") if text(node).startswith("$Steps = ")
    )
    tables = [
        {
            text(entry.children[0]).strip(): text(entry.children[-1]).strip()
            for entry in body.children
            if entry.type == "hash_entry"
        }
        for body in nodes(assignment, "hash_literal_body")
    ]
    return [table for table in tables if "Name" in table]


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
        ("function Test-Wsl {", "function Test-Wsl"),
        ("} catch {", "} catch"),
        ("foreach ($row in @(", "foreach ($row in @"),
        ("return 'nat'", "return 'nat"),
        ("-or -not $memory) {", "-or -not $memory {"),
        ("$Requirements = @(", "$Requirements = @{"),
        ("[ValidateRange(2, 4096)]", "[ValidateRange(2, 4096)"),
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


def test_every_step_can_be_undone() -> None:
    table = step_table()
    order = "script sleep wslconfig boot address firewall portproxy profile chrome start"
    assert [step["Name"].strip("'") for step in table] == order.split()
    for step in table:
        assert list(step) == ["Name", "What", "Chrome", "Check", "Before", "Apply", "Undo"]
        assert "Target = " in reach(step["Before"]), step["Name"]
        made = {change for change in COUNTERPARTS if change in changes(step["Apply"])}
        assert made, f"{step['Name']} changes nothing that the test knows"
        for change in made:
            assert COUNTERPARTS[change] in changes(step["Undo"]), f"{step['Name']}: {change} is never taken back"


def test_checks_change_nothing() -> None:
    source = SOURCE.decode()
    checks = re.findall(r"Check\s*= \{ (.*) \}", source)
    assert len(checks) == len(step_table()) + 6 + 3
    for check in [*checks, *(step["Before"] for step in step_table()), "Show-Finding"]:
        assert changes(check) == set(), check


def test_steps_run_only_where_whatif_allows() -> None:
    """The only calls of Apply and Undo stand below a condition on ShouldProcess."""
    calls = [
        command
        for command in nodes(parse(SOURCE).root_node, "command")
        if re.fullmatch(r"\$step\.(Apply|Undo)", name_of(command))
    ]
    assert len(calls) == 3
    for call in calls:
        node: Node | None = call
        above = []
        while node is not None:
            if node.type in {"if_statement", "elseif_clause"}:
                above.append(text(node).split("{")[0])
            node = node.parent
        assert any("ShouldProcess" in condition for condition in above), text(call)


def test_chrome_gets_the_flags_of_our_browsers() -> None:
    block = re.search(r"\$ChromeArguments = @\((.*?)\n\)", SOURCE.decode(), re.DOTALL)
    assert block
    flags = [line.strip().strip("'\"") for line in block[1].strip().splitlines()]
    expected = [flag.replace(endpoints.EGRESS_URL, "http://127.0.0.1:$ProxyPort") for flag in BROWSER_ARGUMENTS]
    assert flags == [
        "--remote-debugging-port=$DebugPort",
        '--user-data-dir=`"$ProfileFolder`',
        *expected,
        "--no-first-run",
        "--no-default-browser-check",
    ]


def test_debugging_is_open_to_wsl_only() -> None:
    source = SOURCE.decode()
    assert "0.0.0.0" not in source  # noqa: S104
    assert re.findall(r'"listenaddress=(.+?)"', source) == ["$($listen[0])", "$Address"]
    assert re.findall(r"connectaddress=([^'\"]+)", source) == ["127.0.0.1"]
    rules = [command for command in nodes(parse(SOURCE).root_node, "command") if name_of(command) == "New-NetFirewallRule"]
    assert len(rules) == 1
    assert {"LocalAddress", "LocalPort", "RemoteAddress", "InterfaceAlias"} <= given(rules[0])
    assert "-RemoteAddress $adapter.Subnet" in text(rules[0])


@pytest.mark.parametrize("path", ["docs/windows.md", "docs/ko/windows.md"])
def test_the_pages_name_every_parameter(path: str) -> None:
    page = (ROOT / path).read_text(encoding="utf-8")
    script = next(nodes(parse(SOURCE).root_node, "param_block"))
    names = [text(parameter.children[-1]).split("=")[0].strip(" $") for parameter in nodes(script, "script_parameter")]
    missing = [name for name in names if f"-{name}" not in page]
    assert len(names) == 11
    assert missing == []


def test_kinds_of_nodes() -> None:
    """The tests above see what they look for: a grammar that renames a kind would make them pass on nothing."""
    kinds: defaultdict[str, int] = defaultdict(int)
    for node in nodes(parse(SOURCE).root_node):
        kinds[node.type] += 1
    for kind, least in {"command": 200, "function_statement": 50, "hash_entry": 70, "variable": 300}.items():
        assert kinds[kind] >= least, kind
