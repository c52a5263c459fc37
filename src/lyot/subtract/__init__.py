"""Stage 3 on arrays: registration, reference choice, zones, KLIP and its kin, roll combination."""
