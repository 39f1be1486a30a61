"""`publish`: lines of files into the raw topic, each exactly once.

One transaction after another holds the lines and how far the files have been read:

1. A transaction begins with the first lines (crash point `publish.begun`).
2. Lines are packed into records and produced as they are read (`publish.produced`). A line that is too long goes to a
   reject file of its own, durable and under a name that follows from its place, so that doing it again changes nothing
   (`publish.rejected`).
3. The progress of the files and the mark of this publisher, with the transaction's number, are produced to the
   progress topic (`publish.progressed`).
4. All is acknowledged by the brokers (`publish.flushed`).
5. The transaction is committed. This is the commit (`publish.committed`).

The records of the open transaction are kept until then. Where it fails they are produced again in the next one, byte
for byte: no input is read twice, so standard input is as safe as a file. Where it is not known whether the brokers have
committed, a new producer with the same transactional id settles it, and the mark tells how.

At start a publisher fences what an earlier one with its id has left behind (`publish.fenced`), reads the progress, and
commits its mark (`publish.announced`): by it the earlier one, should it live, knows why it must end.
"""

from streamproc.kafka.publish.program import publish_files

__all__ = ["publish_files"]
