"""A small shop, traced by FastAPI's own instrumentation and sent by OpenTelemetry's own exporter.

Nothing in it knows of otel-sla: the environment says where spans go and under which name
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`). `PUT /outage/on` breaks it: every second order then ends with a
503. `PUT /outage/off` mends it.
"""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from back_dating import BackDatingExporter, keep_minutes_ago
from fastapi import FastAPI, HTTPException
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

is_quick = "SHOP_QUICK" in os.environ
tracers = TracerProvider()
exporter = OTLPSpanExporter()
tracers.add_span_processor(BatchSpanProcessor(BackDatingExporter(exporter) if is_quick else exporter))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Send what is left when the application stops."""
    yield
    tracers.shutdown()


app = FastAPI(lifespan=lifespan)
app.state.is_broken = False
orders = itertools.count(1)


@app.post("/orders")
async def order() -> dict[str, int]:
    """Take an order; during the outage every second one."""
    number = next(orders)
    if app.state.is_broken and number % 2 == 0:
        raise HTTPException(503, "the payment service does not answer")
    return {"order": number}


@app.put("/outage/{state}")
async def switch_outage(state: str) -> dict[str, bool]:
    """Break the shop (`on`) or mend it (`off`). Not a customer's request, so it is not traced."""
    app.state.is_broken = state == "on"
    return {"outage": app.state.is_broken}


FastAPIInstrumentor.instrument_app(
    app,
    tracer_provider=tracers,
    excluded_urls="/outage/",
    server_request_hook=keep_minutes_ago if is_quick else None,
)
