"""Configuration, plan and execution: one command from any input to the report, with resume."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["Config", "RunParams", "build_config", "config_of_run", "load_config"],
        "plan": ["Plan", "make_plan"],
        "execute": ["Event", "RunResult", "run"],
    },
)
