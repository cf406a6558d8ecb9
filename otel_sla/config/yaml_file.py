"""Reads a YAML file into a tree of mappings, lists and texts, with the line of each value.

Scalars stay the text that was written, as the Collector keeps it: `no` is a word, `1.10` is not `1.1`, and `0.1` can
become one tenth exactly. What a text means is for the setting that it is given to. Only an empty value, `~` and
`null` are None, and `true`/`false` are written in lower case.

`${env:NAME}` and `${env:NAME:-default}` are replaced within values; `$$` is a plain `$`.
"""

import re
from collections.abc import Mapping

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


def read_yaml(text: str, environ: Mapping[str, str]) -> "YamlDocument":
    """Parse one YAML document; whatever is wrong is in the document's problems."""
    document = YamlDocument(environ)
    try:
        node = yaml.compose(text, Loader=_TextLoader)
        document.tree = None if node is None else document.build(node, ())
    except yaml.MarkedYAMLError as error:
        document.report((), _syntax_message(error))
    except (yaml.YAMLError, ValueError) as error:
        document.report((), f"is not valid YAML: {' '.join(str(error).split())}")
    except (RecursionError, OverflowError):
        limits = f"nested too deep, more than {NODES_MAX} values, or an alias that contains itself"
        document.problems = [((), f"is no configuration: {limits}")]
    return document


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    what = ", ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"is not valid YAML: {what}{where}"


class YamlDocument:
    """What a file says, and what is wrong with how it says it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.tree: Tree = None
        self.lines: dict[Loc, int] = {}  # 1-based line of each value, and of each key.
        self.problems: list[Problem] = []
        self._environ = environ
        self._node_count = 0

    def report(self, loc: Loc, message: str) -> None:
        """Add a problem."""
        self.problems.append((loc, message))

    def build(self, node: yaml.Node, loc: Loc) -> Tree:
        """Make the tree of a node; raises OverflowError above `NODES_MAX`."""
        self._node_count += 1
        if self._node_count > NODES_MAX:
            raise OverflowError
        self.lines.setdefault(loc, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS:
            self.report(loc, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')!r} is not supported")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*loc, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), "YAML has three kinds of nodes"
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Tree]:
        tree: dict[str, Tree] = {}
        seen: set[str] = set()
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(loc, f"a key must be a text (line {line})")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                merged.append(value_node)
                continue
            place = (*loc, key)
            if key in seen:
                self.report(place, f"is given again in line {line}")
                continue
            seen.add(key)
            self.lines[place] = line
            tree[key] = self.build(value_node, place)
        for value_node in merged:
            self._merge(value_node, tree, loc)
        return tree

    def _merge(self, node: yaml.Node, tree: dict[str, Tree], loc: Loc) -> None:
        """YAML's `<<: *defaults`: what stands beside it wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self.report((*loc, "<<"), "merges only a mapping or a list of mappings")
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
                self.report(loc, _reference_message(match))
                return ""
            # As in the Collector, and unlike a shell, a variable that is set to nothing is nothing, not the default.
            value = self._environ.get(name, match["default"])
            if value is None:
                self.report(loc, f"the environment has no variable {name}; ${{env:{name}:-…}} would give a default")
            return value or ""

        return _REFERENCE.sub(replace, text)


def _reference_message(match: re.Match[str]) -> str:
    if match["bare"]:
        bare = match["bare"]
        return f"write ${{env:{bare}}} for the environment's variable, or $${bare} for the text ${bare}"
    return f"{match[0]!r} is no reference that is known; write ${{env:NAME}} or ${{env:NAME:-default}}"
