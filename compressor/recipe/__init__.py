"""Recipes: strict YAML, read into typed settings."""

from typing import TYPE_CHECKING

from compressor.plugins import lazily

if TYPE_CHECKING:
    from compressor.recipe.schema import Recipe, dump, load_recipe, parse

__all__ = ["Recipe", "dump", "load_recipe", "parse"]
__getattr__ = lazily(__name__, schema="Recipe dump load_recipe parse")
