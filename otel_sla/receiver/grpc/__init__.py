"""OTLP over gRPC: the Export call, its health service, and how much is read from one connection."""
