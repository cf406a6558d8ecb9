"""Bytes to columns.

Takes the raw bytes of one `ExportTraceServiceRequest`; gives `SpanColumns` or `DecodeError`.
Never does I/O, never reads a clock, never builds an object per span.
"""
