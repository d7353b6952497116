"""Recipes: read, checked and composed by LightningCLI and OmegaConf; a mistake in one becomes one line."""

from vocolab.recipe.recipe import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe"]
