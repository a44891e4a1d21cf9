import ast
import email
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kvd

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
IMAGE_EXTRA = "uvloop"  # the container draws no reports
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINS = dict(line.split(" ")[0].split("==") for line in LOCK.splitlines() if "==" in line)


def is_of(requirement, module):
    return canonicalize_name(requirement.name) == canonicalize_name(module)


def test_the_wheel_holds_the_package_its_types_and_the_reference_configuration(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert archive.read("kvd/kvd.toml") == (ROOT / "config" / "kvd.toml").read_bytes()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kvd").rglob("*.py")}
    assert sources | {"kvd/py.typed", "kvd/kvd.toml"} <= names
    assert {name for name in names if not name.startswith("kvd/")} == set()


def test_the_wheel_says_what_it_is(wheel):
    info = f"kvd-{kvd.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        assert entry_points.split() == ["[console_scripts]", "kvd", "=", PROJECT["scripts"]["kvd"]]
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Name"], metadata["Version"]) == ("kvd", kvd.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize("requirement", [*REQUIREMENTS, *EXTRAS], ids=str)
def test_every_dependency_has_a_lower_and_a_tested_upper_bound(requirement):
    assert sorted(specifier.operator for specifier in requirement.specifier) == ["<", ">="]


@pytest.mark.parametrize(
    "requirement", [*REQUIREMENTS, *map(Requirement, PROJECT["optional-dependencies"][IMAGE_EXTRA])], ids=str
)
def test_what_the_container_installs_has_a_pin_within_its_bounds(requirement):
    pin = {canonicalize_name(name): version for name, version in PINS.items()}[canonicalize_name(requirement.name)]
    assert pin in requirement.specifier


def test_every_library_that_kvd_imports_is_declared_and_every_declared_one_is_imported():
    imported = set()
    for path in (ROOT / "kvd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    foreign = imported - sys.stdlib_module_names - {"kvd"}
    known = [*REQUIREMENTS, *EXTRAS]
    assert {module for module in foreign if not any(is_of(requirement, module) for requirement in known)} == set()
    assert {r.name for r in known if not any(is_of(r, module) for module in foreign)} == set()


def test_the_lock_names_no_index_and_has_a_hash_for_every_pin():
    assert "://" not in LOCK
    assert not any(line.startswith("-") for line in LOCK.splitlines())
    entries = LOCK.partition("\n")[2].replace("\\\n", " ").strip().splitlines()
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert len(entries) == len(PINS)
