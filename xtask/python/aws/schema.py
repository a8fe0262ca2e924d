"""The schemas of hashicorp/aws, read out of the bindings that the npm package @cdktn/provider-aws has.

The bindings are made from the provider's own schema and say of every attribute whether it is required,
optional or computed, and of what type. Only the types that a caller names are read.
"""

import dataclasses
import pathlib
import re

# `// name - computed: true, optional: false, required: false` and what stands below it.
ATTRIBUTE = re.compile(
    r"^ *// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n(.*?)(?=^ *// \w+ - computed:|\Z)",
    re.M | re.S,
)
CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{\n(.*?)^\}", re.M | re.S)
NESTED = re.compile(r"= new (\w+)\(this, ['\"](\w+)['\"](?:, (true|false))?\)")
ARGUMENT = re.compile(
    r"^ *(\w+): \{\n *value: .*\n *isBlock: (true|false),\n *type: \"(\w+)\",\n *storageClassType: \"(\w+)\",", re.M
)
WRITTEN = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringList": ["list", "string"],
    "stringMap": ["map", "string"],
}
GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "getBooleanMapAttribute": ["map", "bool"],
    "getNumberMapAttribute": ["map", "number"],
}


@dataclasses.dataclass
class Attribute:
    """One argument or result; `type` as Terraform writes types in JSON."""

    name: str
    type: object
    required: bool
    optional: bool
    computed: bool


@dataclasses.dataclass
class Nested:
    """A block in a block; `nesting` is single, list or set."""

    name: str
    block: "Block"
    nesting: str
    required: bool
    at_most_one: bool


@dataclasses.dataclass
class Block:
    """The arguments and blocks of a resource, a data source or the provider."""

    attributes: list
    blocks: list


def read(package, kind, name):
    """The block of a type such as ("resource", "aws_s3_bucket"), ("data", …) or ("provider", "aws")."""
    folder = {
        "resource": name.removeprefix("aws_").replace("_", "-"),
        "data": "data-" + name.replace("_", "-"),
        "provider": "provider",
    }[kind]
    path = pathlib.Path(package, "lib", folder, "index.js")
    if not path.is_file():
        raise LookupError(f"the provider has no {kind} {name}: {path} is not there")
    text = path.read_text(encoding="utf-8")
    if kind == "provider":
        return _arguments(text, text[text.index("synthesizeHclAttributes() {") :])
    classes = {name: (base, body) for name, base, body in CLASS.findall(text)}
    tops = [body for base, body in classes.values() if base in ("TerraformResource", "TerraformDataSource")]
    if len(tops) != 1:
        raise LookupError(f"{path} is not what it was: {len(tops)} classes of resources")
    return _block(classes, tops[0])


def _block(classes, body):
    block = Block([], [])
    for name, computed, optional, required, rest in ATTRIBUTE.findall(body):
        flags = {"required": required == "true", "optional": optional == "true", "computed": computed == "true"}
        nested = NESTED.search(rest)
        if nested and nested[1].startswith("cdktn."):
            nested = None
        if nested:
            found = _nested(classes, name, nested, flags)
            if found:
                block.blocks.append(found)
        else:
            block.attributes.append(Attribute(name, _type(rest, name), **flags))
    return block


def _nested(classes, name, nested, flags):
    """A block, or None for what only the provider fills in."""
    if flags["computed"] and not flags["optional"]:
        return None
    base, body = classes[nested[1]]
    if base == "ComplexList":
        element = re.search(r"return new (\w+)\(", body)[1]
        nesting = "set" if nested[3] == "true" else "list"
        return Nested(name, _block(classes, classes[element][1]), nesting, flags["required"], False)
    nesting = "single" if name == "timeouts" else "list"
    return Nested(name, _block(classes, body), nesting, flags["required"], True)


def _type(rest, name):
    getter = re.search(r"(tolist\()?this\.(get\w+Attribute)\(", rest)
    if getter and getter[2] in GETTERS:
        found = GETTERS[getter[2]]
        return ["set", found[1]] if getter[1] else found
    if "StringMap(" in rest:
        return ["map", "string"]
    if "BooleanMap(" in rest:
        return ["map", "bool"]
    raise LookupError(f"{name} is of a type that is not known here")


def _arguments(text, body):
    """The provider's own block: its arguments have no flags and no getters, only the way they are written."""
    block = Block([], [])
    for name, is_block, shape, storage in ARGUMENT.findall(body):
        if is_block == "true":
            struct = storage.removesuffix("List")
            start = text.index(f"function {struct[0].lower()}{struct[1:]}ToHclTerraform(")
            inner = _arguments(text, text[start : text.index("\n}\n", start)])
            block.blocks.append(Nested(name, inner, "set" if shape == "set" else "list", False, False))
        else:
            kind = WRITTEN[storage]
            kind = ["set", kind[1]] if shape == "set" else kind
            block.attributes.append(Attribute(name, kind, False, True, False))
    return block
