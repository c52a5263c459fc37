"""The coronagraph as physics: pupil, wavefront, mask, Lyot stop, point-spread functions and throughput."""
