"""Bytes in, acknowledgement out.

Takes OTLP requests over gRPC and HTTP; hands their raw bytes to the accountant and answers as OTLP asks.
Never looks into a request, never acknowledges what is not committed.
"""
