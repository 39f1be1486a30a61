"""Which partition a key belongs to, as Java clients and librdkafka's `murmur2_random` have it.

Austin Appleby's MurmurHash2, 32 bits, seed 0x9747b28c (Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2`).
"""

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash as an unsigned 32-bit number."""
    size = len(data)
    h = SEED ^ size
    whole = size & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * MULTIPLIER & MASK
        k = (k ^ k >> 24) * MULTIPLIER & MASK
        h = (h * MULTIPLIER & MASK) ^ k
    if whole < size:
        h = (h ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER & MASK
    h = (h ^ h >> 13) * MULTIPLIER & MASK
    return h ^ h >> 15


def record_key(exchange: str, symbol: str) -> bytes:
    """Key of a symbol's records. Keys are never parsed: a symbol may hold colons."""
    return f"{exchange}:{symbol}".encode()


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
