"""Adaptors to the jwst world: stpipe steps and pipelines, data models, associations, the offline CRDS cache."""
