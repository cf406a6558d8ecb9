"""OTLP's success body, in both encodings."""

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_sla.counting.receipt import Receipt


def encode_protobuf(receipt: Receipt) -> bytes:
    """Encode `ExportTraceServiceResponse`; `partial_success` stays unset if there is nothing to say.

    >>> encode_protobuf(Receipt())
    b''
    """
    if not receipt.rejected_spans and not receipt.error_message:
        return b""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = receipt.rejected_spans
    response.partial_success.error_message = receipt.error_message
    encoded: bytes = response.SerializeToString()
    return encoded


def encode_json(receipt: Receipt) -> bytes:
    """Encode the same as OTLP's JSON: 64-bit integers are text there.

    >>> encode_json(Receipt(3, "too late"))
    b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too late"}}'
    """
    if not receipt.rejected_spans and not receipt.error_message:
        return b"{}"
    partial = {"rejectedSpans": str(receipt.rejected_spans), "errorMessage": receipt.error_message}
    return orjson.dumps({"partialSuccess": partial})
