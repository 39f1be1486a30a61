"""The member of the group: raw segments in, rows, bars and dead letters out, exactly once.

A commit takes these steps; what a crash leaves at each of them is mended as said.

1. Rows, dead letters, changed state and a position record of each partition touched are produced in a transaction.
   A crash here: the transaction is aborted, by the successor's `init_transactions` or by its timeout; it is never seen.
2. `flush`, every delivery checked.
3. The partitions' offsets go into the transaction, with this member's place in the group at that moment: one that lost
   a partition and does not know it yet is refused.
4. `commit_transaction`: the commit point. Rows, state and offsets are visible together.
5. Each partition's state and position are written to its RocksDB. A crash before that: the store is behind the
   changelog, and the tail is read when the partition is taken over. The store never leads Kafka.

After an abort the engines of the transaction's partitions are ahead of Kafka: they are dropped, loaded from their
stores and their input is read again from the position.
"""

from streamproc.kafka.process.program import process

__all__ = ["process"]
