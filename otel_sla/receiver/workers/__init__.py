"""More than one core: processes that receive, and one that counts.

Receiving costs several times what counting does. So `processor.processes` workers share the ports (SO_REUSEPORT), take
requests, check and expand them, and hand the bodies to the one accountant over a socket pair. There is one ring, one
writer and one filter of repeats, as with a single process: the figures are the same, whichever worker gets a repeat.
"""
