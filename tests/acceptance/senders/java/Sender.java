import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;

/**
 * Sends server spans with OpenTelemetry's own Java SDK and says what became of them.
 *
 * <p>Usage: Sender SPANS PROTOCOL=HOST:PORT..., with PROTOCOL one of grpc, grpc-gzip, http, http-gzip. So many spans go
 * each way; all are of now, every tenth failed. The exit code is 1 if one was given up.
 */
public final class Sender {
  private static final int BATCH_SIZE = 100;
  private static final long TIME_LIMIT_S = 60;
  private static final AttributeKey<Long> STATUS = AttributeKey.longKey("http.response.status_code");

  public static void main(String[] arguments) {
    int spans = Integer.parseInt(arguments[0]);
    AtomicInteger sentSpans = new AtomicInteger();
    List<SdkTracerProvider> providers = new ArrayList<>();
    for (String way : List.of(arguments).subList(1, arguments.length)) {
      String protocol = way.substring(0, way.indexOf('='));
      SpanExporter exporter = newExporter(protocol, "http://" + way.substring(way.indexOf('=') + 1));
      SdkTracerProvider provider = newProvider(protocol, new Counting(exporter, sentSpans), spans);
      record(provider.get("sender"), spans);
      providers.add(provider);
    }
    CompletableResultCode.ofAll(providers.stream().map(SdkTracerProvider::shutdown).collect(Collectors.toList()))
        .join(TIME_LIMIT_S, TimeUnit.SECONDS);
    int givenUp = spans * providers.size() - sentSpans.get();
    if (givenUp > 0) {
      System.err.println("given up: " + givenUp);
    }
    System.exit(givenUp > 0 ? 1 : 0); // The HTTP client's threads would linger.
  }

  private static SdkTracerProvider newProvider(String protocol, SpanExporter exporter, int spans) {
    return SdkTracerProvider.builder()
        .setResource(Resource.create(Attributes.of(AttributeKey.stringKey("service.name"), "java-" + protocol)))
        .addSpanProcessor(
            BatchSpanProcessor.builder(exporter).setMaxQueueSize(spans).setMaxExportBatchSize(BATCH_SIZE).build())
        .build();
  }

  private static SpanExporter newExporter(String protocol, String url) {
    String compression = protocol.endsWith("-gzip") ? "gzip" : "none";
    switch (protocol) {
      case "grpc":
      case "grpc-gzip":
        return OtlpGrpcSpanExporter.builder().setEndpoint(url).setCompression(compression).build();
      case "http":
      case "http-gzip":
        return OtlpHttpSpanExporter.builder().setEndpoint(url + "/v1/traces").setCompression(compression).build();
      default:
        throw new IllegalArgumentException(protocol + " is not grpc, grpc-gzip, http or http-gzip");
    }
  }

  private static void record(Tracer tracer, int spans) {
    for (int number = 0; number < spans; number++) {
      tracer
          .spanBuilder("GET /v1/chat")
          .setSpanKind(SpanKind.SERVER)
          .setAttribute(STATUS, number % 10 == 0 ? 500L : 200L)
          .startSpan()
          .end();
    }
  }

  /** The SDK tells only its log that it gave up a batch. */
  private static final class Counting implements SpanExporter {
    private final SpanExporter exporter;
    private final AtomicInteger sentSpans;

    Counting(SpanExporter exporter, AtomicInteger sentSpans) {
      this.exporter = exporter;
      this.sentSpans = sentSpans;
    }

    @Override
    public CompletableResultCode export(Collection<SpanData> spans) {
      int size = spans.size();
      CompletableResultCode result = exporter.export(spans);
      return result.whenComplete(() -> sentSpans.addAndGet(result.isSuccess() ? size : 0));
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }
}
