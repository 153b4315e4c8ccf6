"""What the service is told from outside."""

import json
import logging
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from semblance.orchestrator.bootstrap import real_ports
from semblance.orchestrator.command import serve
from semblance.orchestrator.logs import JsonFormatter, log_to_stderr
from semblance.orchestrator.settings import Settings, SettingsError, flag, variable


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_a_flag_wins_over_a_variable_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_SEARCH_QUEUE", "7")
    monkeypatch.setenv("SEMBLANCE_MAX_DEADLINE", "5")
    settings = Settings.read({"max_deadline": "6.5"})
    assert (settings.search_queue, settings.max_deadline, settings.log_level) == (7, 6.5, "INFO")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SEMBLANCE_SPEED", "1", "unknown environment variable SEMBLANCE_SPEED"),
        ("SEMBLANCE_SEARCH_QUEUE", "many", "SEMBLANCE_SEARCH_QUEUE is 'many'.*integer"),
        ("SEMBLANCE_PIXEL_THREADS", "0", "SEMBLANCE_PIXEL_THREADS is '0'.*greater than or equal to 1"),
        ("SEMBLANCE_METRICS_LISTEN", "9464", "SEMBLANCE_METRICS_LISTEN: '9464' is not an address; expected host:port"),
        ("SEMBLANCE_METRICS_LISTEN", "localhost:0", "expected a port from 1 to 65535"),
        ("SEMBLANCE_LOG_LEVEL", "loud", "SEMBLANCE_LOG_LEVEL is 'loud'.*'DEBUG'"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        Settings.read({})


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("semblance.orchestrator.settings.SECRETS", tmp_path)
    return tmp_path


def test_a_variable_wins_over_a_secret_over_the_default(monkeypatch: pytest.MonkeyPatch, secrets: Path) -> None:
    (secrets / "semblance_milvus_token").write_text("root:from-a-file\n")
    (secrets / "semblance_metadata_url").write_text("sqlite:///from-a-file")
    (secrets / "somebody_elses").write_text("x")
    monkeypatch.setenv("SEMBLANCE_METADATA_URL", "sqlite:///from-a-variable")
    settings = Settings.read({})
    assert settings.milvus_token.get_secret_value() == "root:from-a-file"
    assert settings.metadata_url == "sqlite:///from-a-variable"


def test_a_secret_that_no_setting_reads_is_named(secrets: Path) -> None:
    (secrets / "semblance_milvus_tokem").write_text("x")
    with pytest.raises(SettingsError, match=r"unknown secret semblance_milvus_tokem in .*small letters"):
        Settings.read({})


def test_the_clients_variables_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_TARGET", "somewhere:1")
    Settings.read({})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"metadata_url": "mysql://localhost/x"}, r"must be sqlite:///file or postgresql\+psycopg://"),
        ({"metadata_url": "garbage"}, r"is not a URL; it must be sqlite:///file"),
        ({"metadata_url": "sqlite://"}, r"must be sqlite:///file"),
        ({"model_repository": "foo://x"}, r"the model repository is 'foo://x', which can't be read: .*foo"),
        ({"image_store": "ftp://host/x"}, r"must be file://folder or s3://bucket"),
    ],
)
async def test_a_store_that_there_is_not_is_named(flags: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        async with real_ports(Settings.read(flags)):
            pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-image-pixels", "-1"], "--max-image-pixels is '-1'"),
        (["--max-image-pixel", "5"], "No such option"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_wrong_flag_stops_the_start(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_help_shows_every_setting_with_its_variable_and_default() -> None:
    text = " ".join(CliRunner().invoke(serve, ["--help"]).output.split())
    for name, field in Settings.model_fields.items():
        assert (flag(name) in text) == (field.annotation is not SecretStr)
        assert variable(name) in text
        assert field.description
        assert field.description.split()[0] in text
    assert "default: 127.0.0.1:50051" in text


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:50051", "127.8.9.1:1", "localhost:50051", "[::1]:50051", "::1:50051", "0x7f.1:50051"]
)
def test_this_host_alone_may_be_listened_to_as_it_is(listen: str) -> None:
    assert Settings.read({"listen": listen}).listen == listen


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:50051", "0:50051", ":50051", "[::]:50051", ":::50051", "192.0.2.1:50051", "no-host.invalid:1"]
)
def test_others_are_listened_to_with_tls_and_callers_or_in_so_many_words(listen: str) -> None:
    tls = {"tls_certificate": "c.pem", "tls_key": "k.pem"}
    for flags in ({}, tls, {"callers": "callers.json"}, {"insecure_listen": "false"}):
        with pytest.raises(SettingsError, match="which other hosts reach: set SEMBLANCE_TLS_CERTIFICATE"):
            Settings.read({"listen": listen, **flags})
    for flags in ({"callers": "callers.json", **tls}, {"insecure_listen": "true"}):
        assert Settings.read({"listen": listen, **flags}).listen == listen


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tls_certificate": "c.pem"}, "belong together"),
        ({"tls_key": "k.pem"}, "belong together"),
        ({"tls_client_ca": "ca.pem"}, "SEMBLANCE_TLS_CLIENT_CA needs SEMBLANCE_TLS_CERTIFICATE"),
        ({"milvus_uri": "http://root:hunter2@host:19530"}, "set SEMBLANCE_MILVUS_TOKEN"),
        (
            {"metadata_url": "postgresql+psycopg://me:hunter2@host/d"},
            "--metadata-url holds .* set SEMBLANCE_METADATA_URL",
        ),
        ({"insecure_listen": "perhaps"}, "--insecure-listen is 'perhaps'"),
    ],
)
def test_settings_that_do_not_fit_are_named(flags: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        Settings.read(flags)
    assert "hunter2" not in str(raised.value)


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_METADATA_URL", "postgresql+psycopg://semblance:hunter2@host/database")
    settings = Settings.read({"milvus_token": "root:hunter2"})
    assert "hunter2" in settings.metadata_url
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "flags",
    [
        {"metadata_url": "mysql://semblance:hunter2@host/database"},
        {"metadata_url": "postgresql+psycopg://semblance:hunter2@host"},
        {"metadata_url": "semblance:hunter2@host"},
        {"metadata_url": "postgresql+psycopg://semblance:hunter2@host:port/database"},
        {"image_store": "ftp://semblance:hunter2@host/images"},
        {"model_repository": "foo://semblance:hunter2@host/models"},
        {"model_repository": "foo://semblance:hunter2/with@slash@host/models"},
    ],
)
async def test_a_password_in_a_wrong_address_is_not_shown(
    flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in flags.items():
        monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError) as raised:
        async with real_ports(Settings.read({})):
            pass
    assert "hunter2" not in str(raised.value)


def test_a_log_record_is_one_line_of_json() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed\n%s", ("x",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "failed\nx"
    assert "ValueError: two" in json.loads(line)["exception"]


def test_libraries_log_no_details(capfd: pytest.CaptureFixture[str]) -> None:
    """At DEBUG they would log what they send, and credentials with it."""
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        log_to_stderr("DEBUG")
        logging.getLogger("semblance.x").debug("ours")
        logging.getLogger("botocore.auth").debug("theirs")
        logging.getLogger("botocore.auth").info("known")
        log_to_stderr("WARNING")
        logging.getLogger("semblance.x").info("silent")
        logging.getLogger("botocore.auth").info("silent")
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
        logging.getLogger("semblance").setLevel(logging.NOTSET)
        logging.captureWarnings(False)
    assert [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()] == ["ours", "known"]
