"""Stage 2 on arrays: background and glow sticks, flat field, photometric scale, bad pixels."""
