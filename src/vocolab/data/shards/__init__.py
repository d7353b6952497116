"""Shards: webdataset tars, the manifest and the index beside them, and reading from them."""
