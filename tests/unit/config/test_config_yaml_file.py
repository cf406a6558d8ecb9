"""Reading YAML as text: what is kept as written, what is replaced, what is refused."""

import pytest

from otel_sla.config.yaml_file import NODES_MAX, Loc, Tree, path_text, read_yaml


def tree_of(text: str, **environ: str) -> Tree:
    """Read a text that has no problems."""
    document = read_yaml(text, environ)
    assert document.problems == []
    return document.tree


@pytest.mark.parametrize(
    "text", ["no", "on", "yes", "off", "1.10", "0.1", "22:30", "2026-12-25", "0o17", "1_000", "5%"]
)
def test_plain_scalars_stay_as_written(text: str) -> None:
    """Words and numbers that YAML 1.1 would convert: the text is kept."""
    assert tree_of(f"key: {text}") == {"key": text}


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_empty_values_are_none(text: str) -> None:
    """All spellings of nothing: None."""
    assert tree_of(f"key: {text}") == {"key": None}


@pytest.mark.parametrize(
    ("text", "value"), [("True", "true"), ("FALSE", "false"), ('"True"', "True"), ("'null'", "null")]
)
def test_booleans_are_lower_case_unless_quoted(text: str, value: object) -> None:
    """A boolean in any case reads as OTLP's text of it; a quoted text stays."""
    assert tree_of(f"key: {text}") == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:HOST}", "example.com"),
        ("${HOST}", "example.com"),
        ("https://${env:HOST}:${env:PORT:-443}/", "https://example.com:443/"),
        ("${env:GONE:-}", None),
        ('"${env:GONE:-}"', ""),
        ("${env:EMPTY:-default}", None),
        ("${env:GONE:-localhost:4317}", "localhost:4317"),
        ("$$", "$"),
        ("$${env:HOST}", "${env:HOST}"),
        ("costs 5$", "costs 5$"),
        ("$5", "$5"),
        ('"${env:HOST}"', "example.com"),
    ],
)
def test_references_are_replaced(text: str, value: object) -> None:
    """References alone, within longer values, with defaults and escaped: as in the Collector."""
    assert tree_of(f"key: {text}", HOST="example.com", EMPTY="") == {"key": value}


def test_a_replaced_value_is_not_read_again() -> None:
    """A variable that holds a reference or YAML: it is text, and replaced once only."""
    assert tree_of("key: ${env:A}", A="${env:B}: [x]", B="secret") == {"key": "${env:B}: [x]"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {b: '${env:GONE}'}", "the environment has no variable GONE; ${env:GONE:-…} would give a default"),
        ("a: {b: $HOST}", "write ${env:HOST} for the environment's variable, or $$HOST for the text $HOST"),
        ("a: {b: '${file:x}'}", "'${file:x}' is no reference that is known; write ${env:NAME} or ${env:NAME:-default}"),
        ("a: {b: !!int 5}", "the tag '!!int' is not supported"),
        ("a: {b: !custom 5}", "the tag '!custom' is not supported"),
        ("a:\n  b: 1\n  b: 2", "is given again in line 3"),
    ],
)
def test_problems_have_their_place(text: str, message: str) -> None:
    """Each thing that cannot be read: refused with the place it stands in."""
    assert read_yaml(text, {}).problems == [(("a", "b"), message)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: [1",
            "is not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>' (line 1",
        ),
        ("a: b: c", "is not valid YAML: mapping values are not allowed here (line 1, column 5)"),
        (
            "a: 1\n---\nb: 2",
            "is not valid YAML: expected a single document in the stream, but found another document (line 2",
        ),
        ("a: *nowhere", "is not valid YAML: found undefined alias 'nowhere' (line 1, column 4)"),
        ("a: \x00", "is not valid YAML: unacceptable character"),
        ("[" * 5000, "is no configuration: nested too deep"),
    ],
)
def test_what_is_no_yaml_is_one_problem(text: str, message: str) -> None:
    """Broken syntax: one problem, on one line, with the place in the text."""
    ((place, found),) = read_yaml(text, {}).problems
    assert place == ()
    assert found.startswith(message)
    assert "\n" not in found


def test_keys_that_are_no_text_are_refused() -> None:
    """A list as a key: refused, the rest is read."""
    document = read_yaml("? [a]\n: 1\nb: 2", {})
    assert document.tree == {"b": "2"}
    assert document.problems == [((), "a key must be a text (line 1)")]


def test_merged_mappings_give_way_to_what_stands_beside_them() -> None:
    """`<<` with one and with several mappings: explicit keys win, then earlier ones."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\none: {<<: *x, b: 9}\ntwo: {<<: [*y, *x], c: 9}\nbad: {<<: 1}"
    document = read_yaml(text, {})
    assert document.tree["one"] == {"a": "1", "b": "9"}
    assert document.tree["two"] == {"a": "1", "b": "2", "c": "9"}
    assert document.problems == [(("bad", "<<"), "merges only a mapping or a list of mappings")]


def test_aliases_that_multiply_are_stopped() -> None:
    """Nine levels of nine aliases each, a billion values: refused quickly instead of built."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    document = read_yaml("\n".join(levels), {})
    assert document.problems == [
        ((), f"is no configuration: nested too deep, more than {NODES_MAX} values, or an alias that contains itself")
    ]


def test_an_alias_that_contains_itself_is_stopped() -> None:
    """A list that is its own item: refused instead of followed for ever."""
    assert read_yaml("a: &a [*a]", {}).problems[0][1].startswith("is no configuration")


def test_lines_are_those_of_keys() -> None:
    """Values on other lines than their keys: the key's line is remembered, from 1."""
    lines = read_yaml("a:\n  b:\n    - x\n    - y\n", {}).lines
    assert lines[("a",)] == 1
    assert lines[("a", "b")] == 2
    assert lines[("a", "b", 1)] == 4


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((), ""),
        (("agreements", 0, "downtime"), "agreements[0].downtime"),
        (("exporters", "otlp/2", "tls"), "exporters.otlp/2.tls"),
        (("span", "http.route", 1), "span['http.route'][1]"),
    ],
)
def test_paths_read_like_the_file(place: Loc, text: str) -> None:
    """Keys, items, ids with a slash, keys with a dot: written so that they can be told apart."""
    assert path_text(place) == text
