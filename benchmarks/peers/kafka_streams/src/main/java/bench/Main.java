package bench;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/** Arguments: bootstrap servers, application id, input topic, output topic, state directory, commit interval in ms. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(args[2], args[3]), properties(args));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) ended.countDown();
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
        System.exit(1);
    }

    static Topology topology(String input, String output) {
        var bytes = Serdes.ByteArray();
        return new Topology()
            .addSource("raw", bytes.deserializer(), bytes.deserializer(), input)
            .addProcessor("books", BookProcessor::new, "raw")
            .addStateStore(
                // One record a symbol, written for each book: the cache keeps that from RocksDB until the commit.
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(BookProcessor.HEADS), bytes, bytes)
                    .withCachingEnabled().withLoggingEnabled(Map.of()),
                "books")
            .addStateStore(
                // Each slot is written once in a minute: nothing to gain from a cache.
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(BookProcessor.RING), bytes, bytes)
                    .withCachingDisabled().withLoggingEnabled(Map.of()),
                "books")
            .addSink("hf", output, bytes.serializer(), bytes.serializer(), "books");
    }

    private static Properties properties(String[] args) {
        Properties all = new Properties();
        all.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        all.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        all.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        all.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[5]);
        all.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        all.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        all.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        all.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        all.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        all.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        all.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        all.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        all.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 64L << 20);
        return all;
    }
}
