"""Secrets: read from files, masked wherever they are shown, absent from every error."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.load import load
from exporter.config.secrets import mask_url, read_secret, redact
from exporter.errors import ConfigError

SOURCE = "collectors:\n  source:\n    url: http://x\n"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:///pipelines.db", "sqlite:///pipelines.db"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u:pw@h:5/d?sslmode=require", "postgresql://u:<secret>@h:5/d?sslmode=require"),
        ("postgresql://u:p/w?x@y@h/d", "postgresql://u:<secret>@h/d"),
        ("postgresql://:pw@h", "postgresql://:<secret>@h"),
        ("postgresql:///d?user=u&password=p;w&sslpassword=x&application_name=a",
         "postgresql:///d?user=u&password=<secret>&sslpassword=<secret>&application_name=a"),
        ("https://t0ken@h/x", "https://<secret>@h/x"),
        ("https://h/x?private_token=abc#f", "https://h/x?private_token=<secret>"),
        ("host=h password=pw", "<secret>"),
        ("u:pw@h", "<secret>"),
        ("", "<secret>"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(url, masked):
    assert mask_url(url) == masked


@given(
    password=st.text(st.characters(exclude_categories=("Cs",)), min_size=1),
    tail=st.sampled_from(["h/d", "h:5432/d?sslmode=x", ""]),
)
def test_no_password_survives_masking(password, tail):
    assert mask_url(f"postgresql://u:{password}@{tail}") == f"postgresql://u:<secret>@{tail}"


def test_redacted_shows_all_but_the_secrets(loaded):
    config = loaded(
        SOURCE + "    token: hunter22\n    groups: [a, {path: b}]\n"
        "  my-databases:\n    databases: {main: {dsn: 'postgresql://u:hunter22@h/d', labels: {a: b}}}\n"
        "store: {url: 'postgresql://u:hunter22@h/d'}\n"
    )
    shown = config.redacted()
    assert "hunter22" not in json.dumps(shown)
    assert shown["store"] == {
        "url": "postgresql://u:<secret>@h/d",
        "url_file": None,
        "retention_days": 400,
        "dead_letter_days": 400,
    }
    assert shown["collectors"]["source"]["token"] == "<secret>"
    assert shown["collectors"]["source"]["groups"] == ["a", {"path": "b", "exclude": []}]
    assert shown["collectors"]["my-databases"]["databases"]["main"] == {
        "dsn": "postgresql://u:<secret>@h/d",
        "dsn_file": None,
        "files": [],
        "labels": {"a": "b"},
    }
    assert "hunter22" not in repr(config)


def test_redacting_leaves_plain_values_as_they_are():
    assert redact({"a": (1, 2.5, None, True), 3: {Path("/x")}}) == {"a": [1, 2.5, None, True], "3": ["/x"]}


@pytest.mark.parametrize("text", ["hunter22", "hunter22\n", "hunter22\r\n", "\ufeffhunter22\n\n"])
def test_a_secret_file_is_read_relative_to_the_configuration(loaded, tmp_path, text):
    (tmp_path / "token").write_text(text)
    config = loaded(SOURCE + "    token_file: token\n").collectors["source"]
    assert config.token.get_secret_value() == "hunter22"
    assert config.token_file == tmp_path / "token"


def test_blanks_inside_and_around_a_secret_stay(tmp_path):
    (tmp_path / "s").write_text(" a b \n")
    assert read_secret(tmp_path / "s") == " a b "


def test_a_secret_file_below_a_free_name_is_read(loaded, tmp_path):
    (tmp_path / "dsn").write_text("postgresql://u:pw@h/d\n")
    config = loaded("collectors:\n  my-databases:\n    databases:\n      main: {dsn_file: dsn}\n")
    dsn = config.collectors["my-databases"].databases["main"].dsn
    assert dsn.masked() == "postgresql://u:<secret>@h/d"


def test_the_url_of_the_store_may_come_from_a_file(loaded, tmp_path):
    (tmp_path / "url").write_text("postgresql://u:pw@h/d\n")
    assert loaded("store: {url_file: url}").settings.store.url.get_secret_value() == "postgresql://u:pw@h/d"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the file does not exist"),
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"hunter22" * 10000, "the file is larger than 65536 bytes"),
        (b"hunter22\xff", "the file is not UTF-8 text"),
        ("directory", "this is a directory, not a file"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_told_with_key_and_line(problems, tmp_path, content, message):
    if content == "directory":
        (tmp_path / "token").mkdir()
    elif content is not None:
        (tmp_path / "token").write_bytes(content)
    assert problems(SOURCE + "    token_file: token\n") == [f":4: collectors.source.token_file: {message}"]


def test_a_name_that_is_none_is_refused_and_not_shown(problems):
    assert problems(SOURCE + '    token_file: "hunter22\\0"\n') == [
        ":4: collectors.source.token_file: this is not a file name"
    ]


def test_a_secret_and_its_file_exclude_each_other(problems, tmp_path):
    (tmp_path / "f").write_text("x")
    text = SOURCE + "    token: hunter22\n    token_file: f\nstore:\n  url: sqlite:///x\n  url_file: f\n"
    assert problems(text) == [
        ":5: collectors.source.token_file: token and token_file are both set: keep one of them",
        ":8: store.url_file: url and url_file are both set: keep one of them",
    ]


def test_an_empty_secret_counts_as_unset_beside_its_file(loaded, tmp_path):
    (tmp_path / "f").write_text("hunter22")
    config = loaded(SOURCE + '    token: "${T:-}"\n    token_file: f\n').collectors["source"]
    assert config.token.get_secret_value() == "hunter22"


def test_a_rotated_file_shows_in_the_next_load(loaded, tmp_path):
    (tmp_path / "f").write_text("first-token")
    before = loaded(SOURCE + "    token_file: f\n")
    (tmp_path / "f").write_text("second-token")
    after = loaded(SOURCE + "    token_file: f\n")
    assert before != after
    assert after.collectors["source"].token.get_secret_value() == "second-token"


def test_a_blank_forgotten_after_the_colon_shows_no_secret(problems):
    said = "unknown key: between a key and its value there must be a colon and a blank"
    assert problems("collectors: {source: {url: http://x, token:hunter22}}") == [
        f":1: collectors.source.token:…: {said}"
    ]
    assert problems("store: {url=hunter22}") == [f":1: store.url=…: {said}"]


def test_a_secret_where_its_block_should_be_is_not_shown(problems):
    databases = "{a: hunter22, 'b:hunter22': }"
    text = f"store: postgresql://u:hunter22@h\ncollectors: {{my-databases: {{databases: {databases}}}}}"
    assert problems(text) == [
        ":1: store: must be a mapping (key: value)",
        ":2: collectors.my-databases.databases.a: must be a mapping (key: value)",
        ":2: collectors.my-databases.databases.b:….dsn: is required",
    ]


def test_a_value_beside_a_secret_is_never_shown(problems):
    text = "collectors:\n  source: {url: http://x, per_page: hunter22}\n  my-databases: {enabled: hunter33}\n"
    assert problems(text) == [
        ":2: collectors.source.per_page: must be a whole number",
        ":3: collectors.my-databases.enabled: must be true or false (got 'hunter33')",
    ]


def test_what_a_validator_says_is_searched_for_secrets(problems):
    text = "collectors:\n  source: {url: ftp, token: http}\n"
    assert problems(text) == [":2: collectors.source: url must begin with <secret>"]


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=0, max_size=20).map(
    lambda text: "Zq7" + text.replace("${", "$") + "X9v"
)
SHAPES = [
    "collectors:\n  source:\n    token: {quoted}\n",
    "collectors:\n  source:\n    url: x\n    token: {quoted}\n    per_page: {quoted}\n    y: {quoted}\n",
    "collectors:\n  source: {{url: {quoted}, token: [{quoted}], token_file: {quoted}}}\n",
    "collectors:\n  source: {{url: x, token: {{{quoted}: yes}}, groups: {quoted}, enabled: {quoted}}}\n",
    "collectors:\n  source: {{url: x, token: {{{quoted}: 1, {quoted}: 2}}}}\n",
    "collectors:\n  source:\n    url: x\n    token: {raw}\n    token_file: {raw}\n",
    "collectors:\n  source: {{token:{raw}}}\n  x: 1\n",
    "store:\n  url: {raw}\n  retention_days: {quoted}\n",
    "store: {{url: {quoted}, url_file: {quoted}}}\nx: 1\n",
    "collectors:\n  my-databases:\n    databases: {{a: {{dsn: {quoted}, dsn_file: {quoted}, labels: 5}}}}\n",
    "collectors:\n  my-databases:\n    databases: {{a: {quoted}}}\nstore: {quoted}\n",
    "collectors:\n  my-databases:\n    databases: {quoted}\n  source: {quoted}\n",
    "collectors: {quoted}\n",
    "collectors:\n  my-databases:\n    databases:\n      a: {{dsn: {{{raw}: on}}, files: {quoted}}}\n",
]


@pytest.mark.no_cover  # long, through code that smaller tests cover
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(secret=SECRETS, shape=st.sampled_from(SHAPES), in_env=st.booleans())
def test_no_error_ever_holds_a_secret(file, models, secret, shape, in_env):
    text = shape.format(quoted=json.dumps(secret), raw=secret)
    file.write_text(text + "log: {level: none}\n")
    env = {
        "CI_EXPORTER__COLLECTORS__SOURCE__TOKEN": secret,
        "CI_EXPORTER__COLLECTORS__SOURCE__PER_PAGE": secret,
        "CI_EXPORTER__STORE__URL": secret,
        "CI_EXPORTER__STORE__URL_FILE": secret,
        "CI_EXPORTER__COLLECTORS__MY_DATABASES__DATABASES": "{a: "
        + json.dumps({"dsn": secret, "x": 1})
        + "}",
        "SOURCE_TOKEN": secret,
        "DATABASE_URL": secret,
    }
    with pytest.raises(ConfigError) as caught:
        load(file, models=models, env=env if in_env else {})
    said = str(caught.value) + repr(caught.value) + repr(caught.value.problems)
    assert secret not in said
    assert "zq7" not in said.lower()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
