package bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Books in; a row of features at a symbol's first book in each second out. A minute of books stays in the store. */
final class BookProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    static final String HEADS = "heads";
    static final String RING = "ring";
    private static final int SLOTS = 2048;
    private static final long WINDOW_MS = 60_000;
    private static final long EMIT_MS = 1_000;

    private final Book book = new Book();
    private final Row row = new Row();
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> heads;
    private KeyValueStore<byte[], byte[]> ring;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        heads = context.getStateStore(HEADS);
        ring = context.getStateStore(RING);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        try {
            if (book.read(record.value()) && book.valid()) update(record);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private void update(Record<byte[], byte[]> record) throws IOException {
        byte[] stored = heads.get(record.key());
        Head head = stored == null ? new Head() : Head.of(stored);
        Event event = head.next(book);
        evict(record.key(), head, event.t() - WINDOW_MS);
        ring.put(slot(record.key(), head.end), event.bytes());
        head.add(event);
        long bucket = event.t() / EMIT_MS;
        if (bucket != head.bucket) {
            head.bucket = bucket;
            byte[] json = row.encode(book, head, event);
            context.forward(new Record<>(record.key(), json, event.t()));
            head.updates = 0;
        }
        heads.put(record.key(), head.bytes());
    }

    /** What is not after `edge` any more leaves the ring's sums; so does what would be overwritten. */
    private void evict(byte[] key, Head head, long edge) {
        while (head.begin < head.end && (head.oldest.t() <= edge || head.end - head.begin == SLOTS)) {
            head.remove();
            if (head.begin < head.end) head.oldest = Event.of(ByteBuffer.wrap(ring.get(slot(key, head.begin))));
        }
    }

    private static byte[] slot(byte[] key, long number) {
        return ByteBuffer.allocate(key.length + Integer.BYTES).put(key).putInt((int) (number % SLOTS)).array();
    }

    /** What one book leaves in the ring. */
    record Event(long t, double mid, double logReturn, double ofi) {
        static final int BYTES = 32;

        byte[] bytes() {
            return into(ByteBuffer.allocate(BYTES)).array();
        }

        ByteBuffer into(ByteBuffer out) {
            return out.putLong(t).putDouble(mid).putDouble(logReturn).putDouble(ofi);
        }

        static Event of(ByteBuffer in) {
            return new Event(in.getLong(), in.getDouble(), in.getDouble(), in.getDouble());
        }
    }

    /** A symbol's last book, the sums over its ring, and the ring's oldest event, the next to leave it. */
    static final class Head {
        private static final int BYTES = 84 + Event.BYTES;

        long begin;
        long end;
        Event oldest = new Event(0, 0, 0, 0);
        long bucket = -1;
        int updates;
        double bid;
        double bidSize;
        double ask;
        double askSize;
        double returns;
        double squares;
        double ofi;

        static Head of(byte[] stored) {
            ByteBuffer in = ByteBuffer.wrap(stored);
            Head head = new Head();
            head.begin = in.getLong();
            head.end = in.getLong();
            head.oldest = Event.of(in);
            head.bucket = in.getLong();
            head.updates = in.getInt();
            head.bid = in.getDouble();
            head.bidSize = in.getDouble();
            head.ask = in.getDouble();
            head.askSize = in.getDouble();
            head.returns = in.getDouble();
            head.squares = in.getDouble();
            head.ofi = in.getDouble();
            return head;
        }

        byte[] bytes() {
            return oldest.into(ByteBuffer.allocate(BYTES).putLong(begin).putLong(end))
                .putLong(bucket).putInt(updates)
                .putDouble(bid).putDouble(bidSize).putDouble(ask).putDouble(askSize)
                .putDouble(returns).putDouble(squares).putDouble(ofi).array();
        }

        /** The event of a book against the one before it, which it replaces. */
        Event next(Book book) {
            double newBid = book.bids.prices[0], newBidSize = book.bids.sizes[0];
            double newAsk = book.asks.prices[0], newAskSize = book.asks.sizes[0];
            double mid = (newBid + newAsk) / 2;
            double change = 0, flow = 0;
            if (bid > 0) {
                change = Math.log(mid / ((bid + ask) / 2));
                flow = (newBid >= bid ? newBidSize : 0) - (newBid <= bid ? bidSize : 0)
                    - (newAsk <= ask ? newAskSize : 0) + (newAsk >= ask ? askSize : 0);
            }
            bid = newBid;
            bidSize = newBidSize;
            ask = newAsk;
            askSize = newAskSize;
            return new Event(book.timestamp, mid, change, flow);
        }

        void add(Event event) {
            if (begin == end) oldest = event;
            end++;
            updates++;
            returns += event.logReturn();
            squares += event.logReturn() * event.logReturn();
            ofi += event.ofi();
        }

        /** The oldest event leaves the sums. */
        void remove() {
            begin++;
            returns -= oldest.logReturn();
            squares -= oldest.logReturn() * oldest.logReturn();
            ofi -= oldest.ofi();
        }
    }
}
