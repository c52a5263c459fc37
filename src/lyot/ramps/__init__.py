"""Stage 1 on arrays: flags, corrections, jumps, slopes, and the engine that streams an exposure through them."""
