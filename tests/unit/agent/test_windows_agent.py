# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""The PowerShell of the product: it parses, keeps to rules of safety and style, and no value leaves its quotes.

Nothing here runs PowerShell, and nothing was run on Windows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tree_sitter
import tree_sitter_powershell as grammar
from hypothesis import given, settings
from hypothesis import strategies as st

from patchherd.enrollment import scripts
from patchherd.settings import Settings

from .conftest import ROOT

AGENT = ROOT / "roles/agent/files/patchherd_agent.ps1"
RUN_SCRIPT = ROOT / "roles/actions/files/run_script.ps1"
FIXTURE = ROOT / "tests/fixtures/windows_report.json"
PLAIN = {"server_url": "https://p.example", "token_key": "k", "token_secret": "s"}
ALIASES = """
    cat cd clc clear cls copy cp cpi curl cvpa del diff dir echo erase fl foreach ft gc gci gcm gi gl gm gp gps
    gsv gv gwmi iex ihy ii ipmo irm ise iwmi iwr kill ls man md mi mount move mp mv ni nv ogv popd ps pushd pwd r rd
    ren ri rm rmdir rp rv sajb sal saps sasv sbp sc select set sl sleep sort sp spps start sv swmi tee type wget
    where write % ?
""".split()
APPROVED_VERBS = set("""
    Add Clear Close Copy Enter Exit Find Format Get Hide Join Lock Move New Open Optimize Pop Push Redo Remove Rename
    Reset Resize Search Select Set Show Skip Split Step Switch Undo Unlock Watch Assert Backup Checkpoint Compare
    Compress Convert ConvertFrom ConvertTo Expand Export Group Import Initialize Limit Merge Mount Out Publish Restore
    Save Sync Unpublish Update Install Invoke Protect Unprotect Read Receive Send Write Register Unregister Request
    Restart Resume Start Stop Submit Suspend Test Trace Uninstall Wait Measure Ping Repair Resolve Debug Disable Enable
""".split())
FORBIDDEN = {"invoke-expression", "invoke-command", "invoke-webrequest", "invoke-restmethod", "start-process"}


def parse(text: str) -> Any:
    return tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(text.encode())


def nodes(text: str) -> Iterator[Any]:
    waiting = [parse(text).root_node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


def errors(text: str) -> list[str]:
    found = [node for node in nodes(text) if node.is_error or node.is_missing]
    return [f"{node.start_point[0] + 1}: {node.text.decode()[:80]!r}" for node in found]


def commands(text: str) -> list[str]:
    """Names of commands, and what stands behind the call operators & and dot."""
    found = [node for node in nodes(text) if node.type in ("command_name", "command_name_expr")]
    return [node.text.decode() for node in found if not any(child.type == "command_name" for child in node.children)]


def install(**values: Any) -> str:
    given = {**PLAIN, **values}
    return scripts.enrollment_script(
        "direct-host", Settings(data=Path("/nonexistent")), force=False, system="windows", **given
    )


def bootstrap(token: str) -> str:
    return scripts.install_script(
        Settings(data=Path("/nonexistent")), server_url="https://p", bootstrap_token=token, force=True, system="windows"
    )


FUNCTIONS = re.findall(r"(?m)^function ([\w-]+) \{", AGENT.read_text())
TEXTS = {"agent": AGENT.read_text(), "direct-host": install(), "install": bootstrap("b00t")}
TEXTS["run_script"] = RUN_SCRIPT.read_text()


@pytest.mark.parametrize("name", TEXTS)
def test_it_parses(name: str) -> None:
    assert errors(TEXTS[name]) == []


def test_the_parser_sees_what_is_wrong() -> None:
    assert errors("if ($a { }\n")
    assert errors("$x = 'open\n")
    assert commands("dir | foreach { iex $_ }") == ["iex", "foreach", "dir"]


@pytest.mark.parametrize("name", TEXTS)
def test_it_runs_nothing_that_it_receives_and_uses_no_alias(name: str) -> None:
    used = {command.lower() for command in commands(TEXTS[name])}
    assert used & FORBIDDEN == set()
    assert used & set(ALIASES) == set()
    defined = {match.lower() for match in re.findall(r"(?m)^function ([\w-]+)", TEXTS[name])}
    cmdlet = re.compile(r"[a-z]+-[a-z]+\Z")
    # By full paths, the installer starts the agent, and run_script ends what takes too long; nothing else is started.
    started = {command for command in used - defined if not cmdlet.match(command)}
    join = "(join-path -path $env:systemroot -childpath 'system32\\taskkill.exe')"
    assert started == {"agent": set(), "run_script": {join}}.get(name, {"$program"})


@pytest.mark.parametrize("name", TEXTS)
def test_rules(name: str) -> None:
    text = TEXTS[name]
    assert text.isascii(), "Windows PowerShell reads a file without byte order mark in the system's code page"
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    assert not re.search(r"`\s*$", code, re.M), "no continuation by backtick"
    assert "ServerCertificateValidationCallback = {" not in code
    assert not re.search(r"ServerCertificateValidationCallback\s*=\s*\{\s*\$true", code, re.I)
    assert not re.search(r"\[(System\.)?Net\.ServicePointManager\]::ServerCertificateValidationCallback", code, re.I)
    assert "SkipCertificateCheck" not in code
    assert "Write-Host" not in code
    assert code.count("Set-StrictMode -Version 2.0") >= 1
    assert max(map(len, text.splitlines())) <= 160
    assert not re.search(r"-(c?eq|c?ne) \$null", code), "$null stands on the left: a list on the left would be filtered"
    named = re.findall(r"(?m)^function (\w+)-(\w+)", code)
    assert {verb for verb, _ in named} <= APPROVED_VERBS
    assert [noun for _, noun in named if noun.endswith("s") and not noun.endswith("ss")] == [], "nouns are singular"
    parameters = re.findall(r"(?m)^    param\(", code)
    assert len(parameters) <= len(named), "parameters are declared at the head of functions"


def test_the_agents_only_compiled_code_is_its_own_constant() -> None:
    (call,) = re.findall(r"Add-Type .*", TEXTS["agent"])
    assert call == "Add-Type -TypeDefinition $TrustSource"
    assert TEXTS["agent"].count("$TrustSource =") == 1
    assert "return true" not in TEXTS["agent"]


def body(function: str) -> str:
    """The code of a function of the agent."""
    return TEXTS["agent"].partition(f"function {function} {{\n")[2].partition("\n}\n")[0]


def in_order(text: str, *parts: str) -> bool:
    """Whether each part is there once, in this order."""
    return all(text.count(part) == 1 for part in parts) and sorted(parts, key=text.index) == list(parts)


def test_self_update_takes_only_what_is_allowed_newer_verified_and_announced() -> None:
    """Nothing is fetched before permission, version, connection are checked, nothing written before the digest is."""
    update = body("Update-Agent")
    assert in_order(
        update,
        "'/hosts/agent/version?os=windows&currentVersion='", "-Name 'autoUpdate'", "Test-Newer",
        "if ($allowed -isnot [bool] -or -not $allowed -or -not $isNewer) {\n        return\n",
        "if ($address.Scheme -ne 'https' -and -not $address.IsLoopback) {\n        throw",
        "'/hosts/agent/download?os=windows' -Limit $MaxAgentBytes",
        "Assert-Agent -Content $content -Digest ([string](Get-Property -Object $offer -Name 'hash')) -Version $version",
        '[IO.File]::WriteAllBytes($new, $content)', '[IO.File]::Replace($new, $PSCommandPath, "$PSCommandPath.old")',
    )  # fmt: skip
    between = update.partition("Assert-Agent")[2].partition("[IO.File]::Replace")[0]
    assert "$content =" not in between, "what was checked is what is written"
    assert in_order(
        body("Assert-Agent"),
        "Get-ByteDigest -Bytes $Content", "if ($got -cne $Digest) {\n        throw",
        "[Management.Automation.Language.Parser]::ParseInput($text, ", "if (@($problems).Count) {\n        throw",
        "if (-not $named.Success -or $named.Groups[1].Value -cne $Version) {\n        throw",
    )  # fmt: skip
    writers = [function for function in FUNCTIONS if "WriteAllBytes" in body(function)]
    assert writers == ["Update-Agent"]
    assert [function for function in FUNCTIONS if "Update-Agent" in body(function)] == ["Invoke-Once"]
    assert "if ($sent -eq 'full') {" in body("Invoke-Once").partition("Update-Agent")[0]


def test_a_download_is_bounded_whole_and_follows_no_redirect() -> None:
    receive = body("Receive-Byte")
    cut_short = "$response.ContentLength -ne $content.Length"
    assert in_order(receive, "$status -ne 200", "$content.Length -gt $Limit", cut_short)
    assert [function for function in FUNCTIONS if "[Net.WebRequest]::Create" in body(function)] == ["New-Request"]
    assert "$request.AllowAutoRedirect = $false" in body("New-Request")
    assert "$request.ServerCertificateValidationCallback = $Client.trust" in body("New-Request")


def test_uninstall_leaves_no_copy_of_the_agent() -> None:
    assert '@($PSCommandPath, "$PSCommandPath.old", "$PSCommandPath.new")' in body("Uninstall-Agent")


def test_credentials_are_on_no_command_line() -> None:
    for match in re.findall(r"-Words @\(([^)]*)\)", TEXTS["direct-host"]):
        assert "$" not in match
    (words,) = re.findall(r"\$words = '([^']*)'", TEXTS["agent"])
    assert re.findall(r"-([A-Z]\w+)", words) == [
        "NoProfile", "NonInteractive", "ExecutionPolicy", "File", "Once", "Config"
    ]  # fmt: skip


def test_the_installer_carries_the_agent_and_values_unharmed() -> None:
    strings = unquote(install(token_secret="it's"))
    assert AGENT.read_text() in strings
    assert "it's" in strings
    assert "b00t" in unquote(TEXTS["install"])
    assert "AUTO_ENROLLMENT_KEY = ''" in TEXTS["install"]


def test_what_the_server_hands_out_is_the_collection_s() -> None:
    file = scripts.AGENTS["windows"][0]
    assert file.is_symlink()
    assert file.resolve() == AGENT
    assert scripts.agent_version("windows")[0] == scripts.agent_version("linux")[0]


QUOTES = "'\u2018\u2019\u201a\u201b"


def unquote(text: str) -> list[str]:
    """The single-quoted strings of a script by PowerShell's rules: any quote of five ends it, two stand for one."""
    found, position = [], 0
    while (match := re.compile(f"= ([{QUOTES}])").search(text, position)) is not None:
        position, value = match.end(), ""
        while True:
            if text[position] not in QUOTES:
                value += text[position]
                position += 1
            elif position + 1 < len(text) and text[position + 1] in QUOTES:
                value += text[position]
                position += 2
            else:
                break
        position += 1
        found.append(value)
    return found


@settings(max_examples=300)
@given(st.text(st.sampled_from(QUOTES + "\"$`();\n\ra#@{}")) | st.text())
def test_no_value_leaves_its_quotes(value: str) -> None:
    assert unquote(f"$x = {scripts.quote_powershell(value)}; more") == [value]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40))
def test_every_value_of_the_script_arrives_as_it_is(value: str) -> None:
    head = install(server_url=value, token_key=value or "k", token_secret=value).partition("$ApiVersion")[0]
    assert unquote(head.partition("$Values")[2])[:3] == [value, value or "k", value]


def test_the_sample_report_has_the_fields_that_the_agent_writes() -> None:
    """The fixture cannot drift from the script: their field names are the same."""
    report = json.loads(FIXTURE.read_text())
    text = AGENT.read_text()

    def written(function: str) -> set[str]:
        body = text.partition(f"function {function} {{")[2].partition("\n}\n")[0]
        block = body.partition("return [ordered]@{")[2]
        return set(re.findall(r"(?m)^        (\w+) = ", block))

    assert set(report) - {"hashes"} == written("Get-Report")
    updates = [item for item in report["packages"] if "wuaGuid" in item]
    assert all(set(item) == written("ConvertTo-UpdateItem") for item in updates)
    assert updates
