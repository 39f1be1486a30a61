package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.io.SerializedString;
import java.io.ByteArrayOutputStream;
import java.io.IOException;

/** The features of a book's structure, and of its flow over a minute, as a JSON object. */
final class Row {
    private static final JsonFactory JSON =
        JsonFactory.builder().enable(StreamWriteFeature.USE_FAST_DOUBLE_WRITER).build();
    private static final int LEVELS = 10;
    private static final double[] BANDS = {0, 5, 10, 25, 50};
    private static final int SMART_LEVELS = 50;
    private static final double SMART_DECAY = 100;

    private static final SerializedString[] BID_PRICE = names("bid_price_L", LEVELS);
    private static final SerializedString[] BID_SIZE = names("bid_size_L", LEVELS);
    private static final SerializedString[] ASK_PRICE = names("ask_price_L", LEVELS);
    private static final SerializedString[] ASK_SIZE = names("ask_size_L", LEVELS);
    private static final SerializedString[] BID_BAND = bands("bid_vol_band_");
    private static final SerializedString[] ASK_BAND = bands("ask_vol_band_");
    private static final SerializedString[] IMBALANCE_BAND = bands("imb_band_");

    private final ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
    private final double[] bidBands = new double[BANDS.length - 1];
    private final double[] askBands = new double[BANDS.length - 1];

    byte[] encode(Book book, BookProcessor.Head head, BookProcessor.Event event) throws IOException {
        out.reset();
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeStringField("exchange", book.exchange);
            json.writeStringField("symbol", book.symbol);
            json.writeNumberField("timestamp", book.timestamp);
            json.writeNumberField("collected_at", book.collectedAt);
            json.writeNumberField("latency_ms", book.collectedAt - book.timestamp);
            json.writeNumberField("nonce", book.nonce);
            top(json, book, event.mid());
            levels(json, book.bids, BID_PRICE, BID_SIZE);
            levels(json, book.asks, ASK_PRICE, ASK_SIZE);
            depth(json, book, event.mid());
            flow(json, head, event);
            json.writeEndObject();
        }
        return out.toByteArray();
    }

    private static void top(JsonGenerator json, Book book, double mid) throws IOException {
        double bid = book.bids.prices[0], ask = book.asks.prices[0];
        double bidSize = book.bids.sizes[0], askSize = book.asks.sizes[0];
        double micro = (bid * askSize + ask * bidSize) / (bidSize + askSize);
        number(json, "best_bid", bid);
        number(json, "best_ask", ask);
        number(json, "mid_price", mid);
        number(json, "spread", ask - bid);
        number(json, "relative_spread", (ask - bid) / mid);
        number(json, "microprice", micro);
        number(json, "microprice_drift", micro - mid);
        number(json, "imbalance_L1", (bidSize - askSize) / (bidSize + askSize));
    }

    private static void levels(JsonGenerator json, Book.Side side, SerializedString[] prices, SerializedString[] sizes)
        throws IOException {
        for (int i = 0; i < LEVELS; i++) {
            number(json, prices[i], i < side.levels ? side.prices[i] : Double.NaN);
            number(json, sizes[i], i < side.levels ? side.sizes[i] : Double.NaN);
        }
    }

    private void depth(JsonGenerator json, Book book, double mid) throws IOException {
        Book.Side bids = book.bids, asks = book.asks;
        fillBands(bids, mid, bidBands);
        fillBands(asks, mid, askBands);
        for (int k = 0; k < bidBands.length; k++) {
            number(json, BID_BAND[k], bidBands[k]);
            number(json, ASK_BAND[k], askBands[k]);
            number(json, IMBALANCE_BAND[k], (bidBands[k] - askBands[k]) / (bidBands[k] + askBands[k]));
        }
        number(json, "bid_reach_bps", bps(bids.prices[bids.levels - 1], mid));
        number(json, "ask_reach_bps", bps(asks.prices[asks.levels - 1], mid));
        json.writeNumberField("bid_50pct_depth_levels", halfDepth(bids));
        json.writeNumberField("ask_50pct_depth_levels", halfDepth(asks));
        number(json, "bid_concentration", concentration(bids));
        number(json, "ask_concentration", concentration(asks));
        double bidVwap = vwap(bids), askVwap = vwap(asks);
        number(json, "vwap_bid_5", bidVwap);
        number(json, "vwap_ask_5", askVwap);
        number(json, "vwap_spread", askVwap - bidVwap);
        double smartBid = smartDepth(bids, mid), smartAsk = smartDepth(asks, mid);
        number(json, "smart_bid_depth", smartBid);
        number(json, "smart_ask_depth", smartAsk);
        number(json, "smart_depth_imbalance", (smartBid - smartAsk) / (smartBid + smartAsk));
        double spread = asks.prices[0] - bids.prices[0];
        double near = bidBands[0] + askBands[0];
        number(json, "lambda_proxy", spread / near);
        number(json, "amihud_proxy", spread / (near + bidBands[1] + askBands[1]));
        number(json, "bid_slope", slope(bids));
        number(json, "ask_slope", slope(asks));
    }

    private static void flow(JsonGenerator json, BookProcessor.Head head, BookProcessor.Event event) throws IOException {
        long n = head.end - head.begin;
        number(json, "log_return", event.logReturn());
        number(json, "ofi", event.ofi());
        number(json, "realized_vol_60s", Math.sqrt((head.squares - head.returns * head.returns / n) / (n - 1)));
        number(json, "realized_var_60s", head.squares);
        number(json, "ofi_60s", head.ofi);
        json.writeNumberField("updates", head.updates);
    }

    private static double bps(double price, double mid) {
        return 1e4 * Math.abs(price - mid) / mid;
    }

    private static void fillBands(Book.Side side, double mid, double[] sums) {
        java.util.Arrays.fill(sums, 0);
        int band = 0;
        for (int i = 0; i < side.levels; i++) {
            double distance = bps(side.prices[i], mid);
            while (band < sums.length && distance >= BANDS[band + 1]) band++;
            if (band == sums.length) return;
            sums[band] += side.sizes[i];
        }
    }

    private static double total(Book.Side side, int levels) {
        double sum = 0;
        for (int i = 0; i < Math.min(levels, side.levels); i++) sum += side.sizes[i];
        return sum;
    }

    private static int halfDepth(Book.Side side) {
        double half = total(side, LEVELS) / 2 * (1 - 1e-12);
        double sum = side.sizes[0];
        int k = 1;
        while (sum < half) sum += side.sizes[k++];
        return k;
    }

    private static double concentration(Book.Side side) {
        double all = total(side, LEVELS), sum = 0;
        for (int i = 0; i < Math.min(LEVELS, side.levels); i++) sum += side.sizes[i] / all * (side.sizes[i] / all);
        return sum;
    }

    private static double vwap(Book.Side side) {
        double sum = 0;
        for (int i = 0; i < Math.min(5, side.levels); i++) sum += side.prices[i] * side.sizes[i];
        return sum / total(side, 5);
    }

    private static double smartDepth(Book.Side side, double mid) {
        double sum = 0;
        for (int i = 0; i < Math.min(SMART_LEVELS, side.levels); i++) {
            sum += side.sizes[i] * Math.exp(-SMART_DECAY * Math.abs(side.prices[i] - mid) / mid);
        }
        return sum;
    }

    private static double slope(Book.Side side) {
        return side.levels < 5 ? Double.NaN : Math.abs(side.prices[4] - side.prices[0]) / total(side, 5);
    }

    private static void number(JsonGenerator json, SerializedString name, double value) throws IOException {
        json.writeFieldName(name);
        if (Double.isFinite(value)) json.writeNumber(value);
        else json.writeNull();
    }

    private static void number(JsonGenerator json, String name, double value) throws IOException {
        json.writeFieldName(name);
        if (Double.isFinite(value)) json.writeNumber(value);
        else json.writeNull();
    }

    private static SerializedString[] names(String stem, int count) {
        SerializedString[] all = new SerializedString[count];
        for (int i = 0; i < count; i++) all[i] = new SerializedString(stem + (i + 1));
        return all;
    }

    private static SerializedString[] bands(String stem) {
        SerializedString[] all = new SerializedString[BANDS.length - 1];
        for (int k = 0; k < all.length; k++) {
            all[k] = new SerializedString(stem + (int) BANDS[k] + "_" + (int) BANDS[k + 1] + "bps");
        }
        return all;
    }
}
