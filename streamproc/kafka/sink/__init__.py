"""The sink: rows and dead letters from topics into files, exactly once.

The records of one topic-partition are cut into segments, each the offsets [a, n). Segments form a chain: where one
ends the next begins. The chain is kept with the files themselves, under
`OUTPUT/_commits/<topic>/<topic id>/<partition>/`, because no transaction of Kafka's could hold files too. What Kafka
keeps of the group's offsets is a hint for people and monitoring, and is never believed.

Start of a partition: `_genesis` is created exclusively with the log's first offset; it begins the chain. From there, or
from the later `_checkpoint`, each record `<a>.json` leads to the next offset, up to N where none is. All files that
records name are moved to their places, as far as that was not done. Reading begins at N.

A segment takes these steps; what a crash leaves at each of them is mended as said.

1. Its rows are read and kept in memory. A crash here: they are read again.
2. They are written as files under `_pending/<topic>/<topic id>/<partition>/<a>-<attempt>/`, in names that carry the
   offsets and the attempt's own random id, and made durable. A crash here: files that no record names. They are deleted
   when a record for `a` exists, and not before: until then whoever wrote them may be only asleep, and commit them yet.
3. The commit record `<a>.json` is created exclusively: attempt, n, names. The commit point. Of any number of processes
   that try, one wins; so a process that was thought dead can do no harm. One that has lost throws its attempt away and
   walks the chain anew.
4. The files move to their final names, each at once. A crash here: whoever walks the chain next moves the rest. A file
   that is gone from `_pending` was moved (and perhaps merged by `compact` since).
5. Now and then `_checkpoint` tells up to where the chain is done with. Records stay: each of them is the fence that
   keeps its offset from being committed again.
6. The offset goes to Kafka, a hint.

A reader sees a file whole from step 4 on, and never before.

In an object store (`objects`) step 2 is an upload, step 3 a conditional put, step 4 a copy within the store and then
the deletion of what has waited. With Delta tables (`delta`) steps 3 and 4 are one: the commit to the table's log.
"""

from streamproc.kafka.sink.program import sink

__all__ = ["sink"]
