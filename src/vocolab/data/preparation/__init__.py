"""Speech on disk to shards."""
