"""The loop of ``solve``: arguments, blocks of steps, roll-back, resume, callbacks and progress."""
