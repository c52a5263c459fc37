"""Measurements on a finished reduction: detections, companions, limits, maps and disks, as tables and images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "finished_run": ["FinishedRun", "MeasuredRun", "find_finished", "open_run"],
        "measurements": ["fit_run", "measure_companions", "measure_contrast", "measure_detections", "search_sources"],
        "maps": ["measure_maps"],
        "disks": ["fit_disks", "measure_disks", "read_disk"],
        "mass_tables": ["read_aged", "read_models"],
        "astrometry": ["AstrometrySection"],
        "proper_motion": ["measure_motion"],
        "star_flux": ["StarSection", "load_star"],
        "parameters": [
            "CompanionSection",
            "ContrastSection",
            "DiskOptions",
            "DiskSection",
            "MapsSection",
            "ReportSection",
        ],
        "published": ["read_published"],
        "measured_sequence": ["open_reduction"],
        "combined_image": ["read_detections"],
    },
)
