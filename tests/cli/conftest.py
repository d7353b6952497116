from tests.tiny_run import corpus, recipe, shards, work

__all__ = ["corpus", "recipe", "shards", "work"]
