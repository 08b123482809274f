"""Secrets of addresses never reach a message, a log or a file."""

import logging

import pytest

from s2s_lightning.errors import UserError, without_addresses_secrets, without_secrets
from s2s_lightning.training.quiet import hush

SECRET = "HUSH4HUSH4HUSH4HUSH"
SHAPES = [
    "postgresql://bob:{}@127.0.0.1:1/db",
    "postgresql+psycopg2://bob:{}@host/db?connect_timeout=5",
    "mysql://bob:p@ss/{}#x@host/db",
    "redis://:{}@host:6379/0",
    "https://{}@github.com/me/data.git",
    "http://user:{}@proxy.example:3128",
    "HTTP://USER:{}@[::1]:80/",
    "postgresql://host/db?user=bob&password={}",
    "postgresql://host/db?sslmode=require&sslpassword={}&x=1",
    "https://host/file?X-Amz-Signature={}&v=2",
    "https://host/file?access_token={}",
]
WORDS = ["bob:{}@db.example/data", "host=db user=bob password={}", "hf_{}", "WANDB_API_KEY={}"]


@pytest.mark.parametrize("shape", [*SHAPES, *WORDS])
def test_a_message_hides_it_and_keeps_the_rest(shape: str) -> None:
    text = f"--storage {shape.format(SECRET)} cannot be opened: 'no host {shape.format(SECRET)}'; give another"
    hidden = str(UserError(text))
    assert SECRET not in hidden
    assert hidden.startswith("--storage ")
    assert hidden.endswith("; give another")
    assert hidden.count("***") >= 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_configuration_hides_it(shape: str) -> None:
    config = {"data": {"files": ["plain", shape.format(SECRET)]}, "steps": 3}
    hidden = without_addresses_secrets(config)
    assert SECRET not in str(hidden)
    assert (hidden["data"]["files"][0], hidden["steps"]) == ("plain", 3)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://bob@host/db",
        "https://example.org/a@b?page=2",
        "s2s_lightning fit --run runs/a:b --data.tokenizer BPE",
        "row 3: 10:30 and me@example.org",
        "data.tokenizer=Word: expected Tokenizer or null",
        "sqlite:///runs/study.db",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == without_addresses_secrets(text) == text


def test_the_environments_own_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "abcdefgh1234")
    assert without_secrets("refused abcdefgh1234 at once") == "refused *** at once"


def test_a_log_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    try:
        hush()
        logging.getLogger("any").warning("connecting to %s", f"redis://:{SECRET}@host")
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == ["connecting to redis://:***@host"]
