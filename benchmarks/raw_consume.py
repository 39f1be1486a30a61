"""What `process` is held against: `Consumer.consume()` of the raw topic and nothing else.

Run as a program it prints records a second, from the first fifth of the topic on.
"""

import sys
import time

from confluent_kafka import Consumer, TopicPartition

from benchmarks.children import Child
from benchmarks.kafka import PARTITIONS, Topics
from streamproc.kafka.process.member import QUEUED_KBYTES, RECORDS_AT_ONCE

WAIT_SECONDS = 0.25


def raw_rate(topics: Topics, records: int) -> float:
    """Records a second, measured in a process of its own."""
    servers = topics.settings.kafka.bootstrap_servers
    return float(
        Child([sys.executable, "-m", "benchmarks.raw_consume", servers, topics.names.raw, str(records)]).result()
    )


def main(servers: str, topic: str, wanted: int) -> None:
    """Consume so many records, as a member does."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "raw-consume",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": QUEUED_KBYTES,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    count = begun_count = 0
    begun = last = 0.0
    while count < wanted:
        messages = consumer.consume(RECORDS_AT_ONCE, timeout=WAIT_SECONDS)
        count += sum(message.error() is None for message in messages)
        last = time.monotonic()
        if not begun and count >= wanted // 5:
            begun, begun_count = last, count
    consumer.close()
    print((count - begun_count) / (last - begun))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
