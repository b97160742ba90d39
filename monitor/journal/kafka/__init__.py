"""The journal on Apache Kafka: many processes, one topic, the store's offsets.

`journal` reads and appends, `consumer` follows a group's assignment, `producer` keeps the order of appends, `topics`
creates a topic and tells one life of it from another. Its client, aiokafka, loads when `open_kafka_journal` is called.
"""

from monitor.journal.kafka.journal import open_kafka_journal
from monitor.journal.kafka.topics import ensure_topic

__all__ = ["ensure_topic", "open_kafka_journal"]
