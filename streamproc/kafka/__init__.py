"""Between topics: the engine as members of a consumer group, what feeds them and what takes their rows."""
