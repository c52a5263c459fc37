"""The archive: MAST search and download, reference-star library, CRDS prefetch."""
