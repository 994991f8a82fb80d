"""Text from elsewhere commands no terminal and breaks no command."""

import io

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from sqlalchemy.engine import make_url

from engarde_pipeline.cli.terminal import visible
from engarde_pipeline_tests.cli.conftest import Engarde
from engarde_pipeline_tests.world import World

ANYTHING = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\0\r\n\u202e\ud800[]/"))


@settings(deadline=None)
@given(text=ANYTHING)
@example(text="\x1b]0;owned\x07\x1b[2J")
@example(text="x" * 100_000)
def test_what_reaches_a_terminal_holds_nothing_but_printable_characters_and_lines(text: str) -> None:
    file = io.StringIO()

    Console(file=file, width=80).print(Text(visible(text)))

    assert not set("\x1b\x07\x9b\0\r\u202e") & set(file.getvalue())
    file.getvalue().encode()


@settings(deadline=None)
@given(text=st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_the_doctor_shows_a_role_whose_name_looks_like_markup(
    configured: World, engarde: Engarde, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"[/{configured.dataset}]"
    configured.connection.execute(f'CREATE ROLE "{role}" LOGIN SUPERUSER'.encode())
    url = make_url(configured.database_url).set(username=role)
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))

    said = engarde("doctor", width=200)
    configured.connection.execute(f'DROP ROLE "{role}"'.encode())

    assert f"role {role}" in said.words


HOSTILE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    [
        "--",
        "-1",
        "2026-02-30",
        "2026-W01-1",
        "9999-12-31",
        "'; DROP TABLE tenants; --",
        "[red]",
        "\x1b[2J",
        "../../etc",
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arguments=st.sampled_from(["--start", "--end"]).flatmap(lambda name: st.tuples(st.just(name), HOSTILE))
    | st.tuples(st.sampled_from(["--limit", "--days", "--seed"]), HOSTILE)
    | st.lists(HOSTILE, max_size=3).map(tuple),
    command=st.sampled_from(["sync", "status", "jobs"]),
)
def test_hostile_arguments_are_refused_in_words(
    configured: World, engarde: Engarde, command: str, arguments: tuple[str, ...]
) -> None:
    said = engarde(command, "--start", "never", *arguments)

    assert said.code == 2
    assert "Traceback" not in said.err
    assert not set("\x1b\x07\x9b") & set(said.out + said.err)
