"""Write reference/recipe.md, the reference of every key, from the schema: `python docs/recipe_reference.py`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.recipe import Recipe

Schema = Mapping[str, Any]
HEAD = """# Recipe reference

Written by `docs/recipe_reference.py` from the code; `compress schema` prints the same as JSON schema for editors.

A recipe is plain YAML: no tags, anchors, aliases or merge keys; unknown and duplicate keys are refused; `1e-4` is a
number, `no`, `on` and dates are text. All problems are reported at once, each with its line, before anything runs.
Any key can be overridden on the command line: `--set stages.0.retrain.steps=5`.
"""
RANGES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def reference() -> str:
    """Return the page."""
    schema = Recipe.model_json_schema()
    groups = schema["$defs"]
    stages = {name: groups.pop(_group(ref)) for name, ref in _stages(schema).items()}
    parts = [HEAD, *_section("A recipe", schema)]
    for name, options in sorted(stages.items()):
        parts += _section(f"stage: {name}", options)
    for name, group in groups.items():
        parts += _section(name, group)
    return "\n".join(parts)


def _stages(schema: Schema) -> dict[str, str]:
    found: dict[str, str] = schema["properties"]["stages"]["items"]["discriminator"]["mapping"]
    return found


def _section(title: str, schema: Schema) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{_line(schema.get('description', ''))}\n"
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key, field in schema["properties"].items():
        default = "required" if key in schema.get("required", ()) else _default(field)
        yield f"| `{key}` | {_kind(field)} | {default} | {_line(field.get('description', ''))} |"
    yield ""


def _default(field: Schema) -> str:
    return "the group's own" if isinstance(field["default"], dict) else f"`{json.dumps(field['default'])}`"


def _kind(schema: Schema) -> str:
    """Describe which values a key takes."""
    if "discriminator" in schema:
        return "stages, as below"
    if "$ref" in schema:
        return f"[{_group(schema['$ref'])}](#{_group(schema['$ref']).lower()})"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(branch) for branch in schema["anyOf"]))
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {_kind(values)}" if isinstance(values, dict) else "mapping"
    limits = [text.format(schema[name]) for name, text in RANGES.items() if name in schema]
    word = {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}.get(schema["type"], schema["type"])
    return ", ".join([str(word), *limits])


def _group(reference: str) -> str:
    return reference.rpartition("/")[2]


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    (Path(__file__).parent / "reference" / "recipe.md").write_text(reference(), encoding="utf-8")
