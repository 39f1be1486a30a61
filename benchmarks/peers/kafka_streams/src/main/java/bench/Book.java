package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.util.Arrays;

/** One order book, read from its line into arrays that are used again for the next. */
final class Book {
    private static final JsonFactory JSON = JsonFactory.builder().enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER).build();

    final Side bids = new Side();
    final Side asks = new Side();
    String exchange;
    String symbol;
    long timestamp;
    long collectedAt;
    long nonce;

    /** Prices and sizes of one side, best first. */
    static final class Side {
        double[] prices = new double[64];
        double[] sizes = new double[64];
        int levels;

        private void read(JsonParser json) throws IOException {
            levels = 0;
            while (json.nextToken() == JsonToken.START_ARRAY) {
                if (levels == prices.length) {
                    prices = Arrays.copyOf(prices, 2 * levels);
                    sizes = Arrays.copyOf(sizes, 2 * levels);
                }
                json.nextToken();
                double price = json.getDoubleValue();
                json.nextToken();
                double size = json.getDoubleValue();
                while (json.nextToken() != JsonToken.END_ARRAY) { }
                if (price > 0 && size > 0) {
                    prices[levels] = price;
                    sizes[levels++] = size;
                }
            }
        }
    }

    /** Read a line. False where it is not an order book. */
    boolean read(byte[] line) throws IOException {
        boolean isBook = false;
        try (JsonParser json = JSON.createParser(line)) {
            json.nextToken();
            for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                switch (field) {
                    case "type" -> isBook = json.nextTextValue().equals("orderbook");
                    case "exchange" -> exchange = json.nextTextValue();
                    case "symbol" -> symbol = json.nextTextValue();
                    case "collected_at" -> collectedAt = json.nextLongValue(0);
                    case "data" -> {
                        if (json.nextToken() == JsonToken.START_OBJECT) readData(json);
                        else json.skipChildren();
                    }
                    default -> skip(json);
                }
            }
        }
        return isBook;
    }

    boolean valid() {
        return bids.levels > 0 && asks.levels > 0 && bids.prices[0] <= asks.prices[0];
    }

    private void readData(JsonParser json) throws IOException {
        for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
            switch (field) {
                case "bids" -> { json.nextToken(); bids.read(json); }
                case "asks" -> { json.nextToken(); asks.read(json); }
                case "timestamp" -> timestamp = json.nextLongValue(0);
                case "nonce" -> nonce = json.nextLongValue(0);
                default -> skip(json);
            }
        }
    }

    private static void skip(JsonParser json) throws IOException {
        json.nextToken();
        json.skipChildren();
    }
}
