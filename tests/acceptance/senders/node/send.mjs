// Sends server spans with OpenTelemetry's own JavaScript SDK and says what became of them.
//
// Usage: node send.mjs SPANS PROTOCOL=HOST:PORT..., with PROTOCOL one of grpc, grpc-gzip, http (protobuf), http-gzip,
// http-json. So many spans go each way; all are of now, every tenth failed. Each has a text that was cut in the middle
// of an emoji, which JSON.stringify writes as half of a surrogate pair. The exit code is 1 if a span was given up.

import { DiagConsoleLogger, DiagLogLevel, SpanKind, diag } from "@opentelemetry/api";
import { ExportResultCode } from "@opentelemetry/core";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { CompressionAlgorithm } from "@opentelemetry/otlp-exporter-base";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const BATCH_SIZE = 100;

function newExporter(protocol, endpoint) {
  const compression = protocol.endsWith("-gzip") ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE;
  const url = `http://${endpoint}`;
  switch (protocol) {
    case "grpc":
    case "grpc-gzip":
      return new GrpcExporter({ url, compression });
    case "http":
    case "http-gzip":
      return new ProtobufExporter({ url: `${url}/v1/traces`, compression });
    case "http-json":
      return new JsonExporter({ url: `${url}/v1/traces`, compression });
    default:
      throw new Error(`protocol ${protocol} is not grpc, grpc-gzip, http, http-gzip or http-json`);
  }
}

// The SDK tells only its log that it gave up a batch.
function counting(exporter, failures) {
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.code !== ExportResultCode.SUCCESS) failures.push(result.error);
        done(result);
      }),
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}

function record(tracer, spans) {
  for (let number = 0; number < spans; number++) {
    const attributes = { "http.response.status_code": number % 10 === 0 ? 500 : 200, note: "well done 👍".slice(0, -1) };
    tracer.startSpan("GET /v1/chat", { kind: SpanKind.SERVER, attributes }).end();
  }
}

const [count, ...ways] = process.argv.slice(2);
const spans = Number.parseInt(count, 10);
diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);
const failures = [];
const providers = ways.map((way) => {
  const [protocol, endpoint] = way.split("=");
  const exporter = counting(newExporter(protocol, endpoint), failures);
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": `node-${protocol}` }),
    spanProcessors: [new BatchSpanProcessor(exporter, { maxExportBatchSize: BATCH_SIZE, maxQueueSize: spans })],
  });
  record(provider.getTracer("sender"), spans);
  return provider;
});
await Promise.all(providers.map((provider) => provider.shutdown()));
if (failures.length > 0) {
  console.error(failures);
  process.exit(1);
}
