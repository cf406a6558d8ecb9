"""More than one core: processes that receive, and one that counts.

Receiving costs several times what counting does. So `processor.processes` workers share the ports (SO_REUSEPORT), take
requests, check and expand them, and hand the bodies to the one accountant over a socket pair. There is one ring, one
writer and one memory of what was counted, as with a single process: the figures are the same, and it does not matter
which worker a repeat comes to.
"""
