"""Fan-out: committed releases to any number of subscribers, where nobody waits for anybody."""
