"""What a dry run loads and looks up outside the project; a server of forks imports this once."""

import gc

import docutils.parsers.rst  # noqa: F401
import jinja2  # noqa: F401
import smart_open  # noqa: F401
import snakemake.cli  # noqa: F401
import snakemake_executor_plugin_slurm  # noqa: F401
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
from snakemake_interface_report_plugins.registry import ReportPluginRegistry
from snakemake_interface_scheduler_plugins.registry import SchedulerPluginRegistry
from snakemake_interface_storage_plugins.registry import StoragePluginRegistry

# not that of loggers: ours lie in the project
ExecutorPluginRegistry()
ReportPluginRegistry()
SchedulerPluginRegistry()
StoragePluginRegistry()
gc.freeze()  # a fork that looked for garbage here would copy every page
