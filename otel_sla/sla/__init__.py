"""What the agreement says.

Takes counts, terms and a time handed in; gives states, periods, months, verdicts and events.
Never does I/O, never reads a clock, never logs, never starts a thread.
"""
