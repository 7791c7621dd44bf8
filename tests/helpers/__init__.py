"""What the tests share: crystals, paths, rotations, servers on the loopback, processes to kill."""
