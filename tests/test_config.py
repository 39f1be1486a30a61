"""Settings: their defaults and rules, where a value comes from, and how a fault is told."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamproc.config import Settings, StateConfig, load
from streamproc.config.document import parse
from streamproc.config.load import SECTIONS
from streamproc.config.reference import config_yaml, configuration_markdown
from streamproc.config.secrets import masked
from streamproc.config.show import as_text, shown
from streamproc.errors import ConfigError, Fault

ROOT = Path(__file__).parent.parent


def faults(
    file: str | bytes = "", overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> list[str]:
    """What is told of a configuration at fault, in a file `c.yaml` of the working directory."""
    Path("c.yaml").write_bytes(file if isinstance(file, bytes) else file.encode())
    with pytest.raises(ConfigError) as caught:
        load(Path("c.yaml"), overrides, environ or {})
    return [str(fault) for fault in caught.value.faults]


def state(*overrides: str) -> StateConfig:
    return load(None, overrides, {}).settings.state


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestStateConfig:
    def test_defaults(self) -> None:
        assert StateConfig().model_dump() == {
            "horizons": (1, 5, 30, 60),
            "bar_durations": (1, 5, 30, 60),
            "hf_emit_interval": 1,
            "bands_bps": (5, 10, 25, 50),
            "max_levels": 10,
            "tight_spread_threshold": 0.0001,
            "regime_window": 30,
            "smart_depth_decay": 100,
            "gap_reset": 60,
            "bar_grace": 0.5,
            "bar_idle_close": 10,
            "max_ahead": 60,
        }

    def test_spans_in_whole_milliseconds(self) -> None:
        config = StateConfig(horizons=(0.001, 0.29, 1.1), bar_durations=(0.5,), bar_idle_close=None)
        assert config.horizons_ms == (1, 290, 1100)
        assert config.bar_durations_ms == (500,)
        assert config.bar_idle_close_ms is None
        assert config.gap_reset_ms == 1100
        assert (config.hf_emit_interval_ms, config.regime_window_ms) == (1000, 30_000)
        assert (config.bar_grace_ms, config.max_ahead_ms) == (500, 60_000)
        assert StateConfig().bar_idle_close_ms == 10_000
        assert StateConfig(hf_emit_interval=0).hf_emit_interval_ms == 0

    @given(st.integers(1, 4_102_444_800_000))
    def test_every_whole_millisecond_is_itself(self, ms: int) -> None:
        assert StateConfig(horizons=(ms / 1000,)).horizons_ms == (ms,)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("horizons", []),
            ("horizons", [1, 1]),
            ("horizons", [5, 1]),
            ("horizons", [0, 1]),
            ("horizons", [-1]),
            ("horizons", [0.0005]),
            ("horizons", ["1"]),
            ("horizons", [True]),
            ("horizons", [float("nan")]),
            ("horizons", [float("inf")]),
            ("horizons", [4_102_444_801]),
            ("horizons", 5),
            ("bar_durations", []),
            ("bar_durations", [2, 2]),
            ("hf_emit_interval", -1),
            ("hf_emit_interval", 0.0001),
            ("hf_emit_interval", False),
            ("bands_bps", [0, 5]),
            ("bands_bps", [5, 5]),
            ("max_levels", 0),
            ("max_levels", 1001),
            ("max_levels", True),
            ("max_levels", 1.5),
            ("tight_spread_threshold", -0.1),
            ("tight_spread_threshold", float("inf")),
            ("regime_window", 0),
            ("smart_depth_decay", -1),
            ("gap_reset", 0),
            ("bar_grace", 0),
            ("bar_grace", 1.001),
            ("bar_idle_close", 0),
            ("max_ahead", 0),
            ("max_ahead", None),
        ],
    )
    def test_refuses(self, key: str, value: Any) -> None:
        with pytest.raises(ValidationError):
            StateConfig(**{key: value})

    def test_grace_may_be_the_shortest_bar(self) -> None:
        assert StateConfig(bar_durations=(2.0, 60.0), bar_grace=2.0).bar_grace_ms == 2000

    def test_gap_reset_follows_the_longest_horizon_unless_given(self) -> None:
        assert StateConfig(horizons=(1.0, 3600.0)).gap_reset == 3600
        assert StateConfig(horizons=(1.0, 3600.0), gap_reset=5.0).gap_reset == 5
        assert state("state.gap_reset=null", "state.horizons=[1, 7]").gap_reset == 7

    def test_one_meaning_has_one_hash(self) -> None:
        config = StateConfig()
        assert config.hash == state("state.horizons=[1, 5.0, 30, 6e1]", "state.gap_reset=60").hash
        assert StateConfig(smart_depth_decay=0.0).hash == StateConfig(smart_depth_decay=-0.0).hash
        assert len(config.hash) == 32
        assert json.loads(config.canonical())["gap_reset"] == 60

    @pytest.mark.parametrize("key", StateConfig.model_fields)
    def test_every_key_counts_in_the_hash(self, key: str) -> None:
        other: Any = {"horizons": (2.0,), "bar_durations": (0.5, 2.0), "bands_bps": (3.0,), "max_levels": 9}.get(
            key, 0.4
        )
        assert StateConfig(**{key: other}).hash != StateConfig().hash

    def test_settings_cross_processes_and_cannot_be_changed(self) -> None:
        settings = load(None, ["kafka.properties.linger.ms=5"], {}).settings
        assert pickle.loads(pickle.dumps(settings)) == settings
        with pytest.raises(ValidationError):
            settings.state.__setattr__("max_levels", 3)


class TestWhereAValueComesFrom:
    def test_flag_beats_environment_beats_file_beats_default(self) -> None:
        Path("config.yaml").write_text("state:\n  max_levels: 1\n  regime_window: 1\n  max_ahead: 1\n")
        environ = {"STREAMPROC_STATE__MAX_LEVELS": "2", "STREAMPROC_STATE__REGIME_WINDOW": "2"}
        settings, origins = load(None, ["state.max_levels=3"], environ)
        assert (settings.state.max_levels, origins["state.max_levels"]) == (3, "--set state.max_levels")
        assert (settings.state.regime_window, origins["state.regime_window"]) == (2, "STREAMPROC_STATE__REGIME_WINDOW")
        assert (settings.state.max_ahead, origins["state.max_ahead"]) == (1, "config.yaml:4")
        assert (settings.state.bar_grace, origins["state.bar_grace"]) == (0.5, "default")

    def test_the_last_flag_wins(self) -> None:
        assert state("state.max_levels=3", "state.max_levels=4").max_levels == 4

    def test_a_section_at_once(self) -> None:
        settings, origins = load(None, ["state={max_levels: 3}"], {"STREAMPROC_SINK": "{buffer_rows: 7}"})
        assert (settings.state.max_levels, settings.sink.buffer_rows) == (3, 7)
        assert origins["sink.buffer_rows"] == "STREAMPROC_SINK"

    def test_client_properties_merge_and_stay_texts(self) -> None:
        Path("config.yaml").write_text("kafka:\n  properties: {linger.ms: 5, socket.nagle.disable: true}\n")
        environ = {"STREAMPROC_KAFKA__PROPERTIES__SASL_PASSWORD": "0123: {"}
        settings, origins = load(None, ["kafka.properties.ssl.ca.location=null"], environ)
        assert settings.kafka.properties == {
            "linger.ms": "5",
            "socket.nagle.disable": "true",
            "sasl.password": "0123: {",
            "ssl.ca.location": "null",
        }
        assert origins["kafka.properties.linger.ms"] == "config.yaml:2"

    def test_options_of_an_object_store_keep_their_names(self) -> None:
        environ = {"STREAMPROC_SINK__STORAGE__SECRET_ACCESS_KEY": "0123: {"}
        settings, _ = load(None, ["sink.storage.allow_http=true"], environ)
        assert settings.sink.storage == {"allow_http": "true", "secret_access_key": "0123: {"}

    def test_text_needs_no_quotes(self) -> None:
        environ = {"STREAMPROC_KAFKA__BOOTSTRAP_SERVERS": "a:9092,b:9092"}
        assert load(None, [], environ).settings.kafka.bootstrap_servers == "a:9092,b:9092"

    def test_no_file_an_empty_one_and_empty_sections(self) -> None:
        assert load(None, (), {}).settings == Settings()
        for text in ("", "# nothing\n", "state:\nsink:\n", "\ufeffstate: {}\n"):
            Path("config.yaml").write_text(text, encoding="utf-8")
            assert load(None, (), {}).settings == Settings()

    def test_variables_that_are_no_settings(self) -> None:
        names = ("CACHE_DIR", "CRASH_AT", "TEST_LONG", "BENCH_DIR")
        environ = {"PATH": "x", **{f"STREAMPROC_{name}": "x" for name in names}}
        assert load(None, (), environ).settings == Settings()


class TestFaults:
    def test_all_at_once_in_the_order_of_their_places(self) -> None:
        text = """\
state:
  horizon: [1, 2]
  horizons:
    - 1
    - 0.0005
    - true
  bar_durations: [0.1]
  max_levels: ten
sink:
  partition_by: [date]
log: 5
"""
        overrides = ["state.max_ahead", "state.gap_reset=[", "state.regime_window= ", "log.level=loud"]
        assert faults(text, overrides, {"STREAMPROC_STATE__MAX_LEVEL": "3"}) == [
            "c.yaml:2: state.horizon: unknown key; did you mean `state.horizons`?",
            "c.yaml:5: state.horizons[1]: must be a whole multiple of 0.001 s, found 0.0005",
            "c.yaml:6: state.horizons[2]: must be a number, found true",
            "c.yaml:7: state.bar_grace: must be at most the shortest bar, 0.1 s, found 0.5",
            "c.yaml:8: state.max_levels: must be a whole number, found ten",
            'c.yaml:10: sink.partition_by: must be [exchange, symbol, date] or [exchange, date], found ["date"]',
            "c.yaml:11: log: must hold keys and values",
            "STREAMPROC_STATE__MAX_LEVEL: state.max_level: unknown key; did you mean `state.max_levels`?",
            "--set state.max_ahead: must be key=value, such as state.max_levels=20",
            "--set state.gap_reset: no valid YAML: expected the node content, but found '<stream end>'",
            "--set state.regime_window: is empty; write null where null is meant",
            "--set log.level: must be 'debug', 'info', 'warning' or 'error', found loud",
        ]

    @pytest.mark.parametrize(
        ("key", "known"),
        [
            ("horizons", "state.horizons"),
            ("stat.horizons", "state.horizons"),
            ("state.horizon", "state.horizons"),
            ("state.horizons.0", "state.horizons"),
            ("kafka.bootstrap.servers", "kafka.bootstrap_servers"),
            ("sinks", "sink"),
        ],
    )
    def test_an_unknown_key_names_the_nearest(self, key: str, known: str) -> None:
        assert faults(overrides=[f"{key}=1"]) == [f"--set {key}: unknown key; did you mean `{known}`?"]

    def test_a_key_like_no_other(self) -> None:
        assert faults("zzz: 1") == ["c.yaml:1: zzz: unknown key"]

    def test_a_key_given_twice(self) -> None:
        assert faults("state:\n  max_levels: 3\n  max_levels: 4\n") == [
            "c.yaml:3: state.max_levels: given twice, first on line 2"
        ]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a: b: c", "c.yaml:1: no valid YAML: mapping values are not allowed here"),
            ("state:\n\t- 1", "c.yaml:2: no valid YAML: found character '\\t' that cannot start any token"),
            ("a: 1\n---\nb: 2\n", "c.yaml:2: no valid YAML: but found another document"),
            ("state: &a\n  horizons: *a", "c.yaml:2: aliases are not supported"),
            ("[1, 2]", "c.yaml:1: must hold keys and values"),
            ("\n\x01", "c.yaml:2: no valid YAML: special characters are not allowed"),
            (b"a: 1\n\xff", "c.yaml:2: is not UTF-8"),
            ("? [a]\n: 1", "c.yaml:1: a key must be a word, not a list or mapping"),
            ("state: {max_levels: !!int ten}", "c.yaml:1: state.max_levels: must be a whole number, found ten"),
            (
                "state: {horizons: !!python/tuple [1]}",
                "c.yaml:1: state.horizons: the tag tag:yaml.org,2002:python/tuple is not supported",
            ),
        ],
    )
    def test_a_broken_file(self, text: str | bytes, told: str) -> None:
        assert told in faults(text)

    def test_a_file_nested_too_deep(self) -> None:
        assert faults("[" * 600 + "]" * 600) == ["c.yaml:1: no valid YAML: nested too deep"]

    def test_a_file_that_is_not_there_or_no_file(self, tmp_path: Path) -> None:
        for path, reason in (("nowhere.yaml", "No such file or directory"), (".", "Is a directory")):
            with pytest.raises(ConfigError) as caught:
                load(Path(path), (), {})
            assert [str(fault) for fault in caught.value.faults] == [f"{path}: cannot be read: {reason}"]

    def test_a_default_that_no_longer_fits_points_to_its_cause(self) -> None:
        assert faults(overrides=["state.bar_durations=[0.2]"]) == [
            "--set state.bar_durations: state.bar_grace: must be at most the shortest bar, 0.2 s, found 0.5"
        ]

    def test_secrets_are_not_told(self) -> None:
        told = faults("kafka:\n  properties:\n    sasl.password: [hunter2]\n")
        assert told == ["c.yaml:3: kafka.properties.sasl.password: must be text, found ***"]

    def test_the_error_has_exit_code_2_and_survives_pickling(self) -> None:
        error = pickle.loads(pickle.dumps(ConfigError([Fault("c.yaml:1", "a", "unknown key")])))
        assert (error.exit_code, error.faults) == (2, (Fault("c.yaml:1", "a", "unknown key"),))
        assert "c.yaml:1: a: unknown key" in str(error)


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-4", 0.0001),
            (".5", 0.5),
            ("-3", -3),
            ("no", "no"),
            ("010", "010"),
            ("1:30", "1:30"),
            ("2024-08-09", "2024-08-09"),
            ("~", None),
            ("True", True),
            ("[1, {a: null}]", [1, {"a": None}]),
            ("'1'", "1"),
        ],
    )
    def test_scalars_of_yaml_1_2(self, text: str, value: Any) -> None:
        assert parse(text).values == value

    @given(st.text(alphabet="[]{}:,- \n\t#&*!|>'\"%@`?~a1.e", max_size=40))
    def test_no_text_raises(self, text: str) -> None:
        parse(text)


class TestShow:
    def test_every_key_with_its_origin_and_secrets_masked(self) -> None:
        overrides = ["kafka.properties.sasl.password=hunter2", "kafka.properties.client.id=me"]
        rows = {row.key: row for row in shown(load(None, overrides, {}))}
        assert rows["kafka.properties.sasl.password"].value == "***"
        assert rows["kafka.properties.client.id"].value == "me"
        assert rows["state.gap_reset"] == ("state.gap_reset", 60, "default")
        assert {key for key in rows if not key.startswith("kafka.properties")} == {
            f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields
        } - {"kafka.properties"}

    @pytest.mark.parametrize(
        ("key", "value", "visible"),
        [
            ("kafka.properties.ssl.key.pem", "abc", "***"),
            ("kafka.properties.sasl.jaas.config", "abc", "***"),
            ("kafka.properties.sasl.oauthbearer.config", "abc", "***"),
            ("kafka.properties.sasl.mechanism", "PLAIN", "PLAIN"),
            ("kafka.properties.http.proxy", "http://me:pw@proxy:80", "http://***@proxy:80"),
            ("kafka.properties.x", "user=me password=pw;", "user=me password=***;"),
            ("kafka.bootstrap_servers", "a:9092", "a:9092"),
        ],
    )
    def test_masking(self, key: str, value: str, visible: str) -> None:
        assert masked(key, value) == visible

    def test_values_as_yaml(self) -> None:
        assert as_text((1.0, 0.5, 1e-05)) == "[1, 0.5, 1e-05]"
        assert as_text({"a": None}) == "{a: null}"
        assert as_text("json") == "json"


class TestReference:
    def test_config_yaml_is_made_from_the_classes(self) -> None:
        assert (ROOT / "config.yaml").read_text(encoding="utf-8") == config_yaml(), "run `make docs`"

    def test_the_page_is_made_from_the_classes(self) -> None:
        page = ROOT / "docs" / "configuration.md"
        assert page.read_text(encoding="utf-8") == configuration_markdown(), "run `make docs`"

    def test_config_yaml_holds_every_key_with_its_default(self) -> None:
        settings, origins = load(ROOT / "config.yaml", (), {})
        assert settings == Settings()
        empty = {"kafka.properties", "kafka.property_files", "sink.storage"}
        assert {key for key, origin in origins.items() if origin == "default"} == empty

    def test_every_key_is_described(self) -> None:
        for section, model in SECTIONS.items():
            assert Settings.model_fields[section].description
            for key, field in model.model_fields.items():
                assert field.description, f"{section}.{key}"
