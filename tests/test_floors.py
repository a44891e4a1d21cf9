"""The house rules, read from the source with `ast`: who may import whom, and what may stand in which room."""

import ast
import builtins
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kvd"
ANYTHING = "anything above this row"

# Room -> the rooms it may import, beside itself: only rooms of rows above its own, so that imports point one way.
# A longer name (feeds.simulate) goes before a shorter one (feeds).
ROOMS: dict[str, set[str] | str] = {
    # floor 0
    "quotes": set(),
    "core": set(),
    "latest": {"quotes"},
    "config": {"core"},
    # floor 1
    "surface": {"quotes", "core"},
    "venues": {"quotes", "config"},
    # floor 2
    "calibrator": {"quotes", "core", "latest", "config", "surface"},
    "wire": {"quotes", "surface"},
    "metrics": {"quotes", "surface", "config"},
    "quality": {"quotes", "core", "surface"},
    "checker": {"surface"},
    # floor 3
    "feeds": {"quotes", "latest", "config", "venues", "metrics"},
    "feeds.simulate": {"quotes", "latest", "config", "venues", "core", "surface"},
    "sinks": {"quotes", "latest", "config", "surface", "wire", "metrics"},
    "client": {"quotes", "latest", "surface", "wire"},
    "__init__": {"surface", "client"},
    # floor 4
    "logs": {"config"},
    "report": {"surface", "quality", "checker"},
    "tune": {"config"},
    "tables": {"quotes", "surface", "config", "quality", "report"},
    "terminal": {"surface", "client", "tables"},
    "app": ANYTHING,
    "bench": ANYTHING,
    "cli": ANYTHING,
    "__main__": ANYTHING,
}

# Library -> the rooms that may import it. An empty set: nobody.
LIBRARIES: dict[str, set[str]] = {
    "asyncio": {"feeds", "sinks", "client", "app", "cli", "bench"},
    "filterpy": {"core.kalman"},
    "lbriv": {"core"},
    "logging": {"logs", "feeds", "sinks"},
    "matplotlib": set(),
    "plotly": {"report"},
    "prometheus_client": {"metrics"},
    "random": {"feeds", "client", "bench"},
    "scipy": {"core", "checker", "quality", "feeds.simulate", "bench"},
    "structlog": {"logs", "feeds", "sinks", "app", "cli"},
    "time": {"feeds", "app", "bench"},
    "websockets": {"feeds.live", "feeds.simulate", "sinks.publish", "sinks.crowd", "sinks.door", "client", "bench"},
}

CLOCKS = {"now", "utcnow", "today"}  # of datetime and date
GAPS_COME_FROM = {"feeds.live.outage", "feeds.replay", "app.checkpoint"}
BASES = {"NamedTuple", "Struct", "Protocol", "Generic", "Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"}
FORBIDDEN_NAMES = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "manager",
    "managers",
    "handler",
    "handlers",
    "base",
    "impl",
}
LONGEST = 400


class Module(NamedTuple):
    """One file of the package: its dotted name below kvd and its source."""

    name: str
    source: str


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield Module(
            ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path.read_text("utf-8")
        )


MODULES = list(modules())


def is_in(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def room_of(name):
    return max((room for room in ROOMS if is_in(name, {room})), key=len, default=None)


def imported(source):
    """Every module a source imports, absolutely and dotted; `from a import b` gives a.b, for b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


def wrong_imports(module):
    room = room_of(module.name)
    if room is None:
        yield f"{module.name} has no row in ROOMS"
        return
    may = ROOMS[room] if ROOMS[room] != ANYTHING else set(list(ROOMS)[: list(ROOMS).index(room)])
    for target in imported(module.source):
        library, _, below = target.partition(".")
        if target.startswith("."):
            yield f"{module.name} imports {target}: imports are absolute"
        elif library != "kvd":
            if library in LIBRARIES and not is_in(module.name, LIBRARIES[library]):
                yield f"{module.name} imports {library}"
        elif (other := room_of(below)) and not is_in(below, may) and other.split(".")[0] != room.split(".")[0]:
            yield f"{module.name} imports kvd.{below}"


def wrong_code(module):
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and not is_in(module.name, LIBRARIES["time"]):
            yield f"{module.name}:{node.lineno} reads a clock: .{node.attr}"
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "default_rng"
            and not is_in(module.name, LIBRARIES["random"])
        ):
            yield f"{module.name}:{node.lineno} draws random numbers"
        if isinstance(node, ast.AsyncFunctionDef) and not is_in(module.name, LIBRARIES["asyncio"]):
            yield f"{module.name}:{node.lineno} is asynchronous: {node.name}"
        if isinstance(node, ast.Global):
            yield f"{module.name}:{node.lineno} keeps global state: {', '.join(node.names)}"
        if isinstance(node, ast.Call) and called(node) == "Gap" and not is_in(module.name, GAPS_COME_FROM):
            yield f"{module.name}:{node.lineno} raises a Gap"


def called(call):
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", None)


def classes(source):
    """Every class of a source as (name, names of its bases, line)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
            yield node.name, [base.attr if isinstance(base, ast.Attribute) else base.id for base in plain], node.lineno


def exceptions(sources):
    """The names of every exception: built in, or defined in the sources from one."""
    known = {
        name for name, thing in vars(builtins).items() if isinstance(thing, type) and issubclass(thing, BaseException)
    }
    defined = [(name, bases) for source in sources for name, bases, _ in classes(source)]
    while more := {name for name, bases in defined if set(bases) & known} - known:
        known |= more
    return known


def wrong_bases(module, known_exceptions):
    for name, bases, line in classes(module.source):
        for base in bases:
            if base not in BASES | known_exceptions:
                yield f"{module.name}:{line} {name} inherits from {base}"


EXCEPTIONS = exceptions(module.source for module in MODULES)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_room_keeps_to_its_floor(module):
    assert [*wrong_imports(module), *wrong_code(module)] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_nothing_inherits_but_records_protocols_enums_and_exceptions(module):
    assert list(wrong_bases(module, EXCEPTIONS)) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_is_short_and_named_for_what_it_holds(module):
    assert FORBIDDEN_NAMES.isdisjoint(module.name.split("."))
    assert len(module.source.splitlines()) <= LONGEST


@pytest.mark.parametrize(("room", "may"), ROOMS.items(), ids=ROOMS)
def test_the_table_points_one_way(room, may):
    above = list(ROOMS)[: list(ROOMS).index(room)]
    assert may == ANYTHING or set(may) <= set(above)


def test_the_rules_of_the_house_are_in_the_table():
    assert "core" not in ROOMS["venues"]
    assert "venues" not in ROOMS["calibrator"]
    assert "sinks" not in ROOMS["feeds"] and "feeds" not in ROOMS["sinks"]
    assert ROOMS["core"] == ROOMS["quotes"] == set()
    assert {room for room, may in ROOMS.items() if "core" in may} <= {
        "config", "surface", "calibrator", "quality", "feeds.simulate",
    }  # fmt: skip


# The rules must be able to fail


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("venues.okx", "from kvd.core import svi", ["venues.okx imports kvd.core.svi"]),
        ("venues.okx", "import kvd.core.svi", ["venues.okx imports kvd.core.svi"]),
        ("venues.okx", "from kvd import core", ["venues.okx imports kvd.core"]),
        ("venues.okx", "from kvd.quotes import Quote", []),
        ("venues.okx", "def parse():\n    import asyncio", ["venues.okx imports asyncio"]),
        ("calibrator.book", "from kvd.venues import deribit", ["calibrator.book imports kvd.venues.deribit"]),
        ("calibrator.book", "from kvd.calibrator.forwards import x", []),
        ("feeds.live", "from kvd.sinks.publish import Publisher", ["feeds.live imports kvd.sinks.publish.Publisher"]),
        ("feeds.live", "from kvd.core.black import price", ["feeds.live imports kvd.core.black.price"]),
        ("feeds.simulate", "from kvd.core.black import price", []),
        ("feeds.simulate.market", "import websockets.asyncio.server", []),
        ("feeds.replay", "import websockets", ["feeds.replay imports websockets"]),
        ("sinks.publish", "from kvd.feeds import live", ["sinks.publish imports kvd.feeds.live"]),
        ("sinks.publish", "import time", ["sinks.publish imports time"]),
        ("core.svi", "from kvd.quotes import Quote", ["core.svi imports kvd.quotes.Quote"]),
        ("core.svi", "from filterpy.kalman import KalmanFilter", ["core.svi imports filterpy"]),
        ("core.kalman", "from filterpy.kalman import KalmanFilter", []),
        ("core.kalman", "from . import svi", ["core.kalman imports ..svi: imports are absolute"]),
        ("wire", "from prometheus_client import Counter", ["wire imports prometheus_client"]),
        ("app", "from kvd.cli import main", ["app imports kvd.cli.main"]),
        ("cli", "from kvd.app import run\nfrom kvd import __version__", []),
        ("attic", "", ["attic has no row in ROOMS"]),
        ("wire", "at = datetime.now(UTC)", ["wire:1 reads a clock: .now"]),
        ("feeds.live", "at = datetime.now(UTC)", []),
        ("calibrator", "async def run(): ...", ["calibrator:1 is asynchronous: run"]),
        ("calibrator", "x = np.random.default_rng(0)", ["calibrator:1 draws random numbers"]),
        ("wire", "def f():\n    global x", ["wire:2 keeps global state: x"]),
        ("sinks.publish", "Gap(venue, 0, '')", ["sinks.publish:1 raises a Gap"]),
        ("feeds.live.outage", "quotes.Gap(venue, 0, '')", []),
    ],
)
def test_a_breach_is_found(name, source, wrong):
    module = Module(name, source)
    assert [*wrong_imports(module), *wrong_code(module)] == wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("class A(Feed): ...", ["app:1 A inherits from Feed"]),
        ("class A(feeds.Feed): ...", ["app:1 A inherits from Feed"]),
        ("class A(Generic[T], Feed[T]): ...", ["app:1 A inherits from Feed"]),
        ("class A(Generic[T]): ...\nclass B(msgspec.Struct, frozen=True): ...\nclass C(NamedTuple): ...", []),
        ("class Bad(Exception): ...\nclass Worse(Bad): ...", []),
    ],
)
def test_inheritance_is_found(source, wrong):
    assert list(wrong_bases(Module("app", source), exceptions([source]))) == wrong


def test_no_test_sleeps_for_luck_or_mocks():
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        source = path.read_text("utf-8")
        wrong += [f"{path.name} imports {target}" for target in imported(source) if target.startswith("unittest.mock")]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.arg) and node.arg in {"monkeypatch", "mocker"}:
                wrong.append(f"{path.name}:{node.lineno} takes {node.arg}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
                wrong.append(f"{path.name}:{node.lineno} sleeps")
    assert wrong == []
