"""Where shards are read, packed and PUT.

Every sender takes a `ShardJob` and gives a `ShardResult`; none has the api key or the checkpoint.
"""
