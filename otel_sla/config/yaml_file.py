"""Reads a YAML file into a tree of mappings, lists and texts, with the line of each value.

Scalars stay the text that was written, as the Collector keeps it: `no` is a word, `1.10` is not `1.1`, and `0.1` can
become one tenth exactly. What a text means is for the setting that it is given to. Only an empty value, `~` and
`null` are None, and `true`/`false` are written in lower case.

`${env:NAME}` and `${env:NAME:-default}` are replaced within values; `$$` is a plain `$`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

Loc = tuple[str | int, ...]
Problem = tuple[Loc, str]  # Where, and what is wrong there.
Tree = None | str | list["Tree"] | dict[str, "Tree"]

NODES_MAX = 100_000  # Aliases of aliases grow exponentially; no honest file comes near.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_SCALAR_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAGS = frozenset({_SCALAR_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})
_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|\{(?P<other>[^}]*)\}"
    r"|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))"
)


class _TextLoader(yaml.SafeLoader):
    """Resolves no scalar: YAML 1.1 would make `no` a boolean and `22:30` a number."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way of saying it.


@dataclass(slots=True)
class YamlDocument:
    """What a file says, and what is wrong with how it says it."""

    tree: Tree = None
    lines: dict[Loc, int] = field(default_factory=dict)  # 1-based line of each value, and of each key.
    problems: list[Problem] = field(default_factory=list)


def path_text(loc: Loc) -> str:
    """Write a place as in `agreements[0].downtime.no_data`; a key with a dot in it is quoted.

    >>> path_text(("agreements", 0, "covered_service", "resource", "service.name"))
    "agreements[0].covered_service.resource['service.name']"
    """
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w/-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def read_yaml(text: str, environ: Mapping[str, str]) -> YamlDocument:
    """Parse one YAML document; whatever is wrong is in the document's problems."""
    document = YamlDocument()
    try:
        node = yaml.compose(text, Loader=_TextLoader)
    except yaml.MarkedYAMLError as error:
        document.problems.append(((), _syntax_message(error)))
    except (yaml.YAMLError, ValueError) as error:
        document.problems.append(((), f"is not valid YAML: {' '.join(str(error).split())}"))
    except RecursionError:
        document.problems.append(((), "is no configuration: nested too deep"))
    else:
        if node is not None:
            document.tree = _TreeBuilder(document, environ).build(node)
    return document


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    what = ", ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"is not valid YAML: {what}{where}"


class _TooManyNodes(Exception):
    """The file has more values than `NODES_MAX`, or contains itself."""


class _TreeBuilder:
    """Turns PyYAML's nodes into the tree."""

    def __init__(self, document: YamlDocument, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._node_count = 0

    def build(self, node: yaml.Node) -> Tree:
        try:
            return self._build(node, ())
        except (_TooManyNodes, RecursionError):
            message = f"is no configuration: more than {NODES_MAX} values, or an alias that contains itself"
            self._document.problems = [((), message)]
            return None

    def _build(self, node: yaml.Node, loc: Loc) -> Tree:
        self._node_count += 1
        if self._node_count > NODES_MAX:
            raise _TooManyNodes
        self._document.lines.setdefault(loc, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS:
            self._report(loc, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')!r} is not supported")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*loc, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), "YAML has three kinds of nodes"
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Tree]:
        tree: dict[str, Tree] = {}
        seen: set[str] = set()
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(loc, f"a key must be a text (line {line})")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                merged.append(value_node)
                continue
            place = (*loc, key)
            if key in seen:
                self._report(place, f"is given again in line {line}")
                continue
            seen.add(key)
            self._document.lines[place] = line
            tree[key] = self._build(value_node, place)
        for value_node in merged:
            self._merge(value_node, tree, loc)
        return tree

    def _merge(self, node: yaml.Node, tree: dict[str, Tree], loc: Loc) -> None:
        """YAML's `<<: *defaults`: what stands beside it wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._report((*loc, "<<"), "merges only a mapping or a list of mappings")
                continue
            for key, value in self._mapping(source, (*loc, "<<")).items():
                tree.setdefault(key, value)

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> str | None:
        text = self._expand(node.value, loc)
        if node.style is not None:
            return text
        if _NULL.fullmatch(text):
            return None
        return text.lower() if _BOOL.fullmatch(text) else text

    def _expand(self, text: str, loc: Loc) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            name = match["name"]
            if name is None:
                self._report(loc, _reference_message(match))
                return ""
            # As in the Collector, and unlike a shell, a variable that is set to nothing is nothing, not the default.
            value = self._environ.get(name, match["default"])
            if value is None:
                self._report(loc, f"the environment has no variable {name}; ${{env:{name}:-…}} would give a default")
            return value or ""

        return _REFERENCE.sub(replace, text)

    def _report(self, loc: Loc, message: str) -> None:
        self._document.problems.append((loc, message))


def _reference_message(match: re.Match[str]) -> str:
    if match["bare"]:
        bare = match["bare"]
        return f"write ${{env:{bare}}} for the environment's variable, or $${bare} for the text ${bare}"
    return f"{match[0]!r} is no reference that is known; write ${{env:NAME}} or ${{env:NAME:-default}}"
