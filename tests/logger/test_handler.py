"""What the logger takes from Snakemake's events of the machine."""

import logging

import pytest
from snakemake.resources import Resources
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_study import LogHandler
from snakemake_logger_plugin_study.progress import Progress


@pytest.fixture
def handler():
    """A logger before its first event, without a terminal."""
    handler = object.__new__(LogHandler)
    handler._progress = Progress(began=0.0)
    return handler


def tell(handler, **told):
    handler._follow(logging.makeLogRecord({"event": LogEvent.RESOURCES_INFO, **told}))


def test_cores_and_gpus_are_those_that_snakemake_may_use(handler):
    told = handler._progress
    tell(handler, nodes=200)
    assert (told.num_cores, told.num_gpus) == (None, 0)
    tell(handler, cores=6)
    tell(handler)  # "Rules claiming more threads will be scaled down."
    tell(handler, provided_resources=Resources.from_mapping({"side_by_side": 8}))
    assert (told.num_cores, told.num_gpus) == (6, 0)
    tell(handler, provided_resources=Resources.from_mapping({"gpu": 2}))
    assert (told.num_cores, told.num_gpus) == (6, 2)
