import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from kvd.config import KEYS, ConfigError, Settings, effective, is_loopback, load
from kvd.config.settings import SECRETS, keys
from kvd.config.sources import VARIABLES
from kvd.config.tokens import parse
from kvd.config.wording import allowed, text

READER, DESK = "reader:read:hushhushhushhush", "desk:lock+read:hush-hush-hush.~+"
REFERENCE = Path(__file__).resolve().parents[1] / "config" / "kvd.toml"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "kvd.toml"
        path.write_text(content, "utf-8")
        return path

    return write


def refusal(path=None, **environ):
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# Where values come from


def test_without_file_or_environment_the_defaults_hold():
    settings, sources = load(None, {"HOME": "/nowhere"})
    assert settings == Settings()
    assert sources == dict.fromkeys(KEYS, "default")


def test_the_reference_file_lists_every_setting_at_its_default():
    loaded = load(REFERENCE, {})
    missing = [name for name in KEYS if name not in SECRETS and not loaded.sources[name].startswith("file ")]
    assert missing == [], "config/kvd.toml does not list these settings"
    differing = [name for name, key in keys(loaded.settings).items() if key.value != KEYS[name].value]
    assert differing == [], "config/kvd.toml gives these another value than the default"


def test_the_reference_file_says_what_each_setting_is_for():
    lines = REFERENCE.read_text("utf-8").splitlines()
    assert [line for line in lines if " = " in line.partition("#")[0] and " # " not in line] == []
    assert all(any(line.startswith(f"# {name.rpartition('.')[2]}:") for line in lines) for name in SECRETS)


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(write):
    path = write('venues = ["deribit"]\n\n[publish]\nport = 9000\nmax_clients = 7\n')
    settings, sources = load(path, {"KVD_PUBLISH_PORT": "9001", "KVD_DERIBIT_CURRENCIES": "BTC, SOL"})
    assert (settings.publish.port, settings.publish.max_clients) == (9001, 7)
    assert settings.deribit.currencies == ("BTC", "SOL")
    assert sources["publish.port"] == "environment KVD_PUBLISH_PORT"
    assert sources["publish.max_clients"] == f"file {path}:5"
    assert sources["venues"] == f"file {path}:1"
    assert sources["publish.host"] == "default"


def test_a_file_is_named_by_the_argument_or_else_by_kvd_config(write, tmp_path):
    path = write("[publish]\nport = 9000\n")
    other = tmp_path / "other.toml"
    other.write_text("publish.port = 9001\n", "utf-8")
    assert load(None, {"KVD_CONFIG": str(path)}).settings.publish.port == 9000
    assert load(other, {"KVD_CONFIG": str(path)}).settings.publish.port == 9001
    assert load(None, {"KVD_CONFIG": ""}).settings == Settings()


def test_a_number_may_be_whole_where_a_fraction_is_allowed(write):
    assert load(write("feed.stale_after_s = 5\n"), {"KVD_FEED_HEARTBEAT_S": "20"}).settings.feed.stale_after_s == 5.0


@pytest.mark.parametrize(("word", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_the_environment_spells_a_truth_value(word, value):
    assert load(None, {"KVD_CALIBRATOR_HOLD_OUT": word}).settings.calibrator.hold_out is value


# Secrets


def test_a_secret_comes_from_the_environment_or_from_the_file_it_names(tmp_path):
    held = tmp_path / "tokens"
    held.write_text(f"{READER}\n{DESK}\n", "utf-8")
    direct = load(None, {"KVD_PUBLISH_TOKENS": f"{READER}, {DESK}"})
    from_file = load(None, {"KVD_PUBLISH_TOKENS_FILE": str(held)})
    assert direct.settings.publish.tokens == from_file.settings.publish.tokens == (READER, DESK)
    assert from_file.sources["publish.tokens"] == "environment KVD_PUBLISH_TOKENS_FILE"


def test_a_secret_is_never_shown(write):
    loaded = load(None, {"KVD_PUBLISH_TOKENS": READER})
    assert ("publish.tokens", "********", "environment KVD_PUBLISH_TOKENS") in effective(loaded)
    assert "hush" not in str(effective(loaded))
    assert "hush" not in refusal(write(f'[publish]\ntokens = ["{READER}"]\n'))


def test_a_secret_in_the_configuration_file_is_refused_with_the_mend(write):
    sentence = refusal(write(f'[publish]\ntokens = ["{READER}"]\n'))
    assert sentence.startswith("publish.tokens (")
    assert "set KVD_PUBLISH_TOKENS, or KVD_PUBLISH_TOKENS_FILE" in sentence


def test_a_secret_file_must_hold_a_secret_and_be_the_only_source(tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n", "utf-8")
    assert "is empty" in refusal(KVD_PUBLISH_TOKENS_FILE=str(empty))
    assert "cannot be read" in refusal(KVD_PUBLISH_TOKENS_FILE=str(tmp_path / "absent"))
    assert "unset one of them" in refusal(KVD_PUBLISH_TOKENS=READER, KVD_PUBLISH_TOKENS_FILE=str(empty))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("hushhushhushhush", ["entry 1: it has not three parts", "write NAME:read:TOKEN or NAME:read+lock:TOKEN"]),
        (f"{READER},hush:read:hush:hush", ["entry 2: it has not three parts"]),
        ("hush hush:read:hushhushhushhush", ["entry 1: its name is not"]),
        (":read:hushhushhushhush", ["entry 1: its name is not"]),
        ("limits:read:hushhushhushhush", ["entry 1: its name is taken"]),
        (f"{READER}\nhush:lock:hushhushhushhush", ["entry 2: its scopes are not read or read+lock"]),
        ("hush:read+read:hushhushhushhush", ["entry 1: its scopes"]),
        ("hush:read+admin:hushhushhushhush", ["entry 1: its scopes"]),
        ("hush::hushhushhushhush", ["entry 1: its scopes"]),
        ("hush:read:hushhushhushhus", ["entry 1: its token is shorter than 16 characters"]),
        ("hush:read:hushhushhushhush/", ["entry 1: its token is longer than 256 characters or has others"]),
        (f"hush:read:{'hush' * 65}", ["entry 1: its token is longer than 256"]),
        (f"{READER},{DESK},{READER.replace('hush', 'hash')}", ["entries 1 and 3: they have the same name"]),
        (f"{READER},{READER.replace('reader', 'writer')}", ["entries 1 and 2: they have the same token"]),
    ],
)
def test_a_malformed_entry_is_named_by_its_position_and_never_shown(tmp_path, entries, says):
    held = tmp_path / "tokens"
    held.write_text(entries, "utf-8")
    for environ in ({"KVD_PUBLISH_TOKENS": entries}, {"KVD_PUBLISH_TOKENS_FILE": str(held)}):
        sentence = refusal(**environ)
        assert sentence.startswith(f"publish.tokens (environment {next(iter(environ))}), ")
        assert [part for part in says if part not in sentence] == [], sentence
        assert "hush" not in sentence and "hash" not in sentence


def test_a_token_does_not_show_its_secret():
    reader, desk = parse((READER, DESK))
    assert (reader.name, reader.scopes, desk.scopes) == ("reader", {"read"}, {"read", "lock"})
    assert repr((reader, desk)) == "(Token(reader:read), Token(desk:lock+read))"


def test_the_name_before_tokens_leads_to_it():
    assert "did you mean KVD_PUBLISH_TOKENS?" in refusal(KVD_PUBLISH_TOKEN="hush")


def test_tls_takes_a_certificate_and_a_key():
    assert "publish.tls_certificate is set and publish.tls_key is not" in refusal(KVD_PUBLISH_TLS_CERTIFICATE="c.pem")
    assert "publish.tls_key is set and publish.tls_certificate is not" in refusal(KVD_PUBLISH_TLS_KEY="k.pem")


# Refusals


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[publish]\nprot = 1\n", ["publish.prot (", "kvd.toml:2) is not a setting", "did you mean publish.port?"]),
        ("port = 1\n", ["port (", "did you mean publish.port?"]),
        ("heartbeat_s = 1\n", ["did you mean feed.heartbeat_s or publish.heartbeat_s?"]),
        ("[publsh]\n", ["publsh (", "kvd.toml:1)", "did you mean publish?"]),
        ("[publish]\ncolour = 1\n", ["publish.colour (", "`kvd check` lists every setting"]),
        ("publish = 3\n", ["publish (", "write [publish] and its settings below"]),
        ("[publish.port]\nx = 1\n", ["publish.port = {'x': 1} (", "a whole number"]),
        (
            "[publish]\nport = 70000\n",
            ["publish.port = 70000 (", "of at least 0 and of at most 65535", "8765 by default"],
        ),
        ("[publish]\nport = '80'\n", ['publish.port = "80" (', "a whole number"]),
        ("[publish]\nport = true\n", ["publish.port = true (", "a whole number"]),
        ("[calibrator]\nbatch_ms = 0\n", ["calibrator.batch_ms = 0 (", "a whole number of at least 1"]),
        ("[feed]\nstale_after_s = -1.0\n", ["feed.stale_after_s = -1.0 (", "a finite number above 0"]),
        ("[feed]\nstale_after_s = inf\n", ["feed.stale_after_s = inf (", "a finite number above 0"]),
        ("[feed]\nstale_after_s = nan\n", ["feed.stale_after_s = nan (", "a finite number above 0"]),
        ("[feed]\nreconnect_first_s = 60\n", ["feed.reconnect_first_s = 60.0 is above", "raise the cap"]),
        ("venues = ['drbt']\n", ['venues = ["drbt"] (', 'each one of "deribit"']),
        ("venues = []\n", ["venues = [] (", "a list of at least one value"]),
        ("[deribit]\nurl = 'http://x'\n", ['deribit.url = "http://x" (', "text that matches ^wss?://."]),
        ("[deribit]\nurl = 'wss://:443/ws'\n", ['deribit.url = "wss://:443/ws" is not an address', "wss://host/path"]),
        ("[deribit]\nurl = 'wss://h:99999'\n", ['deribit.url = "wss://h:99999" is not an address']),
        ("[deribit]\nurl = 'wss://[::1'\n", ['deribit.url = "wss://[::1" is not an address']),
        ("[deribit]\nurl = 'wss://h/#f'\n", ['deribit.url = "wss://h/#f" is not an address']),
        ("[log]\nlevel = 'loud'\n", ['log.level = "loud" (', 'one of "debug", "error", "info", "warning"']),
        ("[calibrator]\nhold_out = 1\n", ["calibrator.hold_out = 1 (", "true or false"]),
        (
            "[publish]\nhost = '0.0.0.0'\n",
            ['publish.host = "0.0.0.0" is open to the network', "set KVD_PUBLISH_TOKENS"],
        ),
        ("[publish]\norigins = ['desk.example']\n", ['publish.origins = ["desk.example"] (', "^https?://"]),
        ("[publish]\nhost = 'example.org'\n", ['publish.host = "example.org" is open to the network']),
        ("[publish\n", ["is not TOML", "line 1"]),
        ("[log]\nlevel = 'info'\nlevel = 'info'\n", ["is not TOML", "line 3"]),
        ("[publish]\nhost = " + "[" * 9_000, ["is not TOML", "recursion"]),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence_with_the_mend(write, content, says):
    sentence = refusal(write(content))
    assert [part for part in says if part not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("KVD_PUBLISH_PROT", "1", "did you mean KVD_PUBLISH_PORT?"),
        ("KVD_FLAVOUR", "red", "KVD_FLAVOUR (environment) is not a setting; `kvd check` lists every setting"),
        ("KVD_PUBLISH_PORT", "tcp://10.0.0.1", '"tcp://10.0.0.1" (environment KVD_PUBLISH_PORT) cannot be used'),
        ("KVD_PUBLISH_PORT", "", "a whole number"),
        ("KVD_FEED_STALE_AFTER_S", "inf", "a finite number above 0"),
        ("KVD_VENUES", "", "a list of at least one value"),
        ("KVD_CALIBRATOR_HOLD_OUT_SEED", "\udcff", "KVD_CALIBRATOR_HOLD_OUT_SEED (environment) is not UTF-8 text"),
        ("KVD_CONFIG", "/nowhere/kvd.toml", "/nowhere/kvd.toml cannot be read (No such file or directory)"),
        ("KVD_CONFIG", "/", "/ cannot be read (Is a directory)"),
    ],
)  # fmt: skip
def test_an_environment_that_cannot_be_used_gets_one_sentence_with_the_mend(variable, value, says):
    sentence = refusal(**{variable: value})
    assert says in sentence


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "kvd.toml"
    path.write_bytes(b"\xff\xfe")
    assert "is not TOML" in refusal(path)


@pytest.mark.parametrize(
    "environ",
    [
        {"KVD_PUBLISH_TOKENS": READER},
        {"KVD_PUBLISH_ALLOW_OPEN": "true"},
    ],
)
def test_an_open_address_needs_a_token_or_a_word(environ):
    assert load(None, {"KVD_PUBLISH_HOST": "0.0.0.0", **environ}).settings.publish.host == "0.0.0.0"
    assert load(None, {"KVD_PUBLISH_HOST": "::1"}).settings.publish.host == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", None])
def test_anything_else_is_the_network(host):
    assert not is_loopback(host)


# Properties


def values(kind):
    """Every value that a setting's type allows."""
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType(values=choices):
            return st.sampled_from(sorted(choices))
        case inspect.IntType(ge=low, le=high):
            return st.integers(low, 2**53 if high is None else high)
        case inspect.FloatType(gt=above, ge=low, lt=below, le=high):
            least, most = (low if above is None else above), (high if below is None else below)
            return st.floats(
                least, most, exclude_min=above is not None, exclude_max=below is not None,
                allow_nan=False, allow_infinity=False,
            )  # fmt: skip
        case inspect.VarTupleType(item_type=item, min_length=least):
            return st.lists(values(item), min_size=least or 0, max_size=5).map(tuple)
        case inspect.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern.rstrip("$") + r"\Z" if pattern.endswith("$") else pattern)
        case inspect.StrType(min_length=least):
            return st.text(st.characters(exclude_categories=["Cs"]), min_size=least or 0)
    raise TypeError(kind)


SETTABLE = {name: inspect.type_info(key.kind) for name, key in KEYS.items() if name not in SECRETS}


def as_toml(chosen):
    return "".join(f"{name} = {text(value)}\n" for name, value in chosen.items())


@given(st.fixed_dictionaries({}, optional={name: values(kind) for name, kind in SETTABLE.items()}))
def test_any_settings_written_as_toml_load_back_equal(tmp_path_factory, chosen):
    chosen |= {"publish.tls_certificate": "", "publish.tls_key": "", "publish.allow_open": True}
    chosen |= {"feed.reconnect_first_s": 0.25, "feed.reconnect_cap_s": 30.0}
    chosen |= {"deribit.url": "ws://example.org:8080/ws", "limits.atm_vol_low": 0.0, "recorder.keep_gib": 0.0}
    path = tmp_path_factory.getbasetemp() / "property.toml"
    path.write_text(as_toml(chosen), "utf-8", newline="\n")
    loaded = load(path, {})
    assert {name: keys(loaded.settings)[name].value for name in chosen} == chosen
    shown = {name: value for name, value, _ in effective(loaded) if name not in SECRETS}
    path.write_text("".join(f"{name} = {value}\n" for name, value in shown.items()), "utf-8", newline="\n")
    assert load(path, {}).settings == loaded.settings


@given(
    st.dictionaries(st.sampled_from([*VARIABLES, "KVD_PORT", "PATH"]), st.text(st.characters(exclude_characters="\0")))
)
def test_any_environment_gives_settings_or_one_sentence(environ):
    try:
        settings, _ = load(None, environ)
    except ConfigError as error:
        assert str(error).strip()
    else:
        assert load(None, environ).settings == settings


@given(st.text())
def test_any_text_gives_settings_or_one_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        assert load(path, {}).settings is not None
    except ConfigError as error:
        assert str(error).strip()


@pytest.mark.parametrize("name", KEYS)
def test_every_setting_can_be_explained_and_its_default_is_allowed(name):
    assert allowed(inspect.type_info(KEYS[name].kind))
    assert tomllib.loads(f"value = {text(KEYS[name].value)}")["value"] == (
        list(KEYS[name].value) if isinstance(KEYS[name].value, tuple) else KEYS[name].value
    )
