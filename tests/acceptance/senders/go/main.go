// Sends server spans with OpenTelemetry's own Go SDK and says what became of them.
//
// Usage: sender SPANS PROTOCOL=HOST:PORT..., with PROTOCOL one of grpc, grpc-gzip, http, http-gzip. So many spans go
// each way; all are of now, every tenth failed. The exit code is 1 if one was given up.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	batchSize = 100
	timeLimit = time.Minute
	backoff   = 100 * time.Millisecond
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 3 {
		return fmt.Errorf("usage: %s SPANS PROTOCOL=HOST:PORT...", os.Args[0])
	}
	spans, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	// The SDK tells only its error handler that it gave up a batch.
	failures := make(chan error, 1)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		select {
		case failures <- err:
		default:
		}
	}))
	var providers []*sdktrace.TracerProvider
	for _, way := range os.Args[2:] {
		protocol, endpoint, _ := strings.Cut(way, "=")
		exporter, err := newExporter(ctx, protocol, endpoint)
		if err != nil {
			return err
		}
		provider := sdktrace.NewTracerProvider(
			sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "go-"+protocol))),
			sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(spans), sdktrace.WithMaxExportBatchSize(batchSize)),
		)
		record(ctx, provider.Tracer("sender"), spans)
		providers = append(providers, provider)
	}
	for _, provider := range providers {
		if err := provider.Shutdown(ctx); err != nil {
			return err
		}
	}
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func newExporter(ctx context.Context, protocol, endpoint string) (*otlptrace.Exporter, error) {
	// The SDK waits for the longer of its own back-off, five seconds at first, and what the receiver says.
	grpcOptions := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(endpoint),
		otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: backoff, MaxInterval: backoff, MaxElapsedTime: timeLimit,
		}),
	}
	httpOptions := []otlptracehttp.Option{
		otlptracehttp.WithEndpoint(endpoint),
		otlptracehttp.WithInsecure(),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: backoff, MaxInterval: backoff, MaxElapsedTime: timeLimit,
		}),
	}
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx, grpcOptions...)
	case "grpc-gzip":
		return otlptracegrpc.New(ctx, append(grpcOptions, otlptracegrpc.WithCompressor("gzip"))...)
	case "http":
		return otlptracehttp.New(ctx, httpOptions...)
	case "http-gzip":
		return otlptracehttp.New(ctx,
			append(httpOptions, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))...)
	}
	return nil, fmt.Errorf("protocol %q is not grpc, grpc-gzip, http or http-gzip", protocol)
}

func record(ctx context.Context, tracer trace.Tracer, spans int) {
	for number := range spans {
		status := 200
		if number%10 == 0 {
			status = 500
		}
		_, span := tracer.Start(ctx, "GET /v1/chat", trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.Int("http.response.status_code", status)))
		span.End()
	}
}
