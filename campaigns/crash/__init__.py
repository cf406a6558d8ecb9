"""Kills a loaded pipeline again and again, and counts what it had acknowledged.

Several senders speak gRPC and HTTP at once and repeat what was not acknowledged, as OTLP says, in the same requests
or in others (`senders`). The pipeline is killed at random instants of its life, its start and its end included
(`campaign`). After each kill the ledger is held against what was sent (`tally`): a message that was acknowledged is in
it, and the counts are those of the messages in it, each once.

`make crash` does it a thousand times, the test (tests/acceptance/test_crash.py) a few.
"""
