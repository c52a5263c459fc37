"""Stage 1 on arrays: flags, corrections, jumps, slopes, and the engine that streams an exposure through them."""

from pathlib import Path

from lyot import kernel_cache

kernel_cache.refresh(Path(__file__).parent)
