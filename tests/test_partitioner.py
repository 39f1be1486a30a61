"""The partitioner against hashes that Kafka's own tests state."""

import pytest

from streamproc.kafka.partitioner import murmur2, partition_of, record_key

KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""From Apache Kafka, `UtilsTest.testMurmur2`, signed."""


@pytest.mark.parametrize("key", KNOWN)
def test_the_hash_is_that_of_java_clients(key: bytes) -> None:
    assert murmur2(key) == KNOWN[key] % 2**32


def test_the_sign_is_dropped_before_the_remainder() -> None:
    assert partition_of(b"21", 12) == (-973932308 & 0x7FFFFFFF) % 12


def test_a_key_is_exchange_and_symbol() -> None:
    assert record_key("binanceusdm", "BTC/USDT:USDT") == b"binanceusdm:BTC/USDT:USDT"
