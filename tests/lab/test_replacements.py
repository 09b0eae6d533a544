# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What dnf replaces under another name, on real hosts: reported, explained, deployed, and by the modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.patchlab import Host, oddities, oddities_dnf
from tests.lab.product import Product, by_name, results

COLLECTIONS = Path(__file__).parents[2] / "collection"
INSTALLABLE = {old: new for old, new in oddities_dnf.REPLACED.items() if old != "odd-barred"}
Play = Callable[..., dict[str, dict[str, Any]]]


def names(host: Host) -> set[str]:
    return set(host.ssh("rpm -qa --qf '%{name}\\n'").stdout.split())


def reasons(product: Product, name: str) -> dict[str, tuple[str, str]]:
    rows = product.patches(name)["patches"]
    return {row["package"]: (row["verdict"], row["reason"]) for row in rows if row["replaced_by"]}


def test_from_the_report_to_the_proof(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    product.enrol("rpm1")
    host = product.lab["rpm1"]
    assert set(INSTALLABLE) <= names(host)
    found = reasons(product, "rpm1")
    assert found["odd-oldname"] == ("missing", "replaced: by odd-newname 2.0-1.el9")
    assert found["odd-divided"] == (
        "missing",
        "replaced: by odd-part-two 2.1-1.el9 and odd-part-with-the-longer-one-of-all-names-here 1:2.0-1.el9",
    )
    assert found["odd-barred"] == (
        "not_installable",
        "dependency: nothing provides odd-nowhere needed by odd-impossible-2.0-1.el9.noarch",
    )
    assert {old for old, (verdict, _reason) in found.items() if verdict == "missing"} == set(INSTALLABLE)

    told = product.server.command("explain", "rpm1", "odd-oldname").stdout
    assert "has it replaced: by odd-newname" in " ".join(told.split())
    assert "RLSA-2026:12" in told
    listed = product.server.command("patches", "rpm1", "--security").stdout
    assert "odd-newname 2.0-1.el9" in " ".join(listed.split())

    tried = product.run("rpm1", filter="packages", packages=[*oddities_dnf.REPLACED], dry_run=True)
    assert by_name(tried)["rpm1"]["state"] == "planned", product.explain(tried)
    assert results(by_name(tried)["rpm1"]) == dict.fromkeys(INSTALLABLE, "would_install")
    assert set(INSTALLABLE) <= names(host)

    # The kernels that the host began with are newer than its start.
    done = product.run("rpm1", filter="packages", packages=[*oddities_dnf.REPLACED], reboot="if_required")
    assert (done["state"], by_name(done)["rpm1"]["state"]) == ("succeeded", "patched"), product.explain(done)
    assert results(by_name(done)["rpm1"]) == dict.fromkeys(INSTALLABLE, "installed"), "and nothing came along"
    present = names(host)
    assert present.isdisjoint(INSTALLABLE)
    assert {new for several in INSTALLABLE.values() for new in several} <= present
    assert set(reasons(product, "rpm1")) == {"odd-barred"}

    host.ssh("dnf -y -q upgrade --nobest && dnf -y -q upgrade --nobest", timeout=180)  # all the ordinary ones
    product.report("rpm1")
    assert product.patches("rpm1")["status"] == "current", product.missing("rpm1")
    assert {row["package"] for row in product.patches("rpm1")["patches"]} == {"odd-barred", "odd-stuck"}


def test_what_the_host_does_not_replace_is_told_with_its_reason(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    host = product.lab["rpm1"]
    host.ssh("dnf -q makecache && dnf -q versionlock add odd-divided && echo exclude=odd-newname >> /etc/dnf/dnf.conf")
    product.enrol("rpm1")
    found = reasons(product, "rpm1")
    assert found["odd-oldname"] == ("not_installable", "excluded: exclude=odd-newname of dnf.conf")
    verdict, reason = found["odd-divided"]
    assert (verdict, reason.split("-0:")[0]) == ("not_installable", "held: versionlock odd-divided")
    kept = {"odd-oldname", "odd-divided"}
    done = product.run("rpm1", filter="packages", packages=[*INSTALLABLE])
    assert results(by_name(done)["rpm1"]) == dict.fromkeys(set(INSTALLABLE) - kept, "installed"), product.explain(done)
    assert names(host) & set(INSTALLABLE) == kept

    host.ssh(
        "dnf -q versionlock clear && sed -i /^exclude/d /etc/dnf/dnf.conf && echo obsoletes=0 >> /etc/dnf/dnf.conf"
    )
    product.report("rpm1")
    assert reasons(product, "rpm1") == {}, "dnf is told to replace nothing"
    host.ssh("sed -i /^obsoletes/d /etc/dnf/dnf.conf")
    product.report("rpm1")
    verdicts = {old: verdict for old, (verdict, _reason) in reasons(product, "rpm1").items()}
    assert verdicts == {**dict.fromkeys(kept, "missing"), "odd-barred": "not_installable"}


def test_a_plan_whose_replacement_was_withdrawn_installs_nothing_else(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    product.enrol("rpm1")
    host = product.lab["rpm1"]
    host.ssh("echo exclude=odd-part-two >> /etc/dnf/dnf.conf")
    done = product.run("rpm1", filter="packages", packages=["odd-divided", "odd-oldname"], reboot="if_required")
    shown = by_name(done)["rpm1"]
    assert (shown["state"], results(shown)) == ("incomplete", {"odd-divided": "superseded", "odd-oldname": "installed"})
    (message,) = (change["message"] for change in shown["changes"] if change["package"] == "odd-divided")
    assert message == "the repositories now offer odd-part-with-the-longer-one-of-all-names-here 1:2.0-1.el9"
    assert "odd-divided" in names(host)


def test_the_modules_list_and_install_them(product: Product, play: Play) -> None:
    oddities.use(product.lab, "rpm1")
    host = product.lab["rpm1"]

    def task(name: str, module: str = "updates", check_mode: bool = False, **options: Any) -> dict[str, Any]:
        return {"name": name, f"patchherd.fleet.{module}": options, "ignore_errors": True, "check_mode": check_mode}

    wanted = {"accept_list": ["odd-oldname", "odd-first", "odd-part-*"]}
    done = play(
        "rpm1",
        [
            task("search", "updates_info", refresh="always"),
            task("fix", "updates_info", cves=["CVE-2026-2009"]),
            task("checked", check_mode=True, **wanted),
            task("downloaded", state="downloaded", **wanted),
            task("installed", **wanted),
            task("again", **wanted),
        ],
        COLLECTIONS,
    )
    assert not any(result["failed"] for result in done.values()), done
    found = done["search"]["updates"]
    assert {update["name"]: update["replaces"] for update in found.values() if update["replaces"]} == {
        "odd-newname": ["odd-oldname"], "odd-grown": ["odd-peaceful"], "odd-merged": ["odd-first", "odd-second"],
        "odd-part-two": ["odd-divided"], "odd-part-with-the-longer-one-of-all-names-here": ["odd-divided"],
        "odd-successor": ["odd-forked"], "odd-bothnew": ["odd-bothold"],
    }  # fmt: skip
    assert {update["name"] for update in found.values() if not update["replaces"]} == (
        oddities_dnf.UPGRADABLE - {"odd-stuck", "odd-forked"}
    )
    filtered = {update["name"]: update["filtered_reasons"] for update in done["search"]["filtered_updates"].values()}
    assert filtered == {"odd-impossible": ["dependency"], "odd-stuck": ["dependency"]}
    (fix,) = done["fix"]["updates"].values()
    assert (fix["id"], fix["title"]) == ("odd-newname-2.0-1.el9.noarch", "odd-newname 2.0-1.el9")
    assert (fix["installed_version"], fix["severity"]) == ("1.0-1.el9", "Important")
    assert fix["categories"] == ["security"]
    assert [done[name]["changed"] for name in ("checked", "downloaded", "installed", "again")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert done["installed"]["installed_update_count"] == 4
    assert all(update["installed"] for update in done["installed"]["updates"].values())
    assert names(host).isdisjoint({"odd-oldname", "odd-first", "odd-second", "odd-divided"})


def test_packages_that_are_built_for_other_architectures_now(product: Product) -> None:
    oddities.use(product.lab, "rpm1")
    product.enrol("rpm1")
    packages = ["odd-wasnoarch", "odd-wasarch", "odd-wasforeign", "odd-becameboth"]
    done = product.run("rpm1", filter="packages", packages=packages, reboot="if_required")
    assert by_name(done)["rpm1"]["state"] == "patched", product.explain(done)
    assert [change["result"] for change in by_name(done)["rpm1"]["changes"]] == ["installed"] * len(packages)
