"""Configuration: four sources in one order, every fault named with its source, and a sample that cannot go stale."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tenure.broker import config_values
from tenure.broker.config import SETTINGS, Config, ConfigError, Limits, Log, load_config, resolve_config
from tenure.broker.config_text import render_config
from tenure.contract.errors import TenureError
from tenure.domain.limits import RegistryLimits

ENVIRON = {"HOME": "/home/you", "XDG_RUNTIME_DIR": "/run/user/1000"}
SAMPLE = files("tenure.broker").joinpath("tenure.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str) -> Path:
    """A configuration file."""
    file = folder / "tenure.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(
    file: Path | None = None, environ: Mapping[str, str] = ENVIRON, flags: Mapping[str, object] | None = None
) -> ConfigError:
    """The error that these sources give."""
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ, flags or {})
    return caught.value


def test_defaults() -> None:
    """With nothing configured, data and sockets are the user's own, nothing is open to others, and limits are set."""
    config = load_config(None, ENVIRON, {})
    assert config == Config(
        data=Path("/home/you/.local/state/tenure"),
        bind=("ipc:///run/user/1000/tenure/broker.ipc", "tcp://127.0.0.1:7400"),
        events_bind=("ipc:///run/user/1000/tenure/events.ipc", "tcp://127.0.0.1:7401"),
    )
    assert config.limits == Limits()
    assert config.log == Log(level="info", format="auto")
    assert not config.insecure_bind


def test_data_follows_the_state_directory() -> None:
    """XDG_STATE_HOME is where state belongs, if it is an absolute path."""
    assert load_config(None, ENVIRON | {"XDG_STATE_HOME": "/state"}, {}).data == Path("/state/tenure")
    assert load_config(None, ENVIRON | {"XDG_STATE_HOME": "state"}, {}).data == Path("/home/you/.local/state/tenure")


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where HOME is not set the user's home is looked up; who has none has to name a directory, and is told so."""
    assert load_config(None, {}, {}).data == Path.home() / ".local/state/tenure"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert "name one with --data" in str(refused(environ={}))
    assert load_config(None, {}, {"data": "/srv/tenure"}).data == Path("/srv/tenure")


def test_later_sources_win(tmp_path: Path) -> None:
    """Flags win over the environment, the environment over the file, the file over the defaults; each says so."""
    file = write(tmp_path, '[limits]\nqueue_max = 1\nbatch_max = 2\ndrain_max = 3\n[log]\nlevel = "error"\n')
    environ = ENVIRON | {"TENURE_LIMITS_BATCH_MAX": "20", "TENURE_LIMITS_DRAIN_MAX": "30"}
    config, sources = resolve_config(file, environ, {"limits.drain_max": 300, "data": None})
    limits = config.limits
    assert (limits.queue_max, limits.batch_max, limits.drain_max, limits.drain_ms) == (1, 20, 300, 20)
    assert config.log.level == "error"
    assert sources["limits.queue_max"] == f"{file}:limits.queue_max"
    assert sources["limits.batch_max"] == "TENURE_LIMITS_BATCH_MAX"
    assert sources["limits.drain_max"] == "--limits-drain-max"
    assert sources["limits.drain_ms"] == sources["data"] == "default"
    assert set(sources) == set(SETTINGS)


def test_environment_is_text() -> None:
    """Variables give numbers, truth and lists as text; one that is set to nothing is as good as not set."""
    config = load_config(
        None,
        ENVIRON
        | {
            "TENURE_DATA": "~/data",
            "TENURE_BIND": "ipc:///run/a.ipc, tcp://127.0.0.1:1,",
            "TENURE_EVENTS_BIND": "tcp://[::1]:2",
            "TENURE_ADMIN": "false",
            "TENURE_ADMIN_BIND": "",
            "TENURE_LIMITS_SESSIONS_MAX": "12",
            "TENURE_LOG_FORMAT": "json",
        },
        {},
    )
    assert config.data == Path("/home/you/data")
    assert config.bind == ("ipc:///run/a.ipc", "tcp://127.0.0.1:1")
    assert config.events_bind == ("tcp://[::1]:2",)
    assert (config.admin, config.admin_bind) == (False, "127.0.0.1:7480")
    assert config.limits.sessions_max == 12
    assert config.log.format == "json"


def test_flags_are_values_or_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line hands over what its parser made of it, or text; a relative path is relative to where we are."""
    monkeypatch.chdir(tmp_path)
    flags = {"data": Path("d"), "bind": ["tcp://localhost:1"], "events_bind": "tcp://127.0.0.1:2", "admin": False}
    config = load_config(None, ENVIRON, flags)
    assert config.data == tmp_path / "d"
    assert (config.bind, config.events_bind, config.admin) == (("tcp://localhost:1",), ("tcp://127.0.0.1:2",), False)


def test_path_in_a_file_is_relative_to_the_file(tmp_path: Path) -> None:
    """A file means the same wherever the broker is started."""
    assert load_config(write(tmp_path, 'data = "store"'), ENVIRON, {}).data == tmp_path / "store"


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        ("limits.queue_max = 0", "limits.queue_max", "0 is not allowed; allowed is a whole number from 1 to 1000000"),
        ("limits.queue_max = true", "limits.queue_max", "True is not allowed; allowed is a whole number"),
        ("limits.queue_max = 5.0", "limits.queue_max", "5.0 is not allowed; allowed is a whole number"),
        ("limits.queue_max = '5'", "limits.queue_max", "'5' is not allowed; allowed is a whole number"),
        ("limits.frame_bytes_max = 1048577", "limits.frame_bytes_max", "from 1024 to 1048576"),
        ("limits.registrations_per_session_max = 10001", "limits.registrations_per_session_max", "from 1 to 10000"),
        ("log.level = 'loud'", "log.level", "'loud' is not allowed; allowed is 'debug', 'error', 'info', 'warning'"),
        ("admin = 'yes'", "admin", "'yes' is not allowed; allowed is true or false"),
        ("admin_bind = 7480", "admin_bind", "7480 is not allowed; allowed is text"),
        ("data = 5", "data", "5 is not allowed; allowed is a path"),
        ("data = ' '", "data", "' ' is not allowed; allowed is a path"),
        (r'data = "a\u0000"', "data", "allowed is a path"),
        ("bind = 'tcp://127.0.0.1:1'", "bind", "allowed is a list of endpoints"),
        ("bind = [7400]", "bind", "allowed is a list of endpoints"),
        ("bind = []", "bind", "name at least one endpoint"),
        ("bind = ['udp://127.0.0.1:1']", "bind", "endpoint 'udp://127.0.0.1:1': write ipc:///"),
        ("bind = ['tcp://127.0.0.1:1', 'tcp://127.0.0.1:1']", "bind", "tcp://127.0.0.1:1 is named twice"),
        ("limits = 5", "limits", "write [limits] and its keys below"),
        ("dat = '/x'", "dat", "did you mean data?"),
        ("sessions_max = 5", "sessions_max", "did you mean limits.sessions_max?"),
        ("limits.sesions_max = 5", "limits.sesions_max", "did you mean limits.sessions_max?"),
        ("limit.sessions_max = 5", "limit", "did you mean limits?"),
        ("[logs]\nlevel = 'info'", "logs", "did you mean log?"),
        ("limits.colour = 5", "limits.colour", "--print-config"),
        ("limits.queue_max.deep = 5", "limits.queue_max", "allowed is a whole number"),
    ],
)
def test_faults_in_a_file(tmp_path: Path, text: str, key: str, advice: str) -> None:
    """Whatever is wrong in a file is refused with the file, the key, the value and what is allowed."""
    file = write(tmp_path, text)
    error = refused(file)
    assert str(error).startswith(f"{file}:{key}: ")
    assert error.source == f"{file}:{key}"
    assert advice in str(error)
    assert isinstance(error, TenureError)


@pytest.mark.parametrize("content", [b"data = ", b"\xff\xfe", b"data = 1\ndata = 2"])
def test_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """A file that cannot be parsed is named, with what the parser says."""
    file = tmp_path / "tenure.toml"
    file.write_bytes(content)
    assert str(refused(file)).startswith(f"{file}: is not TOML: ")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there is an error: a broker that ignores its configuration is worse than none."""
    assert str(refused(tmp_path / "none")) == (
        f"{tmp_path}/none: cannot be read: No such file or directory; name another file with --config"
    )
    assert "Is a directory" in str(refused(tmp_path))


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("TENURE_LIMITS_QUEUE_MAX", "many", "'many' is not allowed; allowed is a whole number from 1 to 1000000"),
        ("TENURE_LIMITS_QUEUE_MAX", "1" * 200, "…"),
        ("TENURE_ADMIN", "perhaps", "allowed is true or false"),
        ("TENURE_BIND", ",", "name at least one endpoint"),
        ("TENURE_BIND", "127.0.0.1:7400", "write ipc:///absolute/path or tcp://host:port"),
        ("TENURE_LOG_FORMAT", "xml", "allowed is 'auto', 'console', 'json'"),
        ("TENURE_LIMITS_COLOUR", "red", "--print-config"),
        ("TENURE_LIMITS_SESION_MAX", "5", "did you mean TENURE_LIMITS_SESSIONS_MAX?"),
        ("TENURE_SESSIONS_MAX", "5", "did you mean TENURE_LIMITS_SESSIONS_MAX?"),
        ("TENURE_EVENT_BIND", "tcp://127.0.0.1:1", "did you mean TENURE_EVENTS_BIND?"),
        ("TENURE_DATE", "/x", "did you mean TENURE_DATA?"),
    ],
)
def test_faults_in_the_environment(variable: str, value: str, advice: str) -> None:
    """A variable that is wrong or misspelt is refused by its name."""
    error = refused(environ=ENVIRON | {variable: value})
    assert error.source == variable
    assert advice in str(error)
    assert len(str(error)) < 300


def test_variables_of_others_are_left_alone() -> None:
    """What applications and commands under `tenure run` are given is no misspelt setting of the broker."""
    others = (
        "TENURE_ENDPOINT TENURE_ENDPOINTS TENURE_EVENTS_ENDPOINT TENURE_EPOCH TENURE_RESOURCE_ID TENURE_INSTANCE_ID "
        "TENURE_SERVICE TENURE_SERVICE_NAME TENURE_LEASE_MS TENURE_CONFIG TENURE_PRIORITY TENURE_SESSION"
    )
    assert load_config(None, ENVIRON | dict.fromkeys(others.split(), "x"), {}) == load_config(None, ENVIRON, {})


@pytest.mark.parametrize(
    ("flags", "source", "advice"),
    [
        ({"log.level": "loud"}, "--log-level", "'loud' is not allowed"),
        ({"limits.queue_max": -1}, "--limits-queue-max", "-1 is not allowed"),
        ({"data": ""}, "--data", "'' is not allowed"),
        ({"bind": ["tcp://127.0.0.1"]}, "--bind", "a host and a port"),
        ({"admin_bnd": "x"}, "--admin_bnd", "did you mean --admin-bind?"),
        ({"colour": "red"}, "--colour", "--print-config"),
    ],
)
def test_faults_in_flags(flags: dict[str, object], source: str, advice: str) -> None:
    """A flag that is wrong is refused as it was typed."""
    error = refused(flags=flags)
    assert error.source == source
    assert advice in str(error)


def test_requests_and_events_need_endpoints_of_their_own() -> None:
    """One endpoint cannot serve both; ports that the system chooses never meet."""
    error = refused(flags={"bind": "tcp://127.0.0.1:1,tcp://127.0.0.1:2", "events_bind": "tcp://127.0.0.1:2"})
    assert str(error) == "--events-bind: tcp://127.0.0.1:2 takes requests already (--bind); choose another one"
    for chosen in ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*"):
        config = load_config(None, ENVIRON, {"bind": [chosen, chosen], "events_bind": chosen})
        assert (config.bind, config.events_bind) == ((chosen, chosen), (chosen,))


def test_registry_limits_are_the_domains() -> None:
    """What the registry keeps to is handed over whole; without a number of sessions it has its own."""
    assert Limits().registry() == RegistryLimits()
    given = {name: number for number, name in enumerate(RegistryLimits.__struct_fields__, 1)}
    assert structs.asdict(Limits(**given).registry()) == given


def uncommented(text: str) -> str:
    """The sample with every key set."""
    return re.sub(r"(?m)^# ([a-z_]+ = )", r"\1", text)


def test_sample_has_every_key_with_its_default(tmp_path: Path) -> None:
    """Every key is in the sample with its default, loads when it is uncommented, and no other key is there."""
    config, sources = resolve_config(write(tmp_path, uncommented(SAMPLE)), ENVIRON, {})
    assert config == load_config(None, ENVIRON, {})
    assert "default" not in sources.values()


def test_sample_changes_nothing_as_it_is(tmp_path: Path) -> None:
    """The sample itself is a valid file that sets nothing, and its keys come in the order of the structs."""
    _, sources = resolve_config(write(tmp_path, SAMPLE), ENVIRON, {})
    assert set(sources.values()) == {"default"}
    assert re.findall(r"(?m)^# ([a-z_]+) = ", SAMPLE) == [name.rpartition(".")[2] for name in SETTINGS]


def test_sample_says_why_each_key_exists() -> None:
    """Above every key is a comment of its own."""
    for match in re.finditer(r"(?m)^# [a-z_]+ = .*$", SAMPLE):
        above = SAMPLE[: match.start()].rstrip("\n").rpartition("\n")[2]
        assert re.match(r"# .*\w", above), match[0]
        assert not re.match(r"# [a-z_]+ = ", above), match[0]


def test_print_config_says_where_each_value_came_from(tmp_path: Path) -> None:
    """The rendering has a line for each setting, with its value and its source."""
    file = write(tmp_path, "limits.queue_max = 7")
    text = render_config(*resolve_config(file, ENVIRON | {"TENURE_LOG_LEVEL": "error"}, {"admin": False}))
    lines = text.splitlines()
    assert 'data = "/home/you/.local/state/tenure"  # default' in lines
    assert "admin = false  # --admin" in lines
    assert f"queue_max = 7  # {file}:limits.queue_max" in lines
    assert 'level = "error"  # TENURE_LOG_LEVEL' in lines
    assert 'bind = ["ipc:///run/user/1000/tenure/broker.ipc","tcp://127.0.0.1:7400"]  # default' in lines
    assert lines.index("[limits]") < lines.index("[log]")


printable = st.text(st.characters(blacklist_categories=("C", "Z")), min_size=1, max_size=10)


@given(folder=printable, queue_max=st.integers(1, 1_000_000), admin=st.booleans(), odd=st.text(max_size=5))
def test_print_config_can_be_served_again(
    tmp_path_factory: pytest.TempPathFactory, folder: str, queue_max: int, admin: bool, odd: str
) -> None:
    """Whatever the values and however odd the file's name, the rendering is TOML that gives the same configuration."""
    flags: dict[str, Any] = {
        "data": f"/{folder.replace('/', '')}",
        "limits.queue_max": queue_max,
        "admin": admin,
        "bind": [f"ipc:///{folder.replace('/', '')}x"],
    }
    config, sources = resolve_config(None, ENVIRON, flags)
    text = render_config(config, {**sources, "data": f"{odd}\n:data"})
    tomllib.loads(text)
    assert load_config(write(tmp_path_factory.mktemp("c"), text), ENVIRON, {}) == config


@given(st.dictionaries(st.sampled_from([*SETTINGS]), st.text(max_size=10) | st.integers() | st.booleans(), max_size=4))
def test_no_value_gets_past_its_checks(flags: dict[str, Any]) -> None:
    """Whatever a flag is given, the result is a valid configuration or a ConfigError."""
    try:
        config = load_config(None, ENVIRON, flags)
    except ConfigError:
        return
    assert config.limits.queue_max >= 1
    assert config.data.is_absolute()
    assert config.bind
    assert config.log.level in {"debug", "info", "warning", "error"}


def test_no_directory_to_be_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker started from a directory that is gone needs it only for a relative path."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_config(None, ENVIRON | {"TENURE_DATA": "/srv"}, {"data": "/srv"}).data == Path("/srv")
    with pytest.raises(ConfigError, match="--data"):
        load_config(None, ENVIRON, {"data": "store"})
    assert not os.path.lexists(gone)


def test_other_trees_have_settings_too() -> None:
    """The names of a setting follow from its place in the tree."""
    (setting,) = (setting for setting in config_values.settings_of(Config) if setting.name == "limits.queue_max")
    assert (setting.variable, setting.flag) == ("TENURE_LIMITS_QUEUE_MAX", "--limits-queue-max")
